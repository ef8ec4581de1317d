//! Loading a generation: tables, programs, pins.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_common::abi::control::Word;
use firewall_common::abi::tables::Setting;
use firewall_policy::compile::Generation;

use super::maps::{Capacity, Maps};
use super::meta::{Meta, store_words};
use super::object::{ANSWERS, JUDGES, Object, Settings};
use super::sys::{self, Mapping};
use super::{flows, jiffies};

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
    /// What its programs were told.
    pub settings: Settings,
    /// How long it took.
    pub timings: Timings,
}

impl Loaded {
    /// The slot for which it was compiled.
    #[must_use]
    pub fn slot(&self) -> u8 {
        let slot = self.settings.get(Setting::Generation as usize).copied();
        u8::from(slot == Some(1))
    }
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
    let names: Vec<&str> = JUDGES.into_iter().chain(ANSWERS).collect();
    loaded.object.load_all(&names)?;
    for name in names {
        sys::pin(loaded.object.fd(name)?, &directory.join(name))?;
    }
    loaded.timings.load += start.elapsed();
    Ok(loaded)
}

/// Writes a generation's settings where programs of no generation read them.
///
/// # Errors
/// If the map cannot be mapped.
pub(super) fn announce(maps: &Maps, slot: u8, settings: &Settings) -> Result<()> {
    let bytes = size_of::<Settings>() * Word::SLOTS as usize;
    let all = Mapping::new(maps.fd("GENERATIONS")?, bytes, true)
        .context("could not map the settings of generations")?;
    let words = settings.as_chunks::<2>().0;
    for (place, [low, high]) in words.iter().enumerate() {
        let word = u64::from(*low) | u64::from(*high) << 32;
        all.set_word(usize::from(slot) * words.len() + place, word);
    }
    Ok(())
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
    let flows = sys::open(&map_path("FLOWS"))?.context("there is no table of flows")?;
    let settings = settings(generation, capacity, flows::settings(flows.as_fd())?);
    let object = Object::open(map_path, Some(&tables), &settings)?;
    let timings = Timings { tables: filled, load: start.elapsed(), switch: Duration::ZERO };
    Ok(Loaded { object, settings, timings })
}

/// The compiler's settings, completed by what only the kernel side knows.
fn settings(
    generation: &Generation,
    capacity: &Capacity,
    (flow_mask, flow_seed): (u32, u32),
) -> Settings {
    let mut settings = generation.settings;
    let mut set = |setting: Setting, value: u32| {
        if let Some(place) = settings.get_mut(setting as usize) {
            *place = value;
        }
    };
    set(Setting::RuleSlots, capacity.rule_slots);
    set(Setting::RequestSlotCount, capacity.request_slots);
    set(Setting::Cpus, capacity.cpus);
    set(Setting::FlowMask, flow_mask);
    set(Setting::FlowSeed, flow_seed);
    set(Setting::Hz, jiffies::per_second());
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
