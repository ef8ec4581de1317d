//! Everything that is pinned: the one handle to the firewall in the kernel.

use std::ffi::{CStr, CString};
use std::mem::offset_of;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail};
use firewall_common::abi::control::{Control, Word};
use firewall_common::abi::counter::{Cpu, INTERFACES, Interface, METRICS, RuleCounter};
use firewall_common::abi::tables::Setting;
use firewall_common::control::in_force;
use firewall_policy::ir::IngressHook;

use super::attach::{self, Attachment};
use super::bans::Bans;
use super::bpffs;
use super::clock::monotonic_ns;
use super::counters::{self, Counters, Outcomes};
use super::events::{self, Events, Sampled};
use super::flows::{Flows, Idle};
use super::generation;
use super::maps::{Capacity, Maps};
use super::meta::{Before, Meta};
use super::object::{Object, ROOTS, Settings};
use super::openings::Openings;
use super::pins::Pins;
use super::seed;
use super::stages;
use super::sys::{self, Mapping};
use crate::failure::Failure;

/// The pinned firewall of this host.
#[derive(Debug)]
pub struct Store {
    pub(super) pins: Pins,
    pub(super) maps: Maps,
    control: Mapping,
    /// Number of the metadata that was in force when this was opened.
    opened_at: Option<u32>,
}

impl Store {
    /// Opens what is pinned; `None` if this host has no firewall yet.
    ///
    /// # Errors
    /// If the pins may not be read, or some are gone and links go on judging.
    pub fn open(pins: &Pins) -> Result<Option<Self>> {
        match Maps::open(|name| pins.map(name))? {
            // Whoever made the maps was killed before they were all there: as if none were.
            Some(maps) => Ok(Some(Self::with(pins.clone(), maps)?).filter(Self::is_begun)),
            None if pins.has_links() => {
                let directory = pins.directory().display();
                Err(Failure::new(format!("a map in {directory} was removed"))
                    .detail("what is attached goes on judging, and nobody can change it any more")
                    .help(format!("rm -r {directory}    opens this host; then firewall apply"))
                    .into())
            }
            None => Ok(None),
        }
    }

    /// Whether the control word says anything yet.
    fn is_begun(&self) -> bool {
        self.word() != UNSET
    }

    /// Opens what is pinned and creates the rest: shared maps and root programs.
    /// Nothing is enforced before a generation is installed and attached.
    ///
    /// # Errors
    /// If the BPF file system is not there, or the kernel refuses a map or a
    /// program.
    pub fn create(pins: &Pins, capacity: &Capacity) -> Result<Self> {
        for part in ["maps", "roots", "stages", "links"] {
            bpffs::create_directory(&pins.directory().join(part))?;
        }
        let maps = Maps::open_or_create(|name| pins.map(name), capacity)?;
        let store = Self::with(pins.clone(), maps)?;
        if !store.is_begun() {
            let open = Word::new(Word::PASS_ALL, Word::PASS_ALL, true, [false, false]);
            store.set_word(open);
        }
        store.load_roots(capacity)?;
        stages::ensure(&store.pins, &store.maps)?;
        Ok(store)
    }

    fn with(pins: Pins, maps: Maps) -> Result<Self> {
        let fd = maps.fd("CONTROL")?;
        let control =
            Mapping::at_best(fd, size_of::<Control>()).context("could not map the control word")?;
        let mut store = Self { pins, maps, control, opened_at: None };
        store.opened_at = store.meta_number()?;
        Ok(store)
    }

    fn load_roots(&self, capacity: &Capacity) -> Result<()> {
        if ROOTS.iter().all(|name| self.pins.root(name).exists()) {
            return Ok(());
        }
        let mut settings: Settings = [0; _];
        if let Some(cpus) = settings.get_mut(Setting::Cpus as usize) {
            *cpus = capacity.cpus;
        }
        let mut object = Object::open(|name| self.pins.map(name), None, &settings)?;
        for name in ROOTS {
            let path = self.pins.root(name);
            if !path.exists() {
                sys::pin(object.load(name)?, &path)?;
            }
        }
        Ok(())
    }

    /// Where everything is pinned.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The shared maps.
    #[must_use]
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The control word.
    #[must_use]
    pub fn word(&self) -> Word {
        Word(self.control.word(WORD))
    }

    /// The control word and its deadline, as the root programs read them.
    pub(super) fn control(&self) -> Control {
        Control {
            word: self.control.word(WORD),
            deadline_ns: self.control.word(DEADLINE),
            ban_v4_lengths: 0,
            ban_v6_lengths: [0; 2],
            ban_table: 0,
            ban_seed: 0,
            openings: 0,
        }
    }

    /// Slot of the generation that judges now, or [`Word::PASS_ALL`].
    #[must_use]
    pub fn in_force(&self) -> u8 {
        in_force(&self.control(), monotonic_ns)
    }

    /// Sets the end of a trial, before the word that makes it matter.
    pub(super) fn set_deadline(&self, nanoseconds: u64) {
        self.control.set_word(DEADLINE, nanoseconds);
    }

    /// Stores the control word: for all hooks and CPUs at once.
    pub(super) fn set_word(&self, word: Word) {
        // Behind it stands what was written to tables just now.
        self.control.publish_word(WORD, word.after(self.word()).0);
    }

    /// Metadata of the generation that judges now; `None` if every packet passes.
    ///
    /// # Errors
    /// If it is there and broken.
    pub fn meta(&self) -> Result<Option<Meta>> {
        self.meta_of(self.in_force())
    }

    /// Whether another policy has come in force since this was opened.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        self.meta_number().is_ok_and(|now| now.is_some() && now != self.opened_at)
    }

    /// Number of the metadata in force: a map that no other policy has.
    fn meta_number(&self) -> Result<Option<u32>> {
        let slot = match self.in_force() {
            Word::PASS_ALL => return Ok(None),
            slot => slot,
        };
        let meta = sys::open(&self.pins.generation(slot).join("META"))?;
        meta.map(|meta| sys::map_id(meta.as_fd())).transpose()
    }

    /// The part of [`Store::meta`] that the next generation has to know.
    ///
    /// # Errors
    /// If it is there and broken.
    pub fn before(&self) -> Result<Option<Before>> {
        match self.in_force() {
            Word::PASS_ALL => Ok(None),
            slot => Before::open(&self.pins.generation(slot).join("META")),
        }
    }

    pub(super) fn meta_of(&self, slot: u8) -> Result<Option<Meta>> {
        match slot {
            Word::PASS_ALL => Ok(None),
            slot => Meta::open(&self.pins.generation(slot).join("META")),
        }
    }

    /// Outcome counters of all interfaces.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn outcomes(&self) -> Result<Outcomes> {
        Ok(Outcomes::read(&self.counters("CPUS", false)?))
    }

    /// Rule counters by slot.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn rules(&self) -> Result<Vec<RuleCounter>> {
        Ok(counters::rules(&self.counters("RULES", false)?))
    }

    /// Request counters by request slot and metric.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn requests(&self) -> Result<Vec<[u64; METRICS as usize]>> {
        Ok(counters::requests(&self.counters("REQUESTS", false)?))
    }

    /// A counter map, row by row.
    ///
    /// # Errors
    /// If the map cannot be mapped.
    pub fn counters(&self, name: &str, writable: bool) -> Result<Counters> {
        Counters::open(&self.maps, name, writable)
    }

    /// The table of bans.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn bans(&self) -> Result<Bans> {
        Bans::open(&self.maps)
    }

    /// What is let in for a while.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn openings(&self, writable: bool) -> Result<Openings> {
        Openings::open(&self.maps, writable)
    }

    /// The ring of events.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn events(&self) -> Result<Events> {
        Events::open(&self.maps)
    }

    /// What was kept back of events.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn sampled(&self) -> Result<Sampled> {
        events::sampled(&self.maps)
    }

    /// Flows this host opened: those in force now, and room.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub fn flow_usage(&self) -> Result<(usize, u32)> {
        let flows = self.flows()?;
        Ok((flows.count(), flows.capacity()))
    }

    /// Entries of the table of flows.
    ///
    /// # Errors
    /// If the table cannot be opened.
    pub fn flow_capacity(&self) -> Result<u32> {
        Ok(self.flows()?.capacity())
    }

    /// Flows that this host opened.
    ///
    /// # Errors
    /// If the table cannot be opened.
    pub fn flows(&self) -> Result<Flows> {
        let settings = match self.in_force() {
            Word::PASS_ALL => [0; _],
            slot => generation::told(&self.maps, slot)?,
        };
        Flows::open(&self.maps, Idle::of(&settings))
    }

    /// Writes entries for the flows that are open already.
    ///
    /// # Errors
    /// If sockets cannot be listed or the table refuses.
    pub fn seed(&self, idle: Idle) -> Result<usize> {
        seed::seed(&self.maps, idle)
    }

    /// What is attached.
    ///
    /// # Errors
    /// If the pins cannot be read.
    pub fn attached(&self) -> Result<Vec<Attachment>> {
        attach::list(&self.pins)
    }

    /// Attaches the root programs to an interface, see [`Store::settle`].
    ///
    /// # Errors
    /// If a hook is taken or the driver refuses.
    pub fn attach(&self, ifindex: u32, wanted: IngressHook) -> Result<Vec<Attachment>> {
        attach::check_interface(&interface_name(ifindex)?)?;
        self.count_apart(ifindex)?;
        attach::attach(&self.pins, ifindex, wanted)
    }

    /// Detaches from one interface, or from all: they are open from now on.
    ///
    /// # Errors
    /// If a link cannot be removed.
    pub fn detach(&self, ifindex: Option<u32>) -> Result<Vec<Attachment>> {
        let mut removed = Vec::new();
        for link in self.attached()? {
            if ifindex.is_none_or(|wanted| wanted == link.ifindex) {
                attach::remove(&self.pins, &link)?;
                removed.push(link);
            }
        }
        Ok(removed)
    }

    /// Interface indexes that are counted apart, by place; 0 = free.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn places(&self) -> Result<[u32; INTERFACES as usize]> {
        let cpus = self.counters("CPUS", false)?;
        // Every CPU has the same.
        Ok(std::array::from_fn(|place| sys::halves(cpus.at(0, place_word(place)))[0]))
    }

    /// Enters an interface at the first free place from `index & 15` on. Where
    /// none of four is free, it is counted with "any other".
    ///
    /// # Errors
    /// If the counters cannot be mapped.
    pub fn count_apart(&self, ifindex: u32) -> Result<()> {
        let places = self.places()?;
        let alive = |index: u32| index != 0 && interface_name(index).is_ok();
        for probe in 0..4 {
            let place = ((ifindex + probe) % INTERFACES) as usize;
            if place == 0 {
                continue;
            }
            let Some(known) = places.get(place) else { continue };
            if *known == ifindex {
                return Ok(());
            }
            if !alive(*known) {
                return self.set_place(place, ifindex);
            }
        }
        Ok(())
    }

    fn set_place(&self, place: usize, ifindex: u32) -> Result<()> {
        let cpus = self.counters("CPUS", true)?;
        // The first CPU last: it is the one that tells whether all is done.
        for cpu in (0..cpus.cpus()).rev() {
            cpus.set(cpu, place_word(place), ifindex.into());
        }
        Ok(())
    }
}

/// Word of the index of the interface at a place, in a row of `CPUS`.
fn place_word(place: usize) -> usize {
    (offset_of!(Cpu, interfaces) + place * size_of::<Interface>() + offset_of!(Interface, ifindex))
        / 8
}

/// A control word that nobody has set: whoever made the map was killed.
pub(super) const UNSET: Word = Word(0);
/// Word of [`Control`] that holds the [`Word`].
pub(super) const WORD: usize = offset_of!(Control, word) / 8;
/// Word of [`Control`] that holds the deadline of a trial.
const DEADLINE: usize = offset_of!(Control, deadline_ns) / 8;

/// Name of an interface of this network namespace.
///
/// # Errors
/// If there is none with that index.
pub fn interface_name(ifindex: u32) -> Result<String> {
    let mut buffer = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as the call demands.
    let name = unsafe { libc::if_indextoname(ifindex, buffer.as_mut_ptr()) };
    if name.is_null() {
        bail!("there is no interface {ifindex}");
    }
    // SAFETY: the call has written a terminated string to `buffer`.
    Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// Index of an interface of this network namespace.
///
/// # Errors
/// If there is none of that name.
pub fn interface_index(name: &str) -> Result<u32> {
    let c_name = CString::new(name).with_context(|| format!("bad interface name {name:?}"))?;
    // SAFETY: a terminated string.
    match unsafe { libc::if_nametoindex(c_name.as_ptr()) } {
        0 => bail!("there is no interface {name}"),
        index => Ok(index),
    }
}
