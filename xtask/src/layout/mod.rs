//! The layout of the BPF object: where the blocks of each function lie.
//!
//! LLVM leaves the blocks of BPF programs as its intermediate code has them, since its
//! BPF backend does not say how a conditional jump is turned around. A packet that is
//! decided at once then jumps ten times over what it does not need. This lays blocks out
//! anew ([`blocks`]), by the marks that `firewall_common::cold` leaves, moves along what
//! the object says about code, and drops debug information that is not BTF: nothing
//! reads it.

mod blocks;
mod info;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result, ensure};
use object::build::elf::{Builder, SectionData, SectionId};
use object::{Endianness, elf};

use blocks::Slot;

/// The bytes of a slot.
const SLOT: usize = size_of::<Slot>();

/// Lays out an object as the linker made it.
///
/// # Errors
///
/// If it is not a BPF object of whole functions.
pub(crate) fn object(linked: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(linked)?;
    ensure!(
        builder.header.e_machine == elf::EM_BPF && builder.endian == Endianness::Little,
        "not an object for BPF of this machine's byte order"
    );
    let mut codes = arrange(&builder)?;
    move_calls(&builder, &mut codes)?;
    move_names(&mut builder, &codes)?;
    info::move_with(&mut builder, &codes)?;
    for Code { section, slots, .. } in codes {
        let section = builder.sections.get_mut(section);
        section.data = SectionData::Data(slots.concat().into());
    }
    for section in &mut builder.sections {
        // Relocations of BTF's offsets are for linkers.
        section.delete |= [&b".debug_"[..], b".rel.debug_", b".rel.BTF.ext"]
            .iter()
            .any(|useless| section.name.starts_with(useless));
    }
    name_sections(&mut builder);
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    Ok(bytes)
}

/// Gives the names of sections a table of their own: LLVM has them among those of symbols, where the
/// builder has no place for them.
fn name_sections(builder: &mut Builder<'_>) {
    if builder.sections.iter().any(|table| matches!(table.data, SectionData::SectionString)) {
        return;
    }
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
}

/// A section of code.
struct Code {
    section: SectionId,
    name: Vec<u8>,
    /// As it is now.
    slots: Vec<Slot>,
    /// For each slot, the slot that it was before.
    origins: Vec<usize>,
    /// For each slot of before, the one that it is now, if it is there still; and the end.
    places: Vec<Option<usize>>,
}

impl Code {
    /// Where a slot is that began at byte `old`.
    fn moved(&self, old: u64) -> Result<u64> {
        let place = usize::try_from(old).ok().filter(|old| old.is_multiple_of(SLOT));
        let place = place.and_then(|old| *self.places.get(old / SLOT)?);
        let place = place.with_context(|| format!("byte {old} of the code has no place"))?;
        Ok(u64::try_from(place * SLOT)?)
    }
}

/// Arranges the functions of each section of code.
fn arrange(builder: &Builder<'_>) -> Result<Vec<Code>> {
    let executable = u64::from(elf::SHF_EXECINSTR);
    let mut codes = Vec::new();
    for section in builder.sections.iter().filter(|section| section.sh_flags & executable != 0) {
        let SectionData::Data(bytes) = &section.data else { continue };
        let (old, []) = bytes.as_chunks::<SLOT>() else {
            anyhow::bail!("the code of {} ends in half a slot", section.name);
        };
        let mut code = Code {
            section: section.id(),
            name: section.name.to_vec(),
            slots: Vec::new(),
            origins: Vec::new(),
            places: vec![None; old.len() + 1],
        };
        for (first, after) in functions(builder, section.id(), old.len())? {
            let function = blocks::arrange(&old[first..after])
                .with_context(|| format!("slots {first} to {after} of {}", section.name))?;
            code.slots.extend(function.slots);
            code.origins.extend(function.origins.iter().map(|origin| first + origin));
        }
        // What was added has the origin of a jump before it, which keeps its place.
        for (place, &origin) in code.origins.iter().enumerate().rev() {
            code.places[origin] = Some(place);
        }
        code.places[old.len()] = Some(code.slots.len());
        codes.push(code);
    }
    Ok(codes)
}

/// The functions of a section: their first slots, and those after them.
fn functions(
    builder: &Builder<'_>,
    section: SectionId,
    slots: usize,
) -> Result<Vec<(usize, usize)>> {
    let mut starts = builder
        .symbols
        .iter()
        .filter(|symbol| symbol.section == Some(section) && symbol.st_type() == elf::STT_FUNC)
        .map(|symbol| Ok(usize::try_from(symbol.st_value)? / SLOT))
        .collect::<Result<Vec<_>>>()?;
    starts.sort_unstable();
    starts.dedup();
    ensure!(slots == 0 || starts.first() == Some(&0), "code before the first function");
    let ends = starts.iter().skip(1).copied().chain([slots]).collect::<Vec<_>>();
    Ok(std::iter::zip(starts, ends).collect())
}

/// Moves the ends of calls of local functions, which are offsets from a section's start.
/// What calls a function by its name has nothing to move.
fn move_calls(builder: &Builder<'_>, codes: &mut [Code]) -> Result<()> {
    let mut ends = Vec::new();
    for (index, code) in codes.iter().enumerate() {
        for relocation in relocations(builder, code.section) {
            let symbol = relocation.symbol.map(|symbol| builder.symbols.get(symbol));
            let Some(symbol) = symbol.filter(|symbol| symbol.st_type() == elf::STT_SECTION) else {
                continue;
            };
            let Some(callee) = codes.iter().find(|code| Some(code.section) == symbol.section)
            else {
                continue;
            };
            let place = usize::try_from(code.moved(relocation.r_offset)?)? / SLOT;
            let [.., a, b, c, d] = code.slots[place];
            let old = u64::try_from(i64::from(i32::from_le_bytes([a, b, c, d])) + 1)?;
            let new = callee.moved(old * SLOT as u64)? / SLOT as u64;
            ends.push((index, place, i32::try_from(new)? - 1));
        }
    }
    for (code, place, end) in ends {
        codes[code].slots[place][4..].copy_from_slice(&end.to_le_bytes());
    }
    Ok(())
}

/// The relocations of a section.
fn relocations<'a>(
    builder: &'a Builder<'_>,
    section: SectionId,
) -> impl Iterator<Item = &'a object::build::elf::Relocation> {
    builder.sections.iter().filter(move |of| of.sh_info_section == Some(section)).flat_map(|of| {
        match &of.data {
            SectionData::Relocation(relocations) => relocations.as_slice(),
            _ => &[],
        }
    })
}

/// Moves relocations and symbols.
fn move_names(builder: &mut Builder<'_>, codes: &[Code]) -> Result<()> {
    let code_of = |section| codes.iter().find(|code| Some(code.section) == section);
    for section in &mut builder.sections {
        let Some(code) = code_of(section.sh_info_section) else { continue };
        let SectionData::Relocation(relocations) = &mut section.data else { continue };
        for relocation in relocations.iter_mut() {
            relocation.r_offset = code.moved(relocation.r_offset)?;
        }
        // Loaders expect them in this order.
        relocations.sort_by_key(|relocation| relocation.r_offset);
    }
    for symbol in &mut builder.symbols {
        let Some(code) = code_of(symbol.section) else { continue };
        if symbol.st_type() == elf::STT_FUNC {
            let end = code.moved(symbol.st_value + symbol.st_size)?;
            symbol.st_value = code.moved(symbol.st_value)?;
            symbol.st_size = end - symbol.st_value;
        }
    }
    Ok(())
}
