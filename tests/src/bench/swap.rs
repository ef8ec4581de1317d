//! Section `swap`: one policy after the other while frames arrive as fast as one
//! CPU can send.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_common::verdict::{Direction, Reason, Verdict};

use super::Bench;
use super::measure;
use super::ours::{Applied, Ours};
use super::packets::rule_flows;
use super::policy::{self, Files};
use super::range::MANY_FLOWS;
use super::wire::{self, INTERFACE, Sender};
use crate::firewall::settle;

/// Rules of both policies.
const RULES: u32 = 1_000;
/// Swaps of which one is followed by what the agent does once a policy stands.
const SETTLES: usize = 3;
/// Frames of one call of the sender.
const FRAMES: u32 = 50_000;

/// Section `swap`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let (outside, cpu) = (bench.outside, bench.cpu);
    let policies = [attached(RULES), attached(RULES + 1)];
    let ours = Ours::new(bench.pair, "swap", &policies[0])?;
    let sender = Sender::new(bench.pair, &rule_flows(RULES, MANY_FLOWS)?, false)?;
    let count = bench.options.swaps();
    let other = if cpu == 0 { measure::cpus() - 1 } else { 0 };
    bench.settle("swap");

    let before = Counts::of(&ours, outside)?;
    let stop = AtomicBool::new(false);
    let (swaps, time) = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                sender.send(outside, cpu, FRAMES)?;
            }
            anyhow::Ok(())
        });
        let start = Instant::now();
        // Whoever applies has the other CPU, if there is one.
        let swaps = measure::pin(other).and_then(|()| swap(&ours, &policies, count));
        let time = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        let flood = flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        flood.and(swaps).map(|swaps| (swaps, time))
    })?;
    measure::pin(cpu)?;
    let counted = Counts::of(&ours, outside)?.since(&before);
    note(bench, &swaps, &counted, time);
    bench.pair.server.check(&mut ours.command(&["detach", "--all"])?)?;
    Ok(())
}

/// A policy that is attached to the server's end.
fn attached(rules: u32) -> Files {
    let mut files = policy::rules(rules, false);
    for (_, text) in &mut files {
        *text = text.replace("[none0]", &format!("[{INTERFACE}]"));
    }
    files
}

fn swap(
    ours: &Ours,
    policies: &[Files; 2],
    (count, limit): (u32, Duration),
) -> Result<Vec<Applied>> {
    let (start, mut swaps) = (Instant::now(), Vec::new());
    for (place, files) in policies.iter().rev().cycle().take(count as usize).enumerate() {
        if start.elapsed() > limit {
            break;
        }
        swaps.push(ours.apply(files)?);
        // So that swaps meet judges in force, judges of the other slot, and roots.
        if place % SETTLES == 0 {
            settle(&ours.store()?)?;
        }
    }
    Ok(swaps)
}

fn note(bench: &mut Bench<'_>, swaps: &[Applied], counted: &Counts, time: Duration) {
    let book = &mut bench.book;
    let wall = |swap: &Applied| u64::try_from(swap.wall.as_micros()).ok();
    let part = |name: &'static str| move |swap: &Applied| swap.document[name].as_u64();
    let mut row = |row: &str, micros: Vec<u64>| {
        let mut times: Vec<f64> =
            micros.into_iter().map(|micros| measure::as_f64(micros) / 1e3).collect();
        times.sort_by(f64::total_cmp);
        for (column, part) in [("median", 50), ("p99", 99)] {
            let at = times.get(times.len() * part / 100).copied().unwrap_or(f64::NAN);
            book.fact("swap", row, column, (at, "ms"));
        }
    };
    row("`firewall apply`, YAML to active", swaps.iter().filter_map(wall).collect());
    row("of it: tables and verifier", swaps.iter().filter_map(part("load_us")).collect());
    row("of it: the switch", swaps.iter().filter_map(part("switch_us")).collect());
    let lost = counted.received.abs_diff(counted.counted);
    let facts = [
        ("swaps", swaps.len() as u64),
        ("frames received", counted.received),
        ("misjudged", counted.delivered),
        ("lost by the counters", lost),
    ];
    book.must_be_none("swap", &[(counted.delivered, "misjudged"), (lost, "lost by the counters")]);
    for (row, value) in facts {
        book.fact("swap", row, "all", (measure::as_f64(value), ""));
    }
    let rate = measure::as_f64(counted.received) / time.as_secs_f64() / 1e6;
    book.fact("swap", "frames per second", "all", (rate, "M/s"));
}

/// What was counted of the server's end, by the kernel and by the product.
struct Counts {
    received: u64,
    delivered: u64,
    counted: u64,
}

impl Counts {
    fn of(ours: &Ours, outside: &super::machine::Outside) -> Result<Self> {
        let outcomes = ours.store()?.outcomes().context("no outcomes")?;
        let total = |verdict| -> u64 {
            let of = Reason::ALL.iter().filter(|reason| reason.verdict() == verdict);
            of.map(|reason| outcomes.total(Direction::Ingress, *reason).packets).sum()
        };
        Ok(Self {
            received: wire::received()?,
            delivered: outside.delivered()?,
            counted: total(Verdict::Pass) + total(Verdict::Drop),
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received - before.received,
            delivered: self.delivered - before.delivered,
            counted: self.counted - before.counted,
        }
    }
}
