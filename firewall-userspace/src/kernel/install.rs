//! Putting a generation into the free slot and in force.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::control::Word;
use firewall_common::abi::counter::{METRICS, RuleCounter};
use firewall_common::abi::tables::Setting;
use firewall_policy::compile::{Generation, RuleInfo};

use super::bpffs;
use super::clock::{after, monotonic_ns};
use super::generation::{self, Timings};
use super::grace;
use super::maps::{self, Capacity};
use super::meta::Meta;
use super::object::Settings;
use super::store::Store;
use super::{stages, sys};

/// Program arrays, and which program of a generation each holds.
const ARRAYS: [(&str, &str); 5] = [
    ("ANSWERS_XDP", "answer_xdp"),
    ("ANSWERS_TC", "answer_tc"),
    ("JUDGES_XDP", "judge_xdp"),
    ("JUDGES_INGRESS", "judge_ingress"),
    ("JUDGES_EGRESS", "judge_egress"),
];

impl Store {
    /// Loads a generation into the free slot and makes it the active one, on all
    /// hooks and CPUs with one store: for good, or on trial for so long.
    ///
    /// `meta` is completed with the slot and capacity. A trial must not be under
    /// way: the slot that is free then holds the generation to return to.
    ///
    /// # Errors
    /// If anything fails before the store, nothing in force has changed.
    pub fn install(
        &mut self,
        generation: &Generation,
        meta: &mut Meta,
        trial: Option<Duration>,
    ) -> Result<Timings> {
        let before = self.word();
        ensure!(before.confirmed(), "another policy is on trial");
        let slot = self.free_slot();
        let made_for = generation.settings[Setting::Generation as usize];
        ensure!(
            made_for == u32::from(slot),
            "compiled for slot {made_for}, and slot {slot} is free"
        );
        self.grow(&meta.capacity)?;
        stages::ensure(&self.pins, &self.maps)?;
        self.clear_new(&meta.rules)?;
        meta.slot = slot;
        let mut timings = self.put(generation, meta)?;
        let start = Instant::now();
        if let Some(time) = trial {
            self.set_deadline(after(monotonic_ns(), time));
        }
        let word = Word::new(slot, before.active(), trial.is_none(), closed(meta));
        self.set_word(word);
        timings.switch += start.elapsed();
        Ok(timings)
    }

    /// Puts a generation into its slot: by its tables alone if the programs there are
    /// those that it would have, else anew.
    fn put(&self, generation: &Generation, meta: &Meta) -> Result<Timings> {
        let directory = self.pins.generation(meta.slot);
        let settings = generation::settings(&self.maps, &generation.settings)?;
        let mark = generation::mark(&directory, &self.maps, &settings)?;
        let start = Instant::now();
        // The slot may have been in force until just now.
        let is_renewed = mark.exists()
            && grace::wait()
            && generation::renew(&directory, &mark, generation, meta)?;
        let mut timings = Timings { tables: start.elapsed(), ..Timings::default() };
        if !is_renewed {
            self.unsettle()?;
            let map_path = |name: &str| self.pins.map(name);
            let loaded = generation::load(&directory, map_path, generation, &settings, meta)?;
            timings = loaded.timings;
            let start = Instant::now();
            generation::announce(&self.maps, meta.slot, &settings)?;
            for (array, program) in ARRAYS {
                let number = loaded.object.number(program)?;
                sys::set_element(self.maps.fd(array)?, meta.slot.into(), &number)
                    .with_context(|| format!("could not place {program}"))?;
            }
            timings.switch = start.elapsed();
        }
        bpffs::create_directory(&mark)?;
        Ok(timings)
    }

    /// The slot that the next generation goes to.
    #[must_use]
    pub fn free_slot(&self) -> u8 {
        u8::from(self.word().active() == 0)
    }

    /// What the programs of a slot were told, if it has any.
    ///
    /// # Errors
    /// If the settings cannot be read.
    pub fn told(&self, slot: u8) -> Result<Option<Settings>> {
        let told = generation::told(&self.maps, slot)?;
        Ok((told[Setting::Seed as usize] != 0).then_some(told))
    }

    /// Zeroes the counters of slots that a rule has been given just now: an older
    /// rule, long gone, may have left its counts there.
    fn clear_new(&self, of: &[RuleInfo]) -> Result<()> {
        let rules = self.counters("RULES", true)?;
        let requests = self.counters("REQUESTS", true)?;
        for rule in of.iter().filter(|rule| rule.new) {
            let width = size_of::<RuleCounter>() / 8;
            rules.clear(rule.slot as usize * width, width);
            if let Some(slot) = rule.request_slot {
                requests.clear(slot as usize * METRICS as usize, METRICS as usize);
            }
        }
        Ok(())
    }

    /// Makes room for more rules.
    fn grow(&mut self, capacity: &Capacity) -> Result<()> {
        for name in maps::GROWING {
            if sys::shape(self.maps.fd(name)?)?.value < maps::shape(name, capacity)?.value {
                self.maps.grow(name, capacity)?;
            }
        }
        Ok(())
    }
}

/// Whether a direction is dropped where a program is missing: ingress, egress.
pub(super) fn closed(meta: &Meta) -> [bool; 2] {
    meta.defaults.each_ref().map(|verdict| verdict == "drop")
}
