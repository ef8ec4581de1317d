//! The programs that belong to no generation, see `firewall-ebpf/src/stages.rs`: most
//! of what the verifier has to walk, and loaded once.
//!
//! They reach the shared maps by address, so others take their place when a map
//! grows or another build of the object comes. What they were made of is the name of
//! the directory in which they are pinned, last of all: what is there is in force.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use anyhow::{Context as _, Result};
use firewall_common::abi::scratch::stage;

use super::generation;
use super::maps::Maps;
use super::object::{self, Object, STAGES};
use super::pins::Pins;
use super::sys;

/// Where each of [`STAGES`] is called.
const PLACES: [(&str, u32); STAGES.len()] = [
    ("STAGES_XDP", stage::READ),
    ("STAGES_XDP", stage::CONCLUDE),
    ("STAGES_XDP", stage::SUSPECT),
    ("STAGES_XDP", stage::REQUESTS),
    ("STAGES_TC", stage::READ),
    ("STAGES_TC", stage::CONCLUDE),
    ("STAGES_TC", stage::SUSPECT),
    ("STAGES_TC", stage::REQUESTS),
];

/// Loads the programs, unless those in force are of this build and these maps.
///
/// # Errors
/// If the kernel refuses; those in force stay.
pub(super) fn ensure(pins: &Pins, maps: &Maps) -> Result<()> {
    let directory = pins.stages().join(made_of(maps)?);
    if directory.exists() {
        return Ok(());
    }
    let fresh = pins.stages().join("fresh");
    generation::clear(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("could not create {}", fresh.display()))?;
    let mut object =
        Object::open(|name| pins.map(name), None, &generation::settings(maps, &[0; _])?)?;
    object.load_all(&STAGES)?;
    for name in STAGES {
        sys::pin(object.fd(name)?, &fresh.join(name))?;
    }
    put(maps, &object, &STAGES)?;
    fs::rename(&fresh, &directory)
        .with_context(|| format!("could not name {}", directory.display()))?;
    for entry in fs::read_dir(pins.stages()).into_iter().flatten().flatten() {
        if entry.path() != directory {
            generation::clear(&entry.path())?;
        }
    }
    Ok(())
}

/// Puts loaded programs in their places.
///
/// # Errors
/// The kernel's.
pub(super) fn put(maps: &Maps, object: &Object, names: &[&str]) -> Result<()> {
    for (name, (array, place)) in STAGES.into_iter().zip(PLACES) {
        if names.contains(&name) {
            sys::set_element(maps.fd(array)?, place, &object.number(name)?)
                .with_context(|| format!("could not place {name}"))?;
        }
    }
    Ok(())
}

/// What programs are made of: this build's object, and the maps that can be replaced.
pub(super) fn made_of(maps: &Maps) -> Result<String> {
    // Of a megabyte, and asked for three times.
    static OBJECT: LazyLock<u64> = LazyLock::new(|| {
        let mut hasher = DefaultHasher::new();
        object::bytes().hash(&mut hasher);
        hasher.finish()
    });
    let id = |name: &str| -> Result<u32> { sys::map_id(maps.fd(name)?) };
    let ids = (id("RULES")?, id("REQUESTS")?, id("FLOWS")?);
    Ok(format!("{:016x}-{}-{}-{}", *OBJECT, ids.0, ids.1, ids.2))
}
