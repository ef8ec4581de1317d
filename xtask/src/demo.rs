//! `cargo xtask demo`: builds what the demo needs and hands over to it.
//!
//! The demo itself is the program `firewall-demo` of `firewall-tests`, because it
//! stands on the lab and xtask may not depend on the crates it builds.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::packages::Need;
use crate::{build_ebpf, exec, packages};

/// Programs that the demo starts.
const NEEDS: [Need; 17] = [
    Need::program("ip", "iproute2"),
    Need::program("ping", "iputils-ping"),
    Need::program("nsenter", "util-linux"),
    Need::program("curl", "curl"),
    Need::program("openssl", "openssl"),
    Need::program("haproxy", "haproxy"),
    Need::program("nginx", "nginx"),
    Need::program("mariadbd", "mariadb-server"),
    Need::program("mariadb", "mariadb-client"),
    Need::program("mariadb-slap", "mariadb-client"),
    Need::program("prometheus", "prometheus"),
    Need::program("dnsmasq", "dnsmasq-base"),
    Need::program("sshd", "openssh-server"),
    Need::program("ssh", "openssh-client"),
    Need::program("ssh-keygen", "openssh-client"),
    Need::program("wrk", "wrk"),
    Need::program("nmap", "nmap"),
];

/// Show the firewall at work: the whole site in namespaces, real servers; needs root
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments for the demo; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// Runs the subcommand; returns only if the demo could not be started.
///
/// # Errors
///
/// If something cannot be built or installed, or there is no root.
pub(crate) fn run(args: &Args) -> Result<()> {
    packages::ensure(&NEEDS, "the demo")?;
    build_ebpf::build(&build_ebpf::Args::default())?;
    let mut build = exec::cargo();
    build.args(["build", "--bins"]);
    for package in crate::test::HOST_PACKAGES {
        build.args(["--package", package]);
    }
    exec::step("building the firewall and the demo", || exec::run(&mut build))?;
    let program = exec::target().join("debug/firewall-demo");
    let mut demo = packages::as_root(&program.to_string_lossy())
        .context("the demo needs root; run: sudo -E cargo xtask demo")?;
    // In place of xtask, so that signals and the exit code are the demo's own.
    let error = demo.args(&args.rest).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
