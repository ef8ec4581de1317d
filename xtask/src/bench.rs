//! `cargo xtask bench`: builds the bench and hands over to it.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::{build_ebpf, exec, packages};

/// Measure what a verdict costs, beside a bare `XDP_DROP`; needs root
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON (`"schema": 1`)
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand; returns only if the bench could not be started.
///
/// # Errors
///
/// If something cannot be built, or there is no root.
pub(crate) fn run(args: &Args) -> Result<()> {
    build_ebpf::build(&build_ebpf::Args::default())?;
    let mut build = exec::cargo();
    build.args(["build", "--release", "--package", "firewall-tests", "--bin", "firewall-bench"]);
    exec::step("building the bench", || exec::run(&mut build))?;
    let program = exec::target().join("release/firewall-bench");
    let mut bench = packages::as_root_apart()
        .context("the bench needs root; run: sudo -E cargo xtask bench")?;
    bench.arg(&program);
    if args.json {
        bench.arg("--json");
    }
    // In place of xtask, so that signals and the exit code are the bench's own.
    let error = bench.exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
