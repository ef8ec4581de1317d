//! What can be asked for. `cargo xtask` reads this file too, so that it refuses what is mistyped
//! before it builds anything.

use std::path::PathBuf;

/// Measure what the firewall costs, beside a bare `XDP_DROP` and beside others; needs root
#[derive(Debug, Default, clap::Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    after_help = "\
Examples:
  cargo xtask bench                        everything, about five minutes
  cargo xtask bench --quick                hot rows and instruction counts
  cargo xtask bench --only veth            one section; --only run/IPv6 the rows of that name
  cargo xtask bench --only programs        what CI asks: the same on every machine
  cargo xtask bench --save-baseline        after a change that is meant
  cargo xtask bench --rule-set acl1_10k    a set of rules as ClassBench writes them
  cargo xtask bench --markdown             tables of the last run, for docs/performance.md

Figures are printed, and stored as target/bench/bench.json and bench.html. What is not installed
is skipped and says so. Our own are compared with tests/bench/baseline.json: exit code 1 where
one has fallen behind by more than the noise, or was not measured."
)]
pub struct Options {
    /// Hot rows and instruction counts only: less than a minute
    #[arg(long, conflicts_with = "long")]
    pub quick: bool,
    /// More batches, and 3,000 swaps under load
    #[arg(long)]
    pub long: bool,
    /// Print JSON (`"schema": 2`) instead of tables, and no progress
    #[arg(long)]
    pub json: bool,
    /// Print the tables of the last run in Markdown; measures nothing
    #[arg(long)]
    pub markdown: bool,
    /// Only a section, or the rows that have this in `section/row`, as they are printed
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Measure the rules of a file in `ClassBench`'s format in place of made ones, and nothing else
    // Its whole path, because the lab is in another directory.
    #[arg(long, value_name = "FILE", value_parser = |path: &str| std::fs::canonicalize(path))]
    #[arg(conflicts_with_all = ["only", "save_baseline"])]
    pub rule_set: Vec<PathBuf>,
    /// Compare nothing with tests/bench/baseline.json
    #[arg(long)]
    pub no_check: bool,
    /// Write what was measured to tests/bench/baseline.json in place of comparing it
    #[arg(long, conflicts_with = "no_check")]
    pub save_baseline: bool,
}
