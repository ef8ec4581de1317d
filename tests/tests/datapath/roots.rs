//! The control word says which generation judges, and past its deadline an unconfirmed
//! one gives way, whoever is alive: at the root programs, and at judges that are attached in
//! their place.

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::control::{Control, Word};
use firewall_common::verdict::{Direction, Reason};
use firewall_policy::compile::Budget;
use firewall_tests::packet::{Arp, Frame, Tcp};
use firewall_userspace::kernel::clock;
use firewall_userspace::kernel::sandbox::{Hook, Sandbox};
use firewall_userspace::kernel::sys::Mapping;

use crate::common::policy;
use crate::ends::{Ends, V4, V6};
use crate::ledger::EVERYWHERE;

const WORD: usize = std::mem::offset_of!(Control, word) / 8;
const DEADLINE: usize = std::mem::offset_of!(Control, deadline_ns) / 8;

/// A host whose policy, of one slot, drops everything, and its control word.
struct Host {
    sandbox: Sandbox,
    control: Mapping,
    slot: u8,
    /// What is attached: the judge, or the root program.
    judge: bool,
}

impl Host {
    fn new(slot: u8, judge: bool) -> Result<Self> {
        firewall_tests::gate::bpf()?;
        let policy = policy::read("default: { ingress: drop, egress: drop }\n")?;
        let compiled = policy::compiled_for(slot, &policy, Budget::USUAL)?;
        let sandbox = Sandbox::new(&compiled)?;
        Ok(Self { control: sandbox.value("CONTROL")?, sandbox, slot, judge })
    }

    /// Puts the judge where others find it, as installing a generation does.
    fn install(&mut self, hook: Hook) -> Result<()> {
        self.sandbox.install(hook, self.slot.into())
    }

    fn set(&self, active: u8, previous: u8, confirmed: bool, closed: [bool; 2]) {
        self.control.set_word(WORD, Word::new(active, previous, confirmed, closed).0);
    }

    /// The one outcome that a frame moved, which the verdict must be.
    fn judge(&mut self, hook: Hook, frame: &Frame) -> Result<Reason> {
        let before = self.sandbox.ledger();
        let verdict = if self.judge {
            self.sandbox.run(hook, &frame.bytes(), 1)?
        } else {
            self.sandbox.run_root(hook, &frame.bytes())?
        };
        let after = self.sandbox.ledger();
        let packets = |direction, reason| {
            let [old, new] =
                [&before, &after].map(|ledger| ledger.outcomes.total(direction, reason));
            (new.packets - old.packets, new.bytes - old.bytes)
        };
        let mut moved = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            let some = Reason::ALL.iter().filter(|reason| packets(direction, **reason) != (0, 0));
            moved.extend(some.map(|reason| (direction, *reason)));
        }
        let [(direction, reason)] = moved[..] else { anyhow::bail!("{hook:?} moved {moved:?}") };
        ensure!(direction == hook.direction(), "{hook:?} counted {direction:?}");
        ensure!(packets(direction, reason) == (1, frame.bytes().len() as u64), "{reason:?}");
        ensure!(verdict == reason.verdict(), "{hook:?} returned {verdict:?} for {reason:?}");
        ensure!(before.rules == after.rules, "a rule counted");
        Ok(reason)
    }
}

/// A packet that the hook's policy would drop.
fn packet(hook: Hook, ends: Ends) -> Frame {
    let frame = if hook == Hook::TcEgress { ends.leaves() } else { ends.arrives() };
    frame.tcp(Tcp::default())
}

/// On hosts of either slot, with either program attached.
fn everywhere(check: impl Fn(&mut Host, Hook, &Frame) -> Result<()>) -> Result<()> {
    for (slot, judge) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut host = Host::new(slot, judge)?;
        for hook in EVERYWHERE {
            for ends in [V4, V6] {
                check(&mut host, *hook, &packet(*hook, ends))
                    .with_context(|| format!("slot {slot}, judge attached: {judge}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn without_a_generation_everything_passes() -> Result<()> {
    everywhere(|host, hook, frame| {
        for closed in [[false, false], [true, true]] {
            host.set(Word::PASS_ALL, Word::PASS_ALL, true, closed);
            ensure!(host.judge(hook, frame)? == Reason::NoPolicy);
        }
        Ok(())
    })
}

#[test]
fn an_empty_slot_gives_what_the_word_says_of_its_direction() -> Result<()> {
    everywhere(|host, hook, frame| {
        let reasons = [
            (0, Reason::Slot0EmptyPass, Reason::Slot0EmptyDrop),
            (1, Reason::Slot1EmptyPass, Reason::Slot1EmptyDrop),
        ];
        // A judge that is attached is there, whatever its place says.
        let there = host.judge.then_some(host.slot);
        for (slot, open, closed) in reasons.into_iter().filter(|it| Some(it.0) != there) {
            for word in [[false, false], [true, false], [false, true], [true, true]] {
                host.set(slot, Word::PASS_ALL, true, word);
                let wanted = if word[hook.direction() as usize] { closed } else { open };
                let found = host.judge(hook, frame)?;
                ensure!(found == wanted, "{hook:?}, slot {slot}, {word:?}: {found:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_judge_of_the_active_slot_decides_and_counts_alone() -> Result<()> {
    everywhere(|host, hook, frame| {
        host.set(host.slot, Word::PASS_ALL, true, [false, false]);
        host.install(hook)?;
        let arp = Frame::ethernet().arp(Arp::default());
        ensure!(host.judge(hook, frame)? == Reason::DefaultDrop);
        ensure!(host.judge(hook, &arp)? == Reason::Arp);
        Ok(())
    })
}

#[test]
fn an_unconfirmed_generation_gives_way_at_its_deadline() -> Result<()> {
    everywhere(|host, hook, frame| {
        host.install(hook)?;
        let hour = 3600 * 1_000_000_000;
        let (own, other) = (host.slot, 1 - host.slot);
        let empty = [Reason::Slot0EmptyPass, Reason::Slot1EmptyPass][usize::from(other)];
        for (previous, before) in [(other, empty), (Word::PASS_ALL, Reason::NoPolicy)] {
            host.set(own, previous, false, [false, false]);
            host.control.set_word(DEADLINE, clock::monotonic_ns() + hour);
            ensure!(host.judge(hook, frame)? == Reason::DefaultDrop, "before the deadline");
            host.control.set_word(DEADLINE, clock::monotonic_ns());
            ensure!(host.judge(hook, frame)? == before, "at the deadline");
            host.control.set_word(DEADLINE, 0);
            ensure!(host.judge(hook, frame)? == before, "long past the deadline");
            host.set(own, previous, true, [false, false]);
            ensure!(host.judge(hook, frame)? == Reason::DefaultDrop, "confirmed");
        }
        Ok(())
    })
}

#[test]
fn the_generation_before_a_trial_judges_again_at_its_deadline() -> Result<()> {
    everywhere(|host, hook, frame| {
        host.install(hook)?;
        let (own, other) = (host.slot, 1 - host.slot);
        let empty = [Reason::Slot0EmptyPass, Reason::Slot1EmptyPass][usize::from(other)];
        host.set(other, own, false, [false, false]);
        host.control.set_word(DEADLINE, clock::monotonic_ns() + 3600 * 1_000_000_000);
        ensure!(host.judge(hook, frame)? == empty, "before the deadline");
        host.control.set_word(DEADLINE, clock::monotonic_ns());
        ensure!(host.judge(hook, frame)? == Reason::DefaultDrop, "at the deadline");
        Ok(())
    })
}
