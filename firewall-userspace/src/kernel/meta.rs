//! What people need to know of a generation, kept beside it in the kernel.
//!
//! A pinned map holds it as two values in `MessagePack`, [`Before`] and the rest, so that a
//! restarted agent, or a command with no agent at all, names rules and policies without a
//! second truth on disk. Fields have places, not names: a new one means a new ABI version.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_map_type;
use firewall_policy::compile::{RuleInfo, SlotTable};
use serde::{Deserialize, Serialize};

use super::maps::{self, Capacity, MMAPABLE};
use super::sys::{self, Mapping, Plain, Shape};

/// A generation, as people know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Counts up from 1 with every policy applied on this host since boot.
    pub generation: u64,
    /// Program slot it was loaded into.
    pub slot: u8,
    /// Digest of the policy.
    pub hash: String,
    /// Roles in force.
    pub roles: Vec<String>,
    /// Files it was read from, as people know them.
    pub files: Vec<String>,
    /// When it was applied, seconds since the epoch.
    pub applied_at: u64,
    /// Who applied it.
    pub applied_by: String,
    /// Verdict where no rule matches, `allow` or `drop`: ingress, egress.
    pub defaults: [String; 2],
    /// Its rules.
    pub rules: Vec<RuleInfo>,
    /// Every rule name that has had a counter since the maps were made; stands in [`Before`].
    #[serde(skip)]
    pub slots: SlotTable,
    /// Capacity of the shared maps it was loaded with.
    pub capacity: Capacity,
    /// Bytes its tables take.
    pub memory_bytes: u64,
    /// What confirms it, if it was applied on trial.
    pub token: Option<String>,
    /// Whatever the agent wants to know again after a restart.
    pub agent: serde_json::Value,
}

impl Meta {
    /// Writes the metadata to a map of its own, frozen and pinned.
    ///
    /// # Errors
    /// If the kernel refuses the map.
    pub fn store(&self, path: &Path) -> Result<OwnedFd> {
        let mut bytes = Vec::with_capacity(ROOM + self.rules.len() * RULE_BYTES);
        let before = (self.generation, &self.hash, &self.slots);
        rmp_serde::encode::write(&mut bytes, &before).context("could not write metadata")?;
        rmp_serde::encode::write(&mut bytes, self).context("could not write metadata")?;
        let fd = store("META", &bytes, path)?;
        sys::freeze(fd.as_fd()).context("could not freeze META")?;
        Ok(fd)
    }

    /// Reads the metadata of a pinned generation; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        read(path, |values| {
            let before = Before::deserialize(&mut *values)?;
            Ok(Self { slots: before.slots, ..Self::deserialize(values)? })
        })
    }
}

/// What the next generation has to know of the one in force: not the rules, of which
/// there may be very many.
#[derive(Clone, Debug, Deserialize)]
pub struct Before {
    /// As in [`Meta`].
    pub generation: u64,
    /// As in [`Meta`].
    pub hash: String,
    /// As in [`Meta`].
    pub slots: SlotTable,
}

impl Before {
    /// Reads it from the metadata of a pinned generation; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        read(path, |values| Self::deserialize(values))
    }
}

/// Values that stand one behind the other.
type Values<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>;

fn read<T>(
    path: &Path,
    of: impl FnOnce(&mut Values<'_>) -> Result<T, rmp_serde::decode::Error>,
) -> Result<Option<T>> {
    let Some(fd) = sys::open(path)? else { return Ok(None) };
    let size = sys::shape(fd.as_fd())?.value as usize;
    let mapping = Mapping::new(fd.as_fd(), size, false).context("could not map metadata")?;
    // SAFETY: it is frozen before it is pinned.
    let bytes = unsafe { mapping.frozen() };
    let meta = of(&mut rmp_serde::Deserializer::from_read_ref(bytes))
        .with_context(|| format!("the metadata at {} is broken", path.display()))?;
    Ok(Some(meta))
}

/// Bytes that most rules take, with their counter slots.
const RULE_BYTES: usize = 160;
/// Bytes that the rest mostly takes.
const ROOM: usize = 4096;

/// Stores bytes or words in a new map of one value, and pins it.
///
/// # Errors
/// If the kernel refuses the map: before Linux 6.0 a value ends at 4 MiB.
pub fn store<T: Plain>(name: &str, content: &[T], path: &Path) -> Result<OwnedFd> {
    let bytes = bytes_of(content);
    let shape = Shape {
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY,
        key: 4,
        value: u32::try_from(bytes)?,
        entries: 1,
        flags: MMAPABLE,
    };
    let fd = maps::create(name, &shape, path)
        .with_context(|| format!("{name} takes {} MiB in one map value", bytes / (1 << 20)))?;
    fill(fd.as_fd(), name, content)?;
    Ok(fd)
}

/// Writes bytes or words over those of a map of one value.
///
/// # Errors
/// If it cannot be mapped.
pub fn fill<T: Plain>(fd: BorrowedFd<'_>, name: &str, content: &[T]) -> Result<()> {
    Mapping::new(fd, bytes_of(content), true)
        .with_context(|| format!("could not map {name}"))?
        .fill(content);
    Ok(())
}

/// Bytes of a map's value that takes so much.
fn bytes_of<T>(content: &[T]) -> usize {
    size_of_val(content).next_multiple_of(8)
}
