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
use rmp_serde::{decode, encode};
use serde::{Deserialize, Serialize};

use super::maps::{Capacity, MMAPABLE};
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
    /// Bytes that it has for itself, as computed: tables, and this.
    pub generation_bytes: u64,
    /// Bytes of all its maps while it is replaced, as computed: two generations, counters, flows.
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
        let fd = filled("META", &self.encode().context("could not write metadata")?)?;
        sys::freeze(fd.as_fd()).context("could not freeze META")?;
        sys::pin(fd.as_fd(), path)?;
        Ok(fd)
    }

    /// Reads the metadata of a pinned generation; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        read(path, Self::decode)
    }

    fn encode(&self) -> Result<Vec<u8>, encode::Error> {
        let mut bytes = Vec::with_capacity(ROOM + self.rules.len() * RULE_BYTES);
        encode::write(&mut bytes, &(self.generation, &self.hash, &self.slots))?;
        encode::write(&mut bytes, self)?;
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, decode::Error> {
        let mut values = rmp_serde::Deserializer::from_read_ref(bytes);
        let before = Before::deserialize(&mut values)?;
        Ok(Self { slots: before.slots, ..Self::deserialize(&mut values)? })
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
        // What stands behind it is not looked at.
        read(path, |bytes| rmp_serde::from_slice(bytes))
    }
}

fn read<T>(
    path: &Path,
    decode: impl FnOnce(&[u8]) -> Result<T, decode::Error>,
) -> Result<Option<T>> {
    let Some(fd) = sys::open(path)? else { return Ok(None) };
    let size = sys::shape(fd.as_fd())?.value as usize;
    let mapping = Mapping::new(fd.as_fd(), size, false).context("could not map metadata")?;
    // SAFETY: it is frozen before it is pinned, and no program has it.
    let bytes = unsafe { mapping.frozen() };
    let broken = || format!("the metadata at {} is broken", path.display());
    decode(bytes).with_context(broken).map(Some)
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
    let fd = filled(name, content)?;
    sys::pin(fd.as_fd(), path)?;
    Ok(fd)
}

/// The same, not pinned yet.
fn filled<T: Plain>(name: &str, content: &[T]) -> Result<OwnedFd> {
    let bytes = bytes_of(content);
    let shape = Shape {
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY,
        key: 4,
        value: u32::try_from(bytes)?,
        entries: 1,
        flags: MMAPABLE,
    };
    let fd = sys::create_map(name, &shape)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        let rule = serde_json::json!({
            "slot": 3, "new": true, "name": "http", "role": "web", "direction": "ingress",
            "list": "allow", "action": "allow", "place": "rules/web.yaml:7",
            "remote_text": "any", "service_text": "http", "ports": ["80/tcp"],
            "everybody": true, "counts": ["http1"], "request_slot": 0,
        });
        let slots = serde_json::json!({
            "rules": ["ingress web/http"], "requests": ["ingress web/http"], "idle": [[], []],
        });
        Meta {
            generation: 7,
            slot: 1,
            hash: "7f3c91e".to_owned(),
            roles: vec!["web".to_owned()],
            files: vec!["rules/web.yaml".to_owned()],
            applied_at: 1_700_000_000,
            applied_by: "root".to_owned(),
            defaults: ["drop".to_owned(), "allow".to_owned()],
            rules: vec![serde_json::from_value(rule).unwrap()],
            slots: serde_json::from_value(slots).unwrap(),
            capacity: Capacity::new(1024, 1, 1).unwrap(),
            generation_bytes: 1 << 18,
            memory_bytes: 1 << 20,
            token: None,
            agent: serde_json::json!({ "hook": "auto", "asks": [1, -2, null, true] }),
        }
    }

    #[test]
    fn it_survives_and_says_so_if_it_is_cut_short() {
        let bytes = meta().encode().unwrap();
        let mut padded = bytes.clone();
        padded.extend([0; 7]);
        let (read, before) = (Meta::decode(&padded).unwrap(), rmp_serde::from_slice(&padded));
        assert_eq!(format!("{read:?}"), format!("{:?}", meta()));
        let before: Before = before.unwrap();
        assert_eq!((before.generation, before.hash.as_str()), (7, "7f3c91e"));
        assert_eq!(before.slots, meta().slots);
        for length in 0..bytes.len() {
            assert!(Meta::decode(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
    }

    /// Fields have places: others would be read from what another version has written.
    #[test]
    fn other_fields_need_another_abi_version() {
        let fields = |bytes: &[u8]| usize::from(bytes[0] & 0xf);
        let bytes = meta().encode().unwrap();
        let before = rmp_serde::to_vec(&(7_u64, "7f3c91e", &meta().slots)).unwrap();
        let rule = rmp_serde::to_vec(&meta().rules[0]).unwrap();
        let found = [&bytes[..], &bytes[before.len()..], &rule].map(fields);
        assert_eq!((firewall_common::ABI_VERSION, found), (6, [3, 14, 14]));
    }
}
