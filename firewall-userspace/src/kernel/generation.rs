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
use firewall_common::abi::counter::{METRICS, RuleCounter};
use firewall_common::abi::tables::Setting;
use firewall_policy::compile::{Generation, parallel};

use super::maps::{self, Maps};
use super::meta::{self, Meta};
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
    make(directory)?;
    let known = || meta.store(&directory.join("META"));
    let programs = || -> Result<Loaded> {
        let mut loaded = open_in(directory, map_path, generation, settings)?;
        let start = Instant::now();
        let names: Vec<&str> = JUDGES.into_iter().chain(ANSWERS).collect();
        loaded.object.load_all(&names)?;
        for name in names {
            sys::pin(loaded.object.fd(name)?, &directory.join(name))?;
        }
        loaded.timings.load += start.elapsed();
        Ok(loaded)
    };
    let (known, loaded) = parallel::both(is_large(meta), known, programs);
    known?;
    loaded
}

/// Whether to write the metadata takes long enough for a thread.
fn is_large(meta: &Meta) -> bool {
    meta.rules.len() > 1_000
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
    // Whoever is killed below leaves a slot without a mark: it is not renewed, but made anew.
    fs::remove_dir(mark).with_context(|| format!("could not remove {}", mark.display()))?;
    let known = directory.join("META");
    let _gone = fs::remove_file(&known);
    let fill = || meta::fill(tables.as_fd(), "TABLES", &generation.words);
    let (stored, filled) = parallel::both(is_large(meta), || meta.store(&known), fill);
    stored?;
    filled?;
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

/// What the programs of a slot were told last; zeroes before the first.
///
/// # Errors
/// If the map cannot be mapped.
pub(super) fn told(maps: &Maps, slot: u8) -> Result<Settings> {
    let bytes = size_of::<Settings>() * Word::SLOTS as usize;
    let all = Mapping::new(maps.fd("GENERATIONS")?, bytes, false)
        .context("could not map the settings of generations")?;
    let mut settings: Settings = [0; _];
    let first = usize::from(slot) * Setting::COUNT / 2;
    for (place, two) in settings.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let word = all.word(first + place);
        *two = sys::halves(word);
    }
    Ok(settings)
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
    make(directory)?;
    open_in(directory, map_path, generation, settings)
}

/// Makes the directory of a generation, in place of one that may be there.
fn make(directory: &Path) -> Result<()> {
    clear(directory)?;
    fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))
}

fn open_in(
    directory: &Path,
    map_path: impl Fn(&str) -> PathBuf,
    generation: &Generation,
    settings: &Settings,
) -> Result<Loaded> {
    let start = Instant::now();
    let tables = directory.join("TABLES");
    meta::store("TABLES", &generation.words, &tables)?;
    let filled = start.elapsed();

    let start = Instant::now();
    let object = Object::open(map_path, Some(&tables), settings)?;
    let timings = Timings { tables: filled, load: start.elapsed(), switch: Duration::ZERO };
    Ok(Loaded { object, settings: *settings, timings })
}

/// The compiler's settings, completed by what the maps say of themselves. Programs of no
/// generation are told nothing else.
///
/// # Errors
/// If the kernel does not tell.
pub(super) fn settings(maps: &Maps, compiled: &Settings) -> Result<Settings> {
    let cpus = maps::cpus()?;
    let slots = |name: &str, bytes: usize| -> Result<u32> {
        Ok(sys::shape(maps.fd(name)?)?.value / cpus / u32::try_from(bytes)?)
    };
    let (flow_mask, flow_seed) = flows::settings(maps.fd("FLOWS")?)?;
    let mut settings = *compiled;
    for (setting, value) in [
        (Setting::Cpus, cpus),
        (Setting::RuleSlots, slots("RULES", size_of::<RuleCounter>())?),
        (Setting::RequestSlotCount, slots("REQUESTS", 8 * METRICS as usize)?),
        (Setting::FlowMask, flow_mask),
        (Setting::FlowSeed, flow_seed),
        (Setting::Hz, jiffies::per_second()),
    ] {
        if let Some(place) = settings.get_mut(setting as usize) {
            *place = value;
        }
    }
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
