//! What BTF says about code: `.BTF.ext`, three tables of records that begin with the
//! offset of an instruction in its section, in bytes.
//! <https://docs.kernel.org/bpf/btf.html#btf-ext-section>

use anyhow::{Context as _, Result, ensure};
use object::build::elf::{Builder, SectionData};

use super::{Code, SLOT};

/// The tables of `.BTF.ext`.
#[derive(Clone, Copy)]
enum Table {
    /// Of functions.
    Functions,
    /// Of lines of source text: a record holds until the next one.
    Lines,
    /// Of what depends on the kernel's types.
    Relocations,
}

/// Moves the records of `.BTF.ext` along with code.
///
/// # Errors
///
/// If they cannot be read, or are about instructions that are not there.
pub(super) fn move_with(builder: &mut Builder<'_>, codes: &[Code]) -> Result<()> {
    let Some(old) = data(builder, b".BTF.ext") else { return Ok(()) };
    let names = Names(data(builder, b".BTF").context(".BTF.ext without .BTF")?);
    let header_length = usize::try_from(word(&old, 4)?)?;
    let mut new = old.get(..header_length).context("no room for a header")?.to_vec();
    for (table, at) in [(Table::Functions, 8), (Table::Lines, 16), (Table::Relocations, 24)] {
        if at + 8 > header_length {
            break;
        }
        let first = header_length + usize::try_from(word(&old, at)?)?;
        let length = usize::try_from(word(&old, at + 4)?)?;
        let bytes = old.get(first..first + length).context("a table lies outside")?;
        let moved = moved(table, bytes, &names, codes)?;
        let (offset, length) = (new.len() - header_length, moved.len());
        new[at..at + 4].copy_from_slice(&u32::try_from(offset)?.to_le_bytes());
        new[at + 4..at + 8].copy_from_slice(&u32::try_from(length)?.to_le_bytes());
        new.extend(moved);
    }
    for section in &mut builder.sections {
        if section.name.as_slice() == b".BTF.ext" {
            section.data = SectionData::Data(std::mem::take(&mut new).into());
        }
    }
    Ok(())
}

/// The bytes of a section.
fn data(builder: &Builder<'_>, name: &[u8]) -> Option<Vec<u8>> {
    builder.sections.iter().find_map(|section| match &section.data {
        SectionData::Data(bytes) if section.name.as_slice() == name => Some(bytes.to_vec()),
        _ => None,
    })
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk()).context("it ends too early")?;
    Ok(u32::from_le_bytes(*word))
}

/// The strings of `.BTF`.
struct Names(Vec<u8>);

impl Names {
    fn at(&self, offset: u32) -> Result<&[u8]> {
        let strings = word(&self.0, 4)? + word(&self.0, 16)? + offset;
        let name = self.0.get(usize::try_from(strings)?..).context("a name lies outside")?;
        name.split(|byte| *byte == 0).next().context("a name does not end")
    }
}

/// A table, with its records moved: the length of a record, then for each section its name,
/// the number of its records, and those.
fn moved(table: Table, bytes: &[u8], names: &Names, codes: &[Code]) -> Result<Vec<u8>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let length = usize::try_from(word(bytes, 0)?)?;
    ensure!(length >= 4, "a record of {length} bytes");
    let mut new = bytes[..4].to_vec();
    let mut rest = &bytes[4..];
    while !rest.is_empty() {
        let name = names.at(word(rest, 0)?)?;
        let size = usize::try_from(word(rest, 4)?)? * length;
        let records = rest.get(8..8 + size).context("records lie outside")?;
        let code = codes
            .iter()
            .find(|code| code.name == name)
            .with_context(|| format!("records of the section {}", String::from_utf8_lossy(name)))?;
        let records: Vec<&[u8]> = records.chunks_exact(length).collect();
        let moved = match table {
            Table::Lines => lines(&records, code)?,
            Table::Functions | Table::Relocations => one_by_one(&records, code)?,
        };
        new.extend(&rest[..4]);
        new.extend(u32::try_from(moved.len())?.to_le_bytes());
        new.extend(moved.concat());
        rest = &rest[8 + size..];
    }
    Ok(new)
}

/// `record`, of the instruction at the byte `offset`.
fn at(offset: u64, record: &[u8]) -> Result<Vec<u8>> {
    let mut new = record.to_vec();
    new[..4].copy_from_slice(&u32::try_from(offset)?.to_le_bytes());
    Ok(new)
}

/// Records that hold for one instruction.
fn one_by_one(records: &[&[u8]], code: &Code) -> Result<Vec<Vec<u8>>> {
    let mut new = Vec::new();
    for record in records {
        new.push(at(code.moved(u64::from(word(record, 0)?))?, record)?);
    }
    new.sort_by_key(|record| word(record, 0).ok());
    Ok(new)
}

/// Records that hold until the next one: one wherever another holds than in the slot before.
fn lines(records: &[&[u8]], code: &Code) -> Result<Vec<Vec<u8>>> {
    let starts = records
        .iter()
        .map(|record| Ok(usize::try_from(word(record, 0)?)? / SLOT))
        .collect::<Result<Vec<_>>>()?;
    ensure!(starts.is_sorted(), "lines are not sorted");
    let mut new = Vec::new();
    let mut before = None;
    for (slot, origin) in code.origins.iter().enumerate() {
        let holds = starts.partition_point(|start| start <= origin).checked_sub(1);
        if let Some(line) = holds.filter(|_| holds != before) {
            new.push(at(u64::try_from(slot * SLOT)?, records[line])?);
        }
        before = holds;
    }
    Ok(new)
}
