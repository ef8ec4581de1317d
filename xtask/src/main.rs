//! `cargo xtask`: everything a person types to build, check and try the firewall.
//!
//! One file or directory per subcommand; [`exec`] runs programs with progress lines, and
//! [`packages`] and [`toolchain`] find out what the machine lacks.

mod bench;
mod build;
mod build_ebpf;
mod check;
mod demo;
mod exec;
mod install;
mod layout;
mod packages;
mod test;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use test::Outcome;

const EXAMPLES: &str = "\
Examples:
  cargo xtask build-ebpf          the BPF object, with whatever toolchain is there
  cargo xtask demo                the firewall at work, on real servers in namespaces
  cargo xtask bench               what a verdict costs, beside a bare XDP_DROP
  cargo xtask build --release     one static binary with the object inside
  cargo xtask install --role web --host root@web01    and puts it back unless you still get in
  cargo xtask check               everything that needs no root
  cargo xtask test lab            one level; without a name, all of them

Missing Debian packages and bpf-linker are installed, each with a line that says so.";

/// Build, check and try the firewall.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    BuildEbpf(build_ebpf::Args),
    Build(build::Args),
    Check(check::Args),
    Demo(demo::Args),
    Install(install::Install),
    Upgrade(install::Upgrade),
    Uninstall(install::Uninstall),
    Test(test::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args).map(done),
        Command::BuildEbpf(args) => build_ebpf::run(&args).map(done),
        Command::Build(args) => build::run(&args).map(done),
        Command::Check(args) => check::run(&args).map(ExitCode::from),
        Command::Demo(args) => demo::run(&args).map(done),
        Command::Install(args) => install::install(&args),
        Command::Upgrade(args) => install::upgrade(&args),
        Command::Uninstall(args) => install::uninstall(&args),
        Command::Test(args) => test::run(&args).map(ExitCode::from),
    };
    result.unwrap_or_else(|error| {
        exec::error(&error);
        ExitCode::FAILURE
    })
}

fn done(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
        }
    }
}
