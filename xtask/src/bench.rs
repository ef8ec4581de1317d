//! `cargo xtask bench`: builds the bench and what it measures, and hands over to it.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::packages::Need;
use crate::{build_ebpf, exec, packages};

/// Programs without which nothing can be measured.
const NEEDS: [Need; 1] = [Need::program("ip", "iproute2")];

/// Programs beside which the firewall is measured; without one, its rows say so.
const PEERS: [Need; 5] = [
    Need::program("nft", "nftables"),
    Need::program("iptables-legacy", "iptables"),
    Need::program("ipset", "ipset"),
    Need::program("xdp-filter", "xdp-tools"),
    Need::program("ethtool", "ethtool"),
];

/// Measure what the firewall costs, beside a bare `XDP_DROP` and others; needs root
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments for the bench; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// Runs the subcommand; returns only if the bench could not be started.
///
/// # Errors
///
/// If something cannot be built, or there is no root.
pub(crate) fn run(args: &Args) -> Result<()> {
    packages::ensure(&NEEDS, "the bench")?;
    if let Err(error) = packages::ensure(&PEERS, "comparing the firewall with others") {
        exec::say(format_args!("going on without: {error:#}"));
    }
    build_ebpf::build(&build_ebpf::Args::default())?;
    let mut build = exec::cargo();
    build.args(["build", "--release", "--package", "firewall-userspace", "--bin", "firewall"]);
    build.args(["--package", "firewall-tests", "--bin", "firewall-bench"]);
    exec::step("building the firewall and the bench", || exec::run(&mut build))?;
    let program = exec::target().join("release/firewall-bench");
    let mut bench = packages::as_root_apart()
        .context("the bench needs root; run: sudo -E cargo xtask bench")?;
    // In place of xtask, so that signals and the exit code are the bench's own.
    let error = bench.arg(&program).args(&args.rest).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
