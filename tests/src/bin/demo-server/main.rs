//! The programs of the demo's site that no Debian package brings: the
//! application behind the web servers, a time server, and a listener for
//! whoever should not be reached.

mod app;
mod http;
mod mysql;
mod sha1;
mod sink;
mod time;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
demo-server app              the application; settings come from the environment (APP_*)
demo-server ntp ADDRESS...   a time server: 10.0.9.123:123 [fd00:f00:9::123]:123
demo-server sink PORT...     answers a line to everything: 443 (TCP), 53/udp (UDP)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [what] if what == "app" => app::run(&app::Settings::from_environment()?),
        [what, addresses @ ..] if what == "ntp" && !addresses.is_empty() => time::run(addresses),
        [what, ports @ ..] if what == "sink" && !ports.is_empty() => sink::run(ports),
        _ => bail!("usage:\n{USAGE}"),
    }
}
