//! `cargo xtask test`: the test levels, what they need, and what came of them.
//!
//! All host commands name the same packages, so that features unify once and
//! dependencies are compiled once.

mod levels;
mod report;
mod watch;

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::{build_ebpf, exec, packages};
use levels::{Kind, Level};
use report::{Counts, Row};
use watch::End;

/// The workspace without firewall-ebpf, which the host cannot compile.
pub(crate) const HOST_PACKAGES: [&str; 5] =
    ["firewall-common", "firewall-policy", "firewall-userspace", "firewall-tests", "xtask"];

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                          every level but systemd, which takes minutes
  cargo xtask test unit datapath            two of them
  cargo xtask test lab -- reload            the lab tests with `reload` in their name
  cargo xtask test --list                   the levels, and what each shows

The last line of the output is `N passed, N failed`.";

/// Run the test levels, installing the programs they need
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Levels to run; if none is named, all but systemd
    #[arg(value_name = "LEVEL")]
    levels: Vec<String>,
    /// As CI runs it: Cargo.lock must be up to date
    #[arg(long)]
    ci: bool,
    /// List the levels instead
    #[arg(long)]
    list: bool,
    /// Arguments for the test programs
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
    /// Leave out the levels that need root
    #[arg(long)]
    no_root: bool,
}

impl Args {
    /// Every level that needs no root.
    pub(crate) fn without_root() -> Self {
        Self { levels: Vec::new(), ci: false, list: false, rest: Vec::new(), no_root: true }
    }
}

/// Whether everything that ran passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did.
    Passed,
    /// It did not; the report says what.
    Failed,
}

/// Runs the subcommand.
///
/// # Errors
///
/// If a level is unknown. Everything else is a failure in the report.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let mut levels = if args.list && args.levels.is_empty() {
        levels::all()
    } else {
        levels::choose(levels::all(), &args.levels)?
    };
    levels.retain(|level| !(args.no_root && level.needs_root()));
    if args.list {
        for level in &levels {
            let root = if level.needs_root() { "root" } else { "" };
            exec::result(format_args!("{:<14} {root:<5} {}", level.name, level.about));
        }
        return Ok(Outcome::Passed);
    }
    let start = Instant::now();
    let mut rows = Vec::new();
    if levels.iter().any(|level| level.kind != Kind::Format) {
        rows.push(timed("build", false, |counts| build_everything(args, counts)));
    }
    let built = rows.iter().all(|row| row.counts.failed == 0);
    for level in &levels {
        if !built && level.kind != Kind::Format {
            continue;
        }
        let is_test = matches!(level.kind, Kind::Unit | Kind::Rooted);
        rows.push(timed(&level.name, is_test, |counts| run_level(level, args, counts)));
    }
    if !built {
        exec::say("the build failed, so the levels that need it did not run");
    }
    let failed = rows.iter().any(|row| row.counts.failed > 0);
    exec::result(report::table(&rows, start.elapsed()));
    Ok(if failed { Outcome::Failed } else { Outcome::Passed })
}

/// Runs one level's work; an error is a failure of the level.
fn timed(name: &str, is_test: bool, work: impl FnOnce(&mut Counts) -> Result<()>) -> Row {
    exec::say(format_args!("---- {name}"));
    let start = Instant::now();
    let mut counts = Counts::default();
    if let Err(error) = work(&mut counts) {
        exec::error(&error);
        counts.note_failure(error.to_string().lines().next().unwrap_or("see above"));
    }
    let time = start.elapsed();
    let result = if counts.failed > 0 { "FAILED" } else { "ok" };
    exec::say(format_args!("---- {name}: {result}, {}", exec::seconds(time)));
    Row { level: name.to_owned(), is_test, counts, time }
}

/// The BPF object, the binary that the lab starts, and all test programs.
fn build_everything(args: &Args, counts: &mut Counts) -> Result<()> {
    build_ebpf::build(&build_ebpf::Args::default())?;
    watched(host_cargo("build", args).arg("--bins"), counts)?;
    watched(host_cargo("test", args).args(["--no-run", "--all-targets", "--quiet"]), counts)
}

fn run_level(level: &Level, args: &Args, counts: &mut Counts) -> Result<()> {
    packages::ensure(level.needs, &format!("test level {}", level.name))?;
    match level.kind {
        Kind::Format => {
            watched(exec::cargo().args(["fmt", "--all", "--check", "--", "--color=never"]), counts)
        }
        Kind::Clippy => clippy(args, counts),
        Kind::Docs => {
            let mut command = host_cargo("doc", args);
            watched(command.arg("--no-deps").env("RUSTDOCFLAGS", "-Dwarnings"), counts)
        }
        Kind::Unit => unit(args, counts),
        Kind::Rooted => rooted(level, args, counts),
    }
}

fn clippy(args: &Args, counts: &mut Counts) -> Result<()> {
    let mut host = host_cargo("clippy", args);
    watched(host.args(["--all-targets", "--", "-Dwarnings"]), counts)?;
    // The host's panic strategy needs an unwinder that a `no_std` program lacks.
    // Other flags need a target directory of their own, or each run of either
    // would throw away what the other has compiled.
    let mut ebpf = exec::cargo();
    ebpf.args(["clippy", "--package", "firewall-ebpf", "--bins", "--target-dir"])
        .arg(exec::target().join("clippy-ebpf"))
        .args(["--", "-Dwarnings"])
        .env("RUSTFLAGS", "-Cpanic=abort");
    watched(&mut ebpf, counts)
}

/// Everything but the integration tests of `firewall-tests`, in two commands:
/// cargo takes `--doc` only alone.
fn unit(args: &Args, counts: &mut Counts) -> Result<()> {
    let mut tests = host_cargo("test", args);
    tests.args(["--lib", "--bins", "--no-fail-fast"]);
    for package in HOST_PACKAGES.iter().filter(|package| **package != "firewall-tests") {
        for name in levels::integration_tests(&exec::workspace().join(package)) {
            tests.args(["--test", &name]);
        }
    }
    let first = watched(tests.arg("--").args(&args.rest), counts);
    let mut docs = host_cargo("test", args);
    let second = watched(docs.args(["--doc", "--no-fail-fast", "--"]).args(&args.rest), counts);
    first.and(second)
}

/// One integration test as root. Without root, and without a sudo that asks no
/// password, the tests themselves say that they need it, and fail.
fn rooted(level: &Level, args: &Args, counts: &mut Counts) -> Result<()> {
    let mut command = host_cargo("test", args);
    command.args(["--test", &level.name, "--no-fail-fast", "--"]);
    command.args(level.threads.map(|threads| format!("--test-threads={threads}")));
    command.args(&args.rest);
    if let Some(runner) = packages::as_root_apart() {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let name = target.to_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{name}_RUNNER"), exec::line(&runner));
    }
    watched(&mut command, counts)
}

/// A cargo command over the host packages.
fn host_cargo(subcommand: &str, args: &Args) -> Command {
    let mut command = exec::cargo();
    command.arg(subcommand);
    for package in HOST_PACKAGES {
        command.args(["--package", package]);
    }
    if args.ci {
        command.arg("--locked");
    }
    command
}

fn watched(command: &mut Command, counts: &mut Counts) -> Result<()> {
    exec::say(exec::line(command));
    let end = watch::run(command, Level::LIMIT, |line| {
        exec::result(line);
        counts.read(line);
    })?;
    if let End::Failure(how) = end {
        counts.note_failure(&how);
    }
    Ok(())
}
