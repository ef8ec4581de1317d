//! Loading a generation: tables, programs, pins.
//!
//! Where the programs of a slot are what the next generation's would be, they stay, and
//! only tables and metadata are written: the verifier takes longer than all else.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_common::abi::control::Word;
use firewall_common::abi::tables::Setting;
use firewall_policy::compile::Generation;

use super::maps::{Capacity, Maps};
use super::meta::{self, Meta, store_words};
use super::object::{ANSWERS, JUDGES, Object, Settings};
use super::sys::{self, Mapping};
use super::{flows, jiffies, stages};

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
    settings: &Settings,
    meta: &Meta,
) -> Result<Loaded> {
    let mut loaded = open(directory, map_path, generation, settings)?;
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

/// Puts a generation into a slot whose programs have the same settings: other tables,
/// other metadata. False if that cannot be. Nobody may read the slot's tables.
///
/// # Errors
/// If the kernel refuses; the slot cannot be renewed any more then.
pub(super) fn renew(
    directory: &Path,
    mark: &Path,
    generation: &Generation,
    meta: &Meta,
) -> Result<bool> {
    let Some(tables) = sys::open(&directory.join("TABLES"))? else { return Ok(false) };
    // Whoever is killed below leaves a slot without a mark and without metadata.
    fs::remove_dir(mark).with_context(|| format!("could not remove {}", mark.display()))?;
    let known = directory.join("META");
    fs::remove_file(&known).with_context(|| format!("could not remove {}", known.display()))?;
    meta::fill(tables.as_fd(), "TABLES", &generation.words)?;
    meta.store(&known)?;
    Ok(true)
}

/// The mark of a slot: a directory whose name says what the programs beside it were made
/// of. Made last of all, removed first.
///
/// # Errors
/// If a map does not tell its number.
pub(super) fn mark(directory: &Path, maps: &Maps, settings: &Settings) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    settings.hash(&mut hasher);
    Ok(directory.join(format!("of-{}-{:016x}", stages::made_of(maps)?, hasher.finish())))
}

/// The random number that a slot's programs have; `None` if it never had any. The next
/// ones take the same, or none could stay.
///
/// # Errors
/// If the map cannot be mapped.
pub(super) fn seed(maps: &Maps, slot: u8) -> Result<Option<u32>> {
    let bytes = size_of::<Settings>() * Word::SLOTS as usize;
    let all = Mapping::new(maps.fd("GENERATIONS")?, bytes, false)
        .context("could not map the settings of generations")?;
    let place = usize::from(slot) * Setting::COUNT + Setting::Seed as usize;
    let [low, high] = [0, 32].map(|shift| all.word(place / 2) >> shift & u64::from(u32::MAX));
    let seed = if place.is_multiple_of(2) { low } else { high };
    Ok(u32::try_from(seed).ok().filter(|seed| *seed != 0))
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
    settings: &Settings,
) -> Result<Loaded> {
    clear(directory)?;
    fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    let start = Instant::now();
    let tables = directory.join("TABLES");
    store_words("TABLES", &generation.words, &tables)?;
    let filled = start.elapsed();

    let start = Instant::now();
    let object = Object::open(map_path, Some(&tables), settings)?;
    let timings = Timings { tables: filled, load: start.elapsed(), switch: Duration::ZERO };
    Ok(Loaded { object, settings: *settings, timings })
}

/// The compiler's settings, completed by what only the kernel side knows.
///
/// # Errors
/// If the table of flows does not say how large it is.
pub(super) fn settings(
    maps: &Maps,
    generation: &Generation,
    capacity: &Capacity,
) -> Result<Settings> {
    let (flow_mask, flow_seed) = flows::settings(maps.fd("FLOWS")?)?;
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
    Ok(settings)
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
