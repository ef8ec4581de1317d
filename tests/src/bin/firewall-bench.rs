//! `cargo xtask bench`: what the firewall costs, beside a bare `XDP_DROP` and others.

use std::process::ExitCode;

use clap::Parser as _;
use firewall_tests::bench::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
