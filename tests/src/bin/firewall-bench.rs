//! `cargo xtask bench`: what a verdict costs, beside a bare `XDP_DROP`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match firewall_tests::bench::run(std::env::args().any(|argument| argument == "--json")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
