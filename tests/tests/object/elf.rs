//! As much of ELF as a BPF object needs: sections, symbols, relocations.

use anyhow::{Context as _, Result, ensure};

/// An object file, 64 bits, little-endian.
pub(crate) struct Elf<'a> {
    bytes: &'a [u8],
    pub(crate) sections: Vec<Section<'a>>,
}

/// A section.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: &'a [u8],
    kind: u32,
    link: u32,
    info: u32,
}

/// A function or variable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    /// Number of its section.
    pub(crate) section: usize,
    /// Place and size in it, bytes.
    pub(crate) start: usize,
    pub(crate) size: usize,
    pub(crate) is_function: bool,
}

/// A place to be filled in with the address of a symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation<'a> {
    /// Number of the section, and the byte in it.
    pub(crate) section: usize,
    pub(crate) offset: usize,
    pub(crate) symbol: Symbol<'a>,
}

const SYMBOLS: u32 = 2;
const RELOCATIONS: u32 = 9;

impl<'a> Elf<'a> {
    /// Reads the headers.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self> {
        ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no ELF of 64 bits, little-endian");
        let at = usize::try_from(u64_at(bytes, 40)?)?;
        let (size, count, names) = (u16_at(bytes, 58)?, u16_at(bytes, 60)?, u16_at(bytes, 62)?);
        let header = |number: u16| {
            let start = at + usize::from(size) * usize::from(number);
            bytes.get(start..start + 64).context("a section header past the end")
        };
        let content = |header: &[u8]| {
            let start = usize::try_from(u64_at(header, 24)?)?;
            let length = usize::try_from(u64_at(header, 32)?)?;
            // A section of zeros takes no room in the file.
            let length = if u32_at(header, 4)? == 8 { 0 } else { length };
            bytes.get(start..start + length).context("a section past the end")
        };
        let names = content(header(names)?)?;
        let section = |number| {
            let header = header(number)?;
            Ok(Section {
                name: text(names, u32_at(header, 0)?)?,
                data: content(header)?,
                kind: u32_at(header, 4)?,
                link: u32_at(header, 40)?,
                info: u32_at(header, 44)?,
            })
        };
        let sections = (0..count).map(section).collect::<Result<_>>()?;
        Ok(Self { bytes, sections })
    }

    /// A section by its name.
    pub(crate) fn section(&self, name: &str) -> Result<&Section<'a>> {
        self.sections
            .iter()
            .find(|section| section.name == name)
            .with_context(|| format!("no section {name} in {} bytes", self.bytes.len()))
    }

    /// All symbols.
    pub(crate) fn symbols(&self) -> Result<Vec<Symbol<'a>>> {
        let table = self.sections.iter().find(|section| section.kind == SYMBOLS);
        let table = table.context("no symbols")?;
        let names = self.sections.get(table.link as usize).context("no names")?.data;
        table.data.chunks_exact(24).map(|entry| symbol(entry, names)).collect()
    }

    /// All relocations of sections that hold code.
    pub(crate) fn relocations(&self) -> Result<Vec<Relocation<'a>>> {
        let symbols = self.symbols()?;
        let mut all = Vec::new();
        for table in self.sections.iter().filter(|section| section.kind == RELOCATIONS) {
            for entry in table.data.chunks_exact(16) {
                let number = usize::try_from(u64_at(entry, 8)? >> 32)?;
                let symbol = *symbols.get(number).context("a relocation to no symbol")?;
                let offset = usize::try_from(u64_at(entry, 0)?)?;
                all.push(Relocation { section: table.info as usize, offset, symbol });
            }
        }
        Ok(all)
    }
}

fn symbol<'a>(entry: &[u8], names: &'a [u8]) -> Result<Symbol<'a>> {
    Ok(Symbol {
        name: text(names, u32_at(entry, 0)?)?,
        section: u16_at(entry, 6)?.into(),
        start: usize::try_from(u64_at(entry, 8)?)?,
        size: usize::try_from(u64_at(entry, 16)?)?,
        is_function: entry.get(4).is_some_and(|info| info & 15 == 2),
    })
}

/// The text at a place in a table of names, each ended by a zero.
pub(crate) fn text(names: &[u8], offset: u32) -> Result<&str> {
    let rest = names.get(offset as usize..).context("a name past the end")?;
    let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name).context("a name of no letters")
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().context("a field past the end")
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array(bytes, at)?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array(bytes, at)?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(array(bytes, at)?))
}
