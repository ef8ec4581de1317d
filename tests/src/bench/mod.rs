//! What the firewall costs, beside the least that is possible and beside others.
//!
//! One run measures everything that is to be compared, row by row in turn, because
//! absolute nanoseconds are those of one machine at one moment; the ratio to a bare
//! `XDP_DROP` of the same run is what holds. docs/performance.md says how to read
//! it.
//!
//! | module | idea |
//! | --- | --- |
//! | `measure`, `range` | timing, interleaved; programs on frames in memory |
//! | `bpf`, `assembly`, `instruments` | the programs that measure |
//! | `policy`, `synthetic`, `ours` | our policies, put in force |
//! | `traffic`, `banned` | packets, bans |
//! | `packets`, `state`, `veth`, `wire`, `classbench`, `swap`, … | the sections |
//! | `peers` | what Debian offers beside us |
//! | `sections`, `options`, `asked` | what can be measured, and what is |
//! | `book`, `report`, `baseline` | figures, printed, stored, compared |

mod agent;
mod asked;
mod assembly;
mod banned;
mod baseline;
mod book;
mod bpf;
mod changes;
mod classbench;
mod instruments;
mod machine;
mod measure;
mod options;
mod ours;
mod packets;
mod peers;
mod policy;
mod programs;
mod range;
mod report;
mod sections;
mod socket;
mod state;
mod swap;
mod synthetic;
mod traffic;
mod veth;
mod wire;

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

pub use options::Options;

use crate::gate;
use crate::pair::Pair;
use baseline::Baseline;
use book::Book;
use machine::Outside;
use sections::SECTIONS;

/// One run.
struct Bench<'a> {
    options: &'a Options,
    pair: &'a Pair,
    outside: &'a Outside,
    /// The CPU that everything is measured on.
    cpu: usize,
    book: Book,
}

impl Bench<'_> {
    /// Whether a row is asked for that begins so.
    fn wants(&self, section: &str, start: &str) -> bool {
        self.options.wants(section, start)
    }

    /// Waits until the CPU is quiet, and notes if it would not be.
    fn settle(&mut self, section: &str) {
        let busy = measure::wait_quiet(self.cpu, self.options.patience());
        self.book.say(&format!("{section}: measuring (CPU {} {busy:.0} % busy)", self.cpu));
        if busy > 20.0 {
            let cpu = self.cpu;
            self.book
                .notes
                .push(format!("{section}: CPU {cpu} was {busy:.0} % busy before it began"));
        }
    }
}

/// Measures, prints, stores and compares.
///
/// # Errors
/// Without root, if nothing can be measured, if a packet was judged or counted wrong, or if a
/// figure has fallen behind the baseline or was not measured.
pub fn run(options: &Options) -> Result<()> {
    if options.markdown {
        return report::markdown();
    }
    options.check()?;
    // Before anything is measured: who mistypes a path hears it now.
    classbench::check(options)?;
    let baseline = Baseline::read()?;
    ensure!(
        baseline.is_some() || !options.compares(),
        "there is no baseline: cargo xtask bench --save-baseline, or --no-check"
    );
    gate::bpf()?;
    ours::binary()?;
    let pair = Pair::new("bench")?;
    let outside = Outside::open(&pair)?;
    let mut bench = Bench {
        options,
        pair: &pair,
        outside: &outside,
        cpu: measure::quietest(),
        book: Book::new(options.json),
    };
    sections(&mut bench, |bench, section| bench.wants(section, ""))?;
    let behind = match &baseline {
        Some(baseline) if options.compares() => baseline::check(&mut bench, baseline),
        _ => Vec::new(),
    };
    let book = bench.book;
    report::finish(options, &book, &outside.machine)?;
    let failed = [("wrong", &book.wrong), ("held against the baseline", &behind)];
    let failed: Vec<String> = failed
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(what, lines)| format!("{what}:\n  {}", lines.join("\n  ")))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    ensure!(!book.figures.is_empty(), "nothing was measured");
    if options.save_baseline {
        baseline::save(baseline.unwrap_or_default(), &book)?;
    }
    Ok(())
}

/// Every section that is wanted. One that fails does not take the others with it.
fn sections<'a>(bench: &mut Bench<'a>, wanted: impl Fn(&Bench<'a>, &str) -> bool) -> Result<()> {
    for section in &SECTIONS {
        if wanted(bench, section.id) {
            // On a thread of the server's: its network, its pins.
            let pair = bench.pair;
            let measured = match section.id {
                "host" => agent::measure(bench),
                id => pair.server.enter(|| {
                    measure::pin(bench.cpu)?;
                    measure_section(bench, id)
                })?,
            };
            if let Err(error) = measured {
                bench.book.skip(section.id, book::ALL, &error);
            }
        }
    }
    Ok(())
}

/// Measures sections once more, into a book of their own. What goes wrong there is noted in
/// the first one.
fn measure_again(bench: &mut Bench<'_>, ids: &BTreeSet<String>) -> Book {
    let quiet = bench.options.json;
    let first = std::mem::replace(&mut bench.book, Book::new(quiet));
    let measured = sections(bench, |_, id| ids.contains(id));
    let again = std::mem::replace(&mut bench.book, first);
    if let Err(error) = measured {
        bench.book.notes.push(format!("measuring again: {error:#}"));
    }
    bench.book.wrong.extend(again.wrong.iter().cloned());
    again
}

fn measure_section(bench: &mut Bench<'_>, id: &str) -> Result<()> {
    match id {
        "programs" => programs::measure(bench),
        "run" => packets::run(bench),
        "state" => state::measure(bench),
        "egress" => packets::egress(bench),
        "veth" => veth::measure(bench),
        "classbench" => classbench::measure(bench),
        "socket" => socket::measure(bench),
        "cores" => wire::cores(bench),
        "load" => changes::load(bench),
        "swap" => swap::measure(bench),
        "bans" => changes::bans(bench),
        _ => bail!("there is no section {id}"),
    }
}
