//! The real programs with maps of their own: what would happen to a frame?
//!
//! `firewall test` and `explain`, and every datapath test, run the loaded
//! programs here through `BPF_PROG_TEST_RUN`, without touching a live counter.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use firewall_common::abi::ban::{Ban, BanKey};
use firewall_common::abi::control::{Control, Word};
use firewall_common::abi::counter::{METRICS, RuleCounter, Traffic};
use firewall_common::abi::flow::FlowKey;
use firewall_common::abi::opening::Opening;
use firewall_common::verdict::{Direction, Reason, Verdict};
use firewall_policy::compile::Generation;

use super::bans;
use super::bpffs;
use super::counters::{self, Counters, Outcomes};
use super::flows::{Flows, Idle};
use super::generation::{self, Loaded};
use super::maps::{Capacity, Maps};
use super::openings::Openings;
use super::pins::Pins;
use super::program::{self, Facts};
use super::stages;
use super::store::WORD;
use super::sys::{self, Mapping};

/// Which program judges a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `judge_xdp`.
    Xdp,
    /// `judge_ingress`.
    TcIngress,
    /// `judge_egress`.
    TcEgress,
}

impl Hook {
    /// The program that judges at this hook.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Xdp => "judge_xdp",
            Self::TcIngress => "judge_ingress",
            Self::TcEgress => "judge_egress",
        }
    }

    /// The root program of this hook, and the array in which it finds a judge.
    #[must_use]
    pub fn root(self) -> (&'static str, &'static str) {
        match self {
            Self::Xdp => ("root_xdp", "JUDGES_XDP"),
            Self::TcIngress => ("root_ingress", "JUDGES_INGRESS"),
            Self::TcEgress => ("root_egress", "JUDGES_EGRESS"),
        }
    }

    /// The other programs through which a packet may go at this hook: that of the
    /// generation with the array in which it is found, and those of none.
    fn stages(self) -> ((&'static str, &'static str), [&'static str; 4]) {
        match self {
            Self::Xdp => (
                ("ANSWERS_XDP", "answer_xdp"),
                ["read_xdp", "conclude_xdp", "suspect_xdp", "requests_xdp"],
            ),
            Self::TcIngress | Self::TcEgress => (
                ("ANSWERS_TC", "answer_tc"),
                ["read_tc", "conclude_tc", "suspect_tc", "requests_tc"],
            ),
        }
    }

    /// The direction of packets at this hook.
    #[must_use]
    pub fn direction(self) -> Direction {
        match self {
            Self::Xdp | Self::TcIngress => Direction::Ingress,
            Self::TcEgress => Direction::Egress,
        }
    }
}

/// What happened to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the program returned.
    pub verdict: Verdict,
    /// The outcome counter that moved.
    pub reason: Reason,
    /// The rule counter that moved, if one did.
    pub slot: Option<u32>,
}

/// Every counter of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// By interface, direction and reason.
    pub outcomes: Outcomes,
    /// By rule slot.
    pub rules: Vec<RuleCounter>,
    /// By request slot and metric.
    pub requests: Vec<[u64; METRICS as usize]>,
}

/// A generation with maps of its own.
#[derive(Debug)]
pub struct Sandbox {
    control: Mapping,
    maps: Maps,
    loaded: Loaded,
    outcomes: Counters,
    rules: Counters,
    requests: Counters,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Sandbox {
    /// Loads a generation. The pins it needs while loading are gone afterwards.
    ///
    /// # Errors
    /// Without root, without bpffs, or if the kernel refuses the programs.
    pub fn new(generation: &Generation) -> Result<Self> {
        let capacity =
            Capacity { flows: 1 << 15, ..Capacity::new(0, slots(generation), slots(generation))? };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pins = Pins::from_environment();
        sweep(pins.directory());
        let root = pins.directory().join(format!("{PREFIX}{}-{number}", std::process::id()));
        let directory = Removed(root.clone());
        bpffs::create_directory(&root.join("maps"))?;
        let map_path = |name: &str| root.join("maps").join(name);
        let maps = Maps::open_or_create(map_path, &capacity)?;
        let settings = generation::settings(&maps, &generation.settings)?;
        let loaded = generation::open(&root.join("gen"), map_path, generation, &settings)?;
        drop(directory);
        generation::announce(&maps, loaded.slot(), &loaded.settings)?;
        let control = Mapping::new(maps.fd("CONTROL")?, size_of::<Control>(), true)?;
        control.set_word(WORD, Word::new(loaded.slot(), Word::PASS_ALL, true, [true; 2]).0);
        Ok(Self {
            outcomes: Counters::open(&maps, "CPUS", false)?,
            rules: Counters::open(&maps, "RULES", false)?,
            requests: Counters::open(&maps, "REQUESTS", false)?,
            control,
            maps,
            loaded,
        })
    }

    /// Loads what a hook needs when it is first asked for: passing the verifier is
    /// what takes time.
    fn ready(&mut self, hook: Hook, program: &'static str) -> Result<()> {
        if self.loaded.object.fd(program).is_ok() {
            return Ok(());
        }
        let start = Instant::now();
        let ((array, answer), stages) = hook.stages();
        let wanted = [program, hook.program(), answer].into_iter().chain(stages);
        let slot = self.loaded.slot().into();
        let object = &mut self.loaded.object;
        let mut missing: Vec<_> = wanted.filter(|it| object.fd(it).is_err()).collect();
        missing.dedup();
        object.load_all(&missing)?;
        stages::put(&self.maps, object, &stages)?;
        sys::set_element(self.maps.fd(array)?, slot, &object.number(answer)?)?;
        self.loaded.timings.load += start.elapsed();
        Ok(())
    }

    /// Runs a frame through a program once.
    ///
    /// # Errors
    /// If the kernel refuses the frame (shorter than an Ethernet header), or if
    /// not exactly one outcome counter moved.
    pub fn judge(&mut self, hook: Hook, frame: &[u8]) -> Result<Judged> {
        self.judge_on(hook, frame, 0)
    }

    /// As [`judge`](Self::judge), at TC on an interface of this network namespace; 0 is the
    /// loopback.
    ///
    /// # Errors
    /// As [`judge`](Self::judge), and if there is no such interface.
    pub fn judge_on(&mut self, hook: Hook, frame: &[u8], ifindex: u32) -> Result<Judged> {
        let context = program::skb_on(ifindex);
        let context = (ifindex != 0 && hook != Hook::Xdp).then_some(context.as_slice());
        let before = self.ledger();
        let verdict = self.run_as(hook, frame, context, 1)?;
        let after = self.ledger();
        let direction = hook.direction();
        let moved = |&&reason: &&Reason| {
            after.outcomes.total(direction, reason).packets
                != before.outcomes.total(direction, reason).packets
        };
        let mut reasons = Reason::ALL.iter().filter(moved);
        let (Some(&reason), None) = (reasons.next(), reasons.next()) else {
            bail!("not exactly one outcome counter moved");
        };
        let slot = before
            .rules
            .iter()
            .zip(&after.rules)
            .position(|(before, after)| before.packets != after.packets);
        Ok(Judged { verdict, reason, slot: slot.map(u32::try_from).transpose()? })
    }

    /// Runs a frame through a program `repeat` times.
    ///
    /// # Errors
    /// As [`judge`](Self::judge).
    pub fn run(&mut self, hook: Hook, frame: &[u8], repeat: u32) -> Result<Verdict> {
        self.run_as(hook, frame, None, repeat)
    }

    /// As [`run`](Self::run), with a context of the hook's own type: what is known
    /// of the frame beside its bytes.
    ///
    /// # Errors
    /// As [`judge`](Self::judge), and if the kernel refuses the context.
    pub fn run_as(
        &mut self,
        hook: Hook,
        frame: &[u8],
        context: Option<&[u8]>,
        repeat: u32,
    ) -> Result<Verdict> {
        self.execute(hook, hook.program(), (frame, context), repeat)
    }

    /// As [`run`](Self::run), from the hook's root program on.
    ///
    /// # Errors
    /// As [`judge`](Self::judge).
    pub fn run_root(&mut self, hook: Hook, frame: &[u8]) -> Result<Verdict> {
        self.execute(hook, hook.root().0, (frame, None), 1)
    }

    /// Lets the root program of a hook find this generation's judge in a slot, as
    /// installing a generation does.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn install(&mut self, hook: Hook, slot: u32) -> Result<()> {
        self.ready(hook, hook.program())?;
        let judge = self.loaded.object.number(hook.program())?;
        Ok(sys::set_element(self.maps.fd(hook.root().1)?, slot, &judge)?)
    }

    fn execute(
        &mut self,
        hook: Hook,
        program: &'static str,
        (frame, context): (&[u8], Option<&[u8]>),
        repeat: u32,
    ) -> Result<Verdict> {
        self.ready(hook, program)?;
        let value = program::test_run(self.loaded.object.fd(program)?, frame, context, repeat)
            .context("the kernel would not run the program")?;
        match (hook, value) {
            (Hook::Xdp, XDP_PASS) | (_, TC_ACT_UNSPEC) => Ok(Verdict::Pass),
            (Hook::Xdp, XDP_DROP) | (_, TC_ACT_SHOT) => Ok(Verdict::Drop),
            _ => bail!("the program returned {value}, which is no verdict"),
        }
    }

    /// Every counter, now.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger {
            outcomes: Outcomes::read(&self.outcomes),
            rules: counters::rules(&self.rules),
            requests: counters::requests(&self.requests),
        }
    }

    /// One outcome counter, without reading the others. No interface is counted
    /// apart here.
    #[must_use]
    pub fn outcome(&self, direction: Direction, reason: Reason) -> Traffic {
        self.outcomes.traffic(counters::outcome_word(0, direction, reason as u32))
    }

    /// Packets of one rule, without reading the other counters.
    #[must_use]
    pub fn rule_packets(&self, slot: u32) -> u64 {
        self.rules.sum(slot as usize * 4)
    }

    /// The value of a map that has one, for tests that set state.
    ///
    /// # Errors
    /// If the map is not of that kind.
    pub fn value(&self, name: &str) -> Result<Mapping> {
        let fd = self.maps.fd(name)?;
        let bytes = sys::shape(fd)?.value as usize;
        Mapping::new(fd, bytes, true).with_context(|| format!("could not map {name}"))
    }

    /// The flow table.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn flows(&self) -> Result<Flows> {
        Flows::open(&self.maps, Idle::of(&self.loaded.settings))
    }

    /// Writes a flow, as if this host had opened it now.
    ///
    /// # Errors
    /// If the table would not take it.
    pub fn open_flow(&self, key: FlowKey) -> Result<()> {
        self.write_flow(key, 0, Duration::ZERO)
    }

    /// Writes a flow that was silent for so long.
    ///
    /// # Errors
    /// If the table would not take it.
    pub fn write_flow(&self, key: FlowKey, flags: u32, silent: Duration) -> Result<()> {
        self.flows()?.write(&key, flags, 0, silent)
    }

    /// Empties the flow table, and forgets what was let out a moment ago.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn forget_flows(&self) -> Result<()> {
        self.flows()?.clear();
        let word = Word(self.control.word(WORD));
        self.control.set_word(WORD, word.after(word).0);
        Ok(())
    }

    /// Bans a network.
    ///
    /// # Errors
    /// If the table would not take it.
    pub fn ban(&self, key: BanKey, ban: Ban) -> Result<()> {
        bans::Bans::open(&self.maps)?.insert(key, ban)
    }

    /// Lifts every ban.
    ///
    /// # Errors
    /// If one cannot be lifted.
    pub fn lift_bans(&self) -> Result<()> {
        bans::Bans::open(&self.maps)?.expire(u64::MAX)?;
        Ok(())
    }

    /// Puts these openings in place of all that there are.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn open(&self, openings: &[Opening]) -> Result<()> {
        Openings::open(&self.maps, true)?.write(openings);
        Ok(())
    }

    /// What the kernel knows of each program.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn programs(&mut self) -> Result<Vec<(&'static str, Facts)>> {
        let hooks = [Hook::Xdp, Hook::TcIngress, Hook::TcEgress];
        hooks
            .into_iter()
            .map(|hook| Ok((hook.program(), program::facts(self.program(hook)?)?)))
            .collect()
    }

    /// A program, for tests and benches that run it in other ways.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn program(&mut self, hook: Hook) -> Result<BorrowedFd<'_>> {
        self.ready(hook, hook.program())?;
        self.loaded.object.fd(hook.program())
    }

    /// How long loading took.
    #[must_use]
    pub fn timings(&self) -> generation::Timings {
        self.loaded.timings
    }
}

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;

/// One past the highest rule slot.
fn slots(generation: &Generation) -> u32 {
    generation.rules.iter().map(|rule| rule.slot + 1).max().unwrap_or(0)
}

/// A directory that goes when this does, and those above it that were made for it.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // Nothing depends on it; the next sandbox sweeps what is left.
        let _left = fs::remove_dir_all(&self.0);
        // Of this ABI version, and of all: where nothing is installed, they are empty.
        let above = self.0.ancestors().skip(1).take(2);
        let _kept = above.map(fs::remove_dir).find(Result::is_err);
    }
}

/// Before the process and a number, in the name of a sandbox's directory.
const PREFIX: &str = "sandbox-";

/// Removes the pins of sandboxes whose process was killed while it loaded them:
/// they hold megabytes of kernel memory.
fn sweep(directory: &Path) {
    let processes = Path::new("/proc");
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if let Some(process) = process
            && processes.join("self").exists()
            && !processes.join(process.to_string()).exists()
        {
            let _left = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_has_left_is_swept() {
        let directory = std::env::temp_dir().join(format!("firewall-sweep-{}", std::process::id()));
        let own = format!("{PREFIX}{}-0", std::process::id());
        // No process has a number above the highest that Linux gives out.
        let names = ["gen-0", own.as_str(), "sandbox-4194305-3", "sandbox-x"];
        for name in names {
            fs::create_dir_all(directory.join(name).join("maps")).unwrap();
        }
        sweep(&directory);
        let left = names.map(|name| directory.join(name).exists());
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(left, [true, true, false, true]);
    }
}
