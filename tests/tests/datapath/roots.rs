//! The root programs: the control word says which generation judges, and past its
//! deadline an unconfirmed one gives way, whoever is alive.

use anyhow::{Result, ensure};
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

/// A host whose policy drops everything, and its control word.
struct Host {
    sandbox: Sandbox,
    control: Mapping,
}

impl Host {
    fn new() -> Result<Self> {
        firewall_tests::gate::bpf()?;
        let policy = policy::read("default: { ingress: drop, egress: drop }\n")?;
        let sandbox = Sandbox::new(&policy::compiled(&policy, Budget::USUAL)?)?;
        Ok(Self { control: sandbox.value("CONTROL")?, sandbox })
    }

    fn set(&self, active: u8, previous: u8, confirmed: bool, closed: [bool; 2]) {
        self.control.set_word(WORD, Word::new(active, previous, confirmed, closed).0);
    }

    /// The one outcome that a frame moved, which the verdict must be.
    fn judge(&mut self, hook: Hook, frame: &Frame) -> Result<Reason> {
        let before = self.sandbox.ledger();
        let verdict = self.sandbox.run_root(hook, &frame.bytes())?;
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

fn on_every_hook(check: impl Fn(&mut Host, Hook, &Frame) -> Result<()>) -> Result<()> {
    let mut host = Host::new()?;
    for hook in EVERYWHERE {
        for ends in [V4, V6] {
            check(&mut host, *hook, &packet(*hook, ends))?;
        }
    }
    Ok(())
}

#[test]
fn without_a_generation_everything_passes() -> Result<()> {
    on_every_hook(|host, hook, frame| {
        for closed in [[false, false], [true, true]] {
            host.set(Word::PASS_ALL, Word::PASS_ALL, true, closed);
            ensure!(host.judge(hook, frame)? == Reason::NoPolicy);
        }
        Ok(())
    })
}

#[test]
fn an_empty_slot_gives_what_the_word_says_of_its_direction() -> Result<()> {
    on_every_hook(|host, hook, frame| {
        let reasons = [
            (0, Reason::Slot0EmptyPass, Reason::Slot0EmptyDrop),
            (1, Reason::Slot1EmptyPass, Reason::Slot1EmptyDrop),
        ];
        for (slot, open, closed) in reasons {
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
    on_every_hook(|host, hook, frame| {
        for slot in [0, 1] {
            host.set(slot, Word::PASS_ALL, true, [false, false]);
            host.sandbox.install(hook, slot.into())?;
            let arp = Frame::ethernet().arp(Arp::default());
            ensure!(host.judge(hook, frame)? == Reason::DefaultDrop);
            ensure!(host.judge(hook, &arp)? == Reason::Arp);
        }
        Ok(())
    })
}

#[test]
fn an_unconfirmed_generation_gives_way_at_its_deadline() -> Result<()> {
    on_every_hook(|host, hook, frame| {
        host.sandbox.install(hook, 1)?;
        let hour = 3600 * 1_000_000_000;
        for previous in [0, Word::PASS_ALL] {
            let before = if previous == 0 { Reason::Slot0EmptyPass } else { Reason::NoPolicy };
            host.set(1, previous, false, [false, false]);
            host.control.set_word(DEADLINE, clock::monotonic_ns() + hour);
            ensure!(host.judge(hook, frame)? == Reason::DefaultDrop, "before the deadline");
            host.control.set_word(DEADLINE, clock::monotonic_ns());
            ensure!(host.judge(hook, frame)? == before, "at the deadline");
            host.control.set_word(DEADLINE, 0);
            ensure!(host.judge(hook, frame)? == before, "long past the deadline");
            host.set(1, previous, true, [false, false]);
            ensure!(host.judge(hook, frame)? == Reason::DefaultDrop, "confirmed");
        }
        Ok(())
    })
}
