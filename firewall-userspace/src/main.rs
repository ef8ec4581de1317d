//! `firewall`: see the crate's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    firewall_userspace::main()
}
