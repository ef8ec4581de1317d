//! Loading a generation: tables, programs, pins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_common::abi::tables::Setting;
use firewall_policy::compile::Generation;

use super::maps::Capacity;
use super::meta::{Meta, store_words};
use super::object::{JUDGES, Object, Settings};
use super::sys;

/// How long the parts of an installation took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Creating and filling the tables.
    pub tables: Duration,
    /// Opening the object and passing the verifier.
    pub load: Duration,
    /// Making it the one in force.
    pub switch: Duration,
}

/// A loaded generation, pinned below its directory.
#[derive(Debug)]
pub struct Loaded {
    /// The object with its programs.
    pub object: Object,
    /// How long it took.
    pub timings: Timings,
}

/// Loads a generation into a fresh directory below the pins, every program
/// passed by the verifier and pinned.
///
/// # Errors
/// If the kernel refuses memory or programs; nothing in force has changed then.
pub fn load(
    directory: &Path,
    map_path: impl Fn(&str) -> PathBuf,
    generation: &Generation,
    capacity: &Capacity,
    meta: &Meta,
) -> Result<Loaded> {
    let mut loaded = open(directory, map_path, generation, capacity)?;
    meta.store(&directory.join("META"))?;
    let start = Instant::now();
    loaded.object.load_all(&JUDGES)?;
    for name in JUDGES {
        sys::pin(loaded.object.fd(name)?, &directory.join(name))?;
    }
    loaded.timings.load += start.elapsed();
    Ok(loaded)
}

/// Puts the tables of a generation into a fresh directory and opens its object;
/// no program is loaded yet.
///
/// # Errors
/// If the kernel refuses memory.
pub fn open(
    directory: &Path,
    map_path: impl Fn(&str) -> PathBuf,
    generation: &Generation,
    capacity: &Capacity,
) -> Result<Loaded> {
    clear(directory)?;
    fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    let start = Instant::now();
    let tables = directory.join("TABLES");
    store_words("TABLES", &generation.words, &tables)?;
    let filled = start.elapsed();

    let start = Instant::now();
    let object = Object::open(map_path, Some(&tables), &settings(generation, capacity))?;
    let timings = Timings { tables: filled, load: start.elapsed(), switch: Duration::ZERO };
    Ok(Loaded { object, timings })
}

/// The compiler's settings, completed by what only the kernel side knows.
fn settings(generation: &Generation, capacity: &Capacity) -> Settings {
    let mut settings = generation.settings;
    let mut set = |setting: Setting, value: u32| {
        if let Some(place) = settings.get_mut(setting as usize) {
            *place = value;
        }
    };
    set(Setting::RuleSlots, capacity.rule_slots);
    set(Setting::RequestSlotCount, capacity.request_slots);
    set(Setting::Cpus, capacity.cpus);
    settings
}

/// Removes the pins of a generation.
///
/// # Errors
/// If they cannot be removed.
pub fn clear(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
