//! `cargo xtask bench`: builds the bench and what it measures, and hands over to it.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::packages::Need;
use crate::{build_ebpf, exec, packages};

/// What the bench takes, as it reads it itself.
#[path = "../../tests/src/bench/options.rs"]
#[expect(unreachable_pub, reason = "whether it can be read is all that is asked here")]
mod options;

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
/// If something cannot be built, or there is no root. What is mistyped ends the process, as
/// does `--help`.
pub(crate) fn run(args: &Args) -> Result<()> {
    parse(&args.rest).unwrap_or_else(|error| error.exit());
    let mut bench = packages::as_root_apart()
        .context("the bench needs root; run: sudo -E cargo xtask bench")?;
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
    // In place of xtask, so that signals and the exit code are the bench's own.
    let error = bench.arg(&program).args(&args.rest).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

fn parse(arguments: &[String]) -> clap::error::Result<options::Options> {
    let program = "cargo xtask bench".to_owned();
    options::Options::try_parse_from(std::iter::once(&program).chain(arguments))
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    #[test]
    fn what_is_mistyped_is_refused_before_anything_is_built() {
        let parse = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            super::parse(&arguments).map_err(|error| error.kind()).map(drop)
        };
        assert_eq!(parse("--quick --no-check"), Ok(()));
        assert_eq!(parse("--quik"), Err(ErrorKind::UnknownArgument));
        assert_eq!(parse("--no-check --save-baseline"), Err(ErrorKind::ArgumentConflict));
        assert_eq!(parse("--rule-set /nowhere"), Err(ErrorKind::ValueValidation));
        assert_eq!(parse("--help"), Err(ErrorKind::DisplayHelp));
    }
}
