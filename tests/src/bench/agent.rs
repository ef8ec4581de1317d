//! Section `host`: memory, and what the agent takes.

use std::os::fd::AsFd as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_userspace::kernel::sys;

use super::Bench;
use super::measure;
use super::ours::Ours;
use super::packets::rule_flows;
use super::policy;
use super::range::MANY_FLOWS;
use super::synthetic;
use super::wire::{INTERFACE, Sender};
use crate::firewall::Firewall;
use crate::traffic::truth::Usage;

/// Section `host`. Not on the server's own view: it reads the machine's `/proc`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let rows = ["role of 12 rules", "1,000 rules", "100,000 rules + 1M set"];
    for row in rows {
        if bench.options.asks("host", row)
            && let Err(error) = memory(bench, row)
        {
            bench.book.skip("host", row, &error);
        }
    }
    if bench.wants("host", "agent") { agent(bench) } else { Ok(()) }
}

/// Column of the tables of one generation, which are as large on every machine.
pub(super) const TABLES: &str = "tables";

fn memory(bench: &mut Bench<'_>, row: &str) -> Result<()> {
    let pair = bench.pair;
    // The kernel accounts a descriptor's memory in /proc/self/fdinfo, which is ours.
    let (ours, (one, policy), pinned) = pair.server.enter(|| {
        let ours = match row {
            "role of 12 rules" => Ours::new(pair, "memory", &policy::ports())?,
            "1,000 rules" => Ours::new(pair, "memory", &policy::rules(1_000, false))?,
            _ => {
                let policy = synthetic::rules_and_set(100_000, 1_000_000)?;
                synthetic::install(pair, "memory", &policy)?
            }
        };
        let store = ours.store()?;
        let meta = store.meta()?.context("no policy in force")?;
        let tables = store.pins().generation(meta.slot).join("TABLES");
        let tables = sys::open(&tables)?.context("the generation has no tables")?;
        let one = u64::from(sys::shape(tables.as_fd())?.value);
        let pinned = ours.pinned()?;
        anyhow::Ok((ours, (one, meta.memory_bytes), pinned))
    })??;
    let mut total = 0;
    for fd in &pinned {
        total += sys::memory(fd.as_fd())?;
    }
    let mebibytes = |bytes| measure::as_f64(bytes) / 1_048_576.0;
    bench.book.fact("host", row, TABLES, (mebibytes(one), "MiB"));
    bench.book.fact("host", row, "policy", (mebibytes(policy), "MiB"));
    bench.book.fact("host", row, "all that is pinned", (mebibytes(total), "MiB"));
    pair.server.enter(|| drop(ours))
}

/// The agent, idle and under a flood of drops.
fn agent(bench: &mut Bench<'_>) -> Result<()> {
    let time = Duration::from_secs(if bench.options.long { 20 } else { 4 });
    let firewall = Firewall::on(&bench.pair.server)?;
    firewall.write(&format!(
        "interfaces: {{ match: [{INTERFACE}] }}\nfailsafe: {{ ingress: [] }}\n\
         services: {{ web: {{ tcp: 80 }} }}\n\
         ingress:\n  allow:\n    - {{ name: web, from: any, service: web }}\n"
    ))?;
    let agent = firewall.agent()?;
    let sender = Sender::new(bench.pair, &rule_flows(1_000, MANY_FLOWS)?, false)?;
    bench.settle("host");
    // The flood has a CPU of its own, as has the agent where there are two.
    for (row, flooded) in [("agent, idle", false), ("agent, under a flood of drops", true)] {
        let (start, before) = (Instant::now(), Usage::of(agent.pid())?.cpu);
        let mut frames = 0_u64;
        while flooded && start.elapsed() < time {
            sender.send(bench.outside, bench.cpu, 50_000)?;
            frames += 50_000;
        }
        sleep(time.saturating_sub(start.elapsed()));
        let usage = Usage::of(agent.pid())?;
        let spent = usage.cpu.saturating_sub(before);
        let busy = spent.as_secs_f64() / start.elapsed().as_secs_f64();
        let book = &mut bench.book;
        book.fact("host", row, "CPU", (100.0 * busy, "% of one"));
        let resident = measure::as_f64(usage.resident) / 1_048_576.0;
        book.fact("host", row, "resident", (resident, "MiB"));
        let rate = measure::as_f64(frames) / start.elapsed().as_secs_f64() / 1e6;
        book.fact("host", row, "frames", (rate, "M/s"));
    }
    agent.stop()?;
    firewall.check(&["detach", "--all"])?;
    Ok(())
}
