//! `cargo xtask demo`: see [`firewall_tests::demo`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match firewall_tests::demo::run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
