//! A frame put to both machines, and what they must agree on.

use anyhow::{Result, bail, ensure};
use firewall_common::abi::tables::Cell;
use firewall_common::verdict::{Decision, Direction, Reason};
use firewall_policy::compile::Generation;
use firewall_userspace::kernel::sandbox::{Hook, Ledger};

use crate::common::bench::Bench;

/// Both machines, and what the kernel had counted when this run of frames began.
pub(crate) struct Pair {
    pub(crate) bench: Bench,
    before: Ledger,
}

impl Pair {
    pub(crate) fn new(generation: Generation) -> Result<Self> {
        let bench = Bench::new(generation)?;
        let before = bench.kernel.ledger();
        Ok(Self { bench, before })
    }

    /// Begins a run of frames: nothing has happened yet.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.bench.reset()?;
        self.bench.host.counted = firewall_policy::world::Counted::default();
        self.before = self.bench.kernel.ledger();
        Ok(())
    }

    /// Puts a frame to both, which must agree; `None` if the kernel would not run
    /// it, which is known of short ones.
    pub(crate) fn judge(
        &mut self,
        hook: Hook,
        frame: &[u8],
        segments: u32,
    ) -> Result<Option<Decision>> {
        let bench = &mut self.bench;
        let direction = hook.direction();
        if is_refused(hook, frame) {
            ensure!(bench.kernel.run(hook, frame, 1).is_err(), "the kernel ran {frame:02x?}");
            return Ok(None);
        }
        let before: u64 = bench.host.counted.outcomes.values().map(|moved| moved.packets).sum();
        // The short way is held against itself, and against the long one.
        bench.host.in_full ^= true;
        let judged = bench.judge(hook, frame, segments)?;
        let host = judged.host;
        let counted = &bench.host.counted;
        let after: u64 = counted.outcomes.values().map(|moved| moved.packets).sum();
        ensure!(
            after - before == u64::from(segments),
            "the host counted {} packets",
            after - before
        );
        let outcome =
            |reason| counted.outcomes.get(&(direction, reason)).copied().unwrap_or_default();
        let expected = outcome(host.reason);
        let found = bench.kernel.outcome(direction, host.reason);
        let old = self.before.outcomes.total(direction, host.reason);
        let slot = host.cell.slot();
        let rule_agrees = slot == Cell::NO_SLOT || {
            let expected = counted.rules.get(&slot).map_or(0, |rule| rule.packets);
            let old = self.before.rules.get(slot as usize).map_or(0, |rule| rule.packets);
            bench.kernel.rule_packets(slot) - old == expected
        };
        let agree = judged.kernel == host.reason.verdict()
            && found.packets - old.packets == expected.packets
            && found.bytes - old.bytes == expected.bytes
            && rule_agrees;
        if !agree {
            bail!(
                "{hook:?}, {segments} segments, {} bytes: {:02x?}\nthe host: {host:?}\nthe kernel: {:?}, and counted\n{}",
                frame.len(),
                frame.get(..200).unwrap_or(frame),
                judged.kernel,
                self.difference()
            );
        }
        bench.forget_guards();
        Ok(Some(host))
    }

    /// Ends a run of frames: every counter and every flow agrees.
    pub(crate) fn end(&self) -> Result<()> {
        let difference = self.difference();
        ensure!(difference.is_empty(), "counters differ:\n{difference}");
        self.bench.check_flows()
    }

    /// Counters on which the machines do not agree.
    fn difference(&self) -> String {
        let (before, after) = (&self.before, self.bench.kernel.ledger());
        let counted = &self.bench.host.counted;
        let mut lines = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL {
                let host = counted.outcomes.get(&(direction, *reason)).copied().unwrap_or_default();
                let (old, new) = (
                    before.outcomes.total(direction, *reason),
                    after.outcomes.total(direction, *reason),
                );
                let kernel = (new.packets - old.packets, new.bytes - old.bytes);
                if kernel != (host.packets, host.bytes) {
                    lines.push(format!(
                        "{direction:?} {}: host {host:?}, kernel {kernel:?}",
                        reason.name()
                    ));
                }
            }
        }
        for (slot, (old, new)) in (0..).zip(before.rules.iter().zip(&after.rules)) {
            let host = counted.rules.get(&slot).copied().unwrap_or_default();
            let kernel =
                (new.packets - old.packets, new.bytes - old.bytes, new.new_flows - old.new_flows);
            if kernel != (host.packets, host.bytes, host.new_flows) {
                lines.push(format!("rule slot {slot}: host {host:?}, kernel {kernel:?}"));
            }
        }
        for (slot, (old, new)) in (0..).zip(before.requests.iter().zip(&after.requests)) {
            for (metric, (old, new)) in
                firewall_common::request::Metric::ALL.iter().zip(old.iter().zip(new))
            {
                let host = counted.requests.get(&(slot, *metric)).copied().unwrap_or_default();
                if new - old != host {
                    lines.push(format!(
                        "request slot {slot} {}: host {host}, kernel {}",
                        metric.name(),
                        new - old
                    ));
                }
            }
        }
        lines.join("\n")
    }
}

/// What `BPF_PROG_TEST_RUN` refuses: less than an Ethernet header, and at TC an
/// untagged frame that ends in its IP header.
fn is_refused(hook: Hook, frame: &[u8]) -> bool {
    let header = match (frame.get(12..14), hook) {
        (None, _) | (_, Hook::Xdp) => 14,
        (Some([0x08, 0x00]), _) => 14 + 20,
        (Some([0x86, 0xdd]), _) => 14 + 40,
        _ => 14,
    };
    frame.len() < header
}
