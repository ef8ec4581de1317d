//! The shared maps: their real shapes, and opening or creating them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya_obj::generated::bpf_map_type;
use firewall_common::abi::ban::FILTER_BYTES;
use firewall_common::abi::control::{Control, Word};
use firewall_common::abi::counter::{Cpu, METRICS, RuleCounter};
use firewall_common::abi::flow::{FLOW_PORTS, RATE_WORDS, places, table_bytes};
use firewall_common::abi::opening::{OPENINGS, Opening};
use firewall_common::abi::scratch::{Scratch, stage};
use firewall_common::abi::tables::Setting;
use firewall_common::{fragment, guard, request};
use firewall_policy::compile::rule_counters;
use serde::{Deserialize, Serialize};

use super::bans;
use super::sys::{self, Shape};

/// `BPF_F_MMAPABLE`: user space reads and writes the value through a mapping.
pub const MMAPABLE: u32 = 1 << 10;

/// How much the shared maps hold. Chosen when they are created; rule and request
/// slots grow with the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Flows this host opened.
    pub flows: u32,
    /// Rule counters.
    pub rule_slots: u32,
    /// Request counters.
    pub request_slots: u32,
    /// Possible CPUs.
    pub cpus: u32,
}

impl Capacity {
    /// For a policy with that many flows and slots, on this machine.
    ///
    /// # Errors
    /// If the kernel does not tell how many CPUs there can be.
    pub fn new(flows: u32, rule_slots: u32, request_slots: u32) -> Result<Self> {
        Ok(Self {
            flows,
            rule_slots: rule_slots.next_power_of_two().max(256),
            request_slots: request_slots.next_power_of_two().max(16),
            cpus: cpus()?,
        })
    }

    /// The same for a map that is made now: where counters grow, all programs are loaded anew.
    fn with_room(self) -> Self {
        Self { rule_slots: rule_counters(self.rule_slots), ..self }
    }
}

/// CPUs that can ever come up: rows of a counter map.
///
/// # Errors
/// If the kernel does not tell.
pub fn cpus() -> Result<u32> {
    let cpus = aya::util::nr_cpus()
        .map_err(|(path, error)| anyhow::anyhow!("could not read {path}: {error}"))?;
    Ok(u32::try_from(cpus)?)
}

/// Names of the shared maps that programs use.
pub const NAMES: [&str; 23] = [
    "CONTROL",
    "CPUS",
    "RULES",
    "REQUESTS",
    "FLOWS",
    "FLOW_PORTS",
    "FLOW_RATES",
    "BANS",
    "BAN_FILTER",
    "OPENINGS",
    "GUARDS",
    "FRAGMENTS",
    "REQUEST_FLOWS",
    "EVENTS",
    "JUDGES_XDP",
    "JUDGES_INGRESS",
    "JUDGES_EGRESS",
    "ANSWERS_XDP",
    "ANSWERS_TC",
    "STAGES_XDP",
    "STAGES_TC",
    "GENERATIONS",
    "SCRATCH",
];

/// The shape of a shared map.
///
/// # Errors
/// If there is no such map.
pub fn shape(name: &str, capacity: &Capacity) -> Result<Shape> {
    let array = |value: usize| -> Result<Shape> {
        Ok(Shape {
            kind: bpf_map_type::BPF_MAP_TYPE_ARRAY,
            key: 4,
            value: u32::try_from(value)?,
            entries: 1,
            flags: MMAPABLE,
        })
    };
    let table = |kind, key: usize, value: usize, entries, flags| -> Result<Shape> {
        Ok(Shape { kind, key: u32::try_from(key)?, value: u32::try_from(value)?, entries, flags })
    };
    let counters = |slots: u32, width: usize| array(width * (slots * capacity.cpus) as usize);
    match name {
        "CONTROL" => array(size_of::<Control>()),
        "CPUS" => counters(1, size_of::<Cpu>()),
        "RULES" => counters(capacity.rule_slots, size_of::<RuleCounter>()),
        "REQUESTS" => counters(capacity.request_slots * METRICS, size_of::<u64>()),
        "FLOW_PORTS" => array(4 * FLOW_PORTS as usize),
        "BAN_FILTER" => array(FILTER_BYTES),
        "OPENINGS" => array(size_of::<[Opening; OPENINGS]>()),
        "GUARDS" => array(8 * guard::SLOTS as usize),
        "FRAGMENTS" => array(8 * fragment::SLOTS as usize),
        "FLOWS" => array(usize::try_from(table_bytes(places(capacity.flows)))?),
        "FLOW_RATES" => array(8 * (capacity.cpus * RATE_WORDS) as usize),
        "REQUEST_FLOWS" => array(request::BUCKETS as usize * size_of::<request::Bucket>()),
        "BANS" => table(bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 2, 0),
        "EVENTS" => table(bpf_map_type::BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 18, 0),
        "JUDGES_XDP" | "JUDGES_INGRESS" | "JUDGES_EGRESS" | "ANSWERS_XDP" | "ANSWERS_TC" => {
            table(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4, 4, Word::SLOTS, 0)
        }
        "STAGES_XDP" | "STAGES_TC" => {
            table(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4, 4, stage::COUNT, 0)
        }
        "GENERATIONS" => array(4 * Setting::COUNT * Word::SLOTS as usize),
        "SCRATCH" => table(bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY, 4, size_of::<Scratch>(), 1, 0),
        _ => bail!("no shared map is called {name}"),
    }
}

/// Open shared maps, by name.
#[derive(Debug)]
pub struct Maps {
    by_name: BTreeMap<&'static str, OwnedFd>,
    /// Counter maps that a policy has outgrown, with the name of what took their place.
    outgrown: Vec<(&'static str, OwnedFd)>,
    directory: PathBuf,
}

/// Counter maps that grow.
pub const GROWING: [&str; 2] = ["RULES", "REQUESTS"];

/// Where the `number`th map of a name that was outgrown is pinned.
fn outgrown(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

impl Maps {
    /// Opens what is pinned and creates the rest.
    ///
    /// A pinned map keeps its own capacity; one of another layout is an error,
    /// which the ABI version in the path makes impossible short of tampering.
    ///
    /// # Errors
    /// As above, and if the kernel refuses a map.
    pub fn open_or_create(
        path_of: impl Fn(&str) -> std::path::PathBuf,
        capacity: &Capacity,
    ) -> Result<Self> {
        let mut maps = BTreeMap::new();
        for name in NAMES {
            let path = path_of(name);
            let fd = match sys::open(&path)? {
                Some(fd) => {
                    check(name, fd.as_fd(), &shape(name, capacity)?)?;
                    fd
                }
                None => create(name, &shape(name, &capacity.with_room())?, &path)?,
            };
            maps.insert(name, fd);
        }
        let outgrown = open_outgrown(&path_of)?;
        let mut maps = Self { by_name: maps, outgrown, directory: directory(path_of) };
        let table = bans::prepare(&maps)?;
        maps.by_name.insert(bans::TABLE_NAME, table);
        Ok(maps)
    }

    /// Opens what is pinned; `None` unless everything is.
    ///
    /// # Errors
    /// If a pin may not be opened.
    pub fn open(path_of: impl Fn(&str) -> std::path::PathBuf) -> Result<Option<Self>> {
        let mut maps = BTreeMap::new();
        for name in NAMES {
            match sys::open(&path_of(name))? {
                Some(fd) => maps.insert(name, fd),
                None => return Ok(None),
            };
        }
        let outgrown = open_outgrown(&path_of)?;
        Ok(Some(Self { by_name: maps, outgrown, directory: directory(path_of) }))
    }

    /// A map's descriptor.
    ///
    /// # Errors
    /// If there is no such map.
    pub fn fd(&self, name: &str) -> Result<BorrowedFd<'_>> {
        Ok(self
            .by_name
            .get(name)
            .with_context(|| format!("no shared map is called {name}"))?
            .as_fd())
    }

    /// Where they are pinned.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The maps in which something of that name is counted, the one in use first.
    ///
    /// # Errors
    /// If there is no such map, or one does not tell its number.
    pub fn counters(&self, name: &str) -> Result<Vec<BorrowedFd<'_>>> {
        let mut all = vec![self.fd(name)?];
        let mut known = vec![sys::map_id(self.fd(name)?)?];
        for (_, fd) in self.outgrown.iter().filter(|(of, _)| *of == name) {
            // Whoever was killed while it gave way has left one with both names.
            let id = sys::map_id(fd.as_fd())?;
            if !known.contains(&id) {
                known.push(id);
                all.push(fd.as_fd());
            }
        }
        Ok(all)
    }

    /// Puts a larger counter map in a name's place. The smaller one stays pinned.
    ///
    /// # Errors
    /// If the kernel refuses; the smaller one stays in place then.
    pub fn grow(&mut self, name: &'static str, capacity: &Capacity) -> Result<()> {
        let number = self.outgrown.iter().filter(|(of, _)| *of == name).count() + 1;
        let (place, aside) = (self.directory.join(name), outgrown(name, number));
        // Names in a BPF file system have no dots.
        let fresh = self.directory.join(format!("{name}-fresh"));
        let _left = fs::remove_file(&fresh);
        let fd = create(name, &shape(name, &capacity.with_room())?, &fresh)?;
        sys::pin(self.fd(name)?, &self.directory.join(aside))?;
        fs::rename(&fresh, &place)
            .with_context(|| format!("could not put the larger {name} in place"))?;
        if let Some(smaller) = self.by_name.insert(name, fd) {
            self.outgrown.push((name, smaller));
        }
        Ok(())
    }
}

/// Opens what policies have outgrown.
fn open_outgrown(path_of: &impl Fn(&str) -> PathBuf) -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut found = Vec::new();
    for name in GROWING {
        for number in 1.. {
            match sys::open(&path_of(&outgrown(name, number)))? {
                Some(fd) => found.push((name, fd)),
                None => break,
            }
        }
    }
    Ok(found)
}

/// The directory of the pins.
fn directory(path_of: impl Fn(&str) -> PathBuf) -> PathBuf {
    path_of("BANS").parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Creates a map and pins it.
///
/// # Errors
/// If the kernel refuses the map or the pin.
pub fn create(name: &str, shape: &Shape, path: &Path) -> Result<OwnedFd> {
    let created = if name == "BANS" { bans::create(name) } else { sys::create_map(name, shape) };
    let fd = created.with_context(|| {
        format!(
            "could not create the map {name} ({} entries of {} bytes)",
            shape.entries, shape.value
        )
    })?;
    sys::pin(fd.as_fd(), path)?;
    Ok(fd)
}

/// Refuses a pinned map that is not of our layout; capacities may differ.
fn check(name: &str, fd: BorrowedFd<'_>, wanted: &Shape) -> Result<()> {
    let found = sys::shape(fd)?;
    let sized = matches!(name, "RULES" | "REQUESTS" | "FLOWS");
    if found.kind != wanted.kind
        || found.key != wanted.key
        || (found.value != wanted.value && !sized)
    {
        bail!("the pinned map {name} is not ours: {found:?}, wanted {wanted:?}");
    }
    Ok(())
}
