//! Bytes that kernel and user space share: as large in the object's maps as on
//! this host, and with their fields at the same places wherever the object's type
//! information (BTF) tells.

use std::mem::offset_of;

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::control::Control;
use firewall_common::abi::counter::Cpu;
use firewall_common::abi::flow::FlowKey;
use firewall_common::{fragment, guard, request};
use firewall_userspace::kernel::object;

use crate::elf::{Elf, text, u32_at};

#[test]
fn maps_hold_keys_and_values_of_our_size() -> Result<()> {
    let elf = Elf::read(object::bytes())?;
    let symbols = elf.symbols()?;
    let maps = elf.section("maps")?;
    let sizes = [
        ("CONTROL", 4, size_of::<Control>()),
        ("CPUS", 4, size_of::<Cpu>()),
        ("REQUEST_FLOWS", 4, request::BUCKETS as usize * size_of::<request::Bucket>()),
        ("GUARDS", 4, 8 * guard::SLOTS as usize),
        ("FRAGMENTS", 4, 8 * fragment::SLOTS as usize),
    ];
    for (name, key, value) in sizes {
        let symbol = symbols.iter().find(|symbol| symbol.name == name);
        let start = symbol.with_context(|| format!("no map {name}"))?.start;
        // Type, key, value, entries, ...
        let found =
            [u32_at(maps.data, start + 4)? as usize, u32_at(maps.data, start + 8)? as usize];
        ensure!(
            found == [key, value],
            "{name} has keys and values of {found:?} bytes, not {key} and {value}"
        );
    }
    Ok(())
}

/// Fields of a type, and where they stand.
macro_rules! fields {
    ($type:ty: $($field:ident)*) => {
        (
            stringify!($type),
            size_of::<$type>(),
            vec![$((stringify!($field), offset_of!($type, $field))),*],
        )
    };
}

#[test]
fn fields_stand_where_the_object_has_them() -> Result<()> {
    use request::Entry;
    let structs = structs()?;
    let ours = [
        fields!(FlowKey: local remote local_port remote_port protocol family reserved),
        fields!(Entry: held next high ack kind sync held_len state),
    ];
    for (name, size, fields) in ours {
        let found: Vec<_> = structs.iter().filter(|found| found.name == name).collect();
        ensure!(!found.is_empty(), "the object's BTF does not know {name}");
        for found in found {
            ensure!(
                found.size == size,
                "{name} has {} bytes in the object, {size} here",
                found.size
            );
            let theirs: Vec<_> =
                found.fields.iter().map(|(name, at)| (name.as_str(), *at)).collect();
            ensure!(theirs == fields, "{name}: {theirs:?} in the object, {fields:?} here");
        }
    }
    Ok(())
}

/// A type of the object.
struct Struct {
    name: String,
    size: usize,
    /// Fields by name, and the byte at which each begins.
    fields: Vec<(String, usize)>,
}

/// Every structure that BTF describes (`Documentation/bpf/btf.rst`).
fn structs() -> Result<Vec<Struct>> {
    const HEADER: usize = 12;
    let elf = Elf::read(object::bytes())?;
    let btf = elf.section(".BTF")?.data;
    let (header, types, names) = (u32_at(btf, 4)?, u32_at(btf, 8)?, u32_at(btf, 16)?);
    let names = btf.get((header + names) as usize..).context("names past the end")?;
    let mut at = (header + types) as usize;
    let end = at + u32_at(btf, 12)? as usize;
    let mut structs = Vec::new();
    while at < end {
        let (name, info, size) = (u32_at(btf, at)?, u32_at(btf, at + 4)?, u32_at(btf, at + 8)?);
        let (kind, count) = (info >> 24 & 31, (info & 0xffff) as usize);
        at += HEADER;
        if kind == 4 {
            let field = |number: usize| {
                let member = at + 12 * number;
                // In bits; the upper byte is the width of a bit field.
                let offset = u32_at(btf, member + 8)? & 0x00ff_ffff;
                Ok((text(names, u32_at(btf, member)?)?.to_owned(), offset as usize / 8))
            };
            let fields = (0..count).map(field).collect::<Result<_>>()?;
            structs.push(Struct {
                name: text(names, name)?.to_owned(),
                size: size as usize,
                fields,
            });
        }
        at += match kind {
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            // Array.
            3 => 12,
            // Structure, union, section, enumeration of 64 bits.
            4 | 5 | 15 | 19 => 12 * count,
            // Enumeration, arguments of a function.
            6 | 13 => 8 * count,
            _ => 0,
        };
    }
    Ok(structs)
}
