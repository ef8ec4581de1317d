//! `firewall agent`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use log::LevelFilter;

use super::Context;
use crate::agent::{self, Settings};
use crate::failure::{Exit, Failure, as_root};
use crate::host::users;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  systemctl start firewall                    how it is run
  sudo firewall agent --log debug             in the foreground

SIGHUP enforces what host.yaml and the rules say now; errors leave what is
enforced as it is. SIGTERM ends the agent, not the enforcement. A restarted
agent adopts what it finds pinned.")]
pub(super) struct Arguments {
    /// Address of /metrics [default: host.yaml's outputs.prometheus.listen, or 127.0.0.1:9477]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// What is logged: error, warn, info, debug (`RUST_LOG` overrules it)
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
    /// Print where a client on this host finds /metrics, and end: for the installer
    #[arg(long, hide = true)]
    print_address: bool,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let settings = Settings {
        pins: context.pins.clone(),
        config: context.config.clone(),
        listen: arguments.listen,
    };
    if arguments.print_address {
        let address = settings.metrics_address().unwrap_or(agent::METRICS);
        context.out.line(&reached_from_here(address).to_string())?;
        return Ok(Exit::Ok);
    }
    let mut logger = env_logger::Builder::new();
    logger.filter_level(arguments.log).parse_default_env().format_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        // The journal has its own clock, and reads priorities.
        logger.format(journal);
    }
    logger.init();
    if users::effective_uid() != 0 {
        let refused = Failure::not_permitted("the agent loads BPF programs: it starts as root");
        return Err(refused.help(as_root()).into());
    }
    agent::run(settings)?;
    Ok(Exit::Ok)
}

/// What is served on every address is on the loopback, too.
fn reached_from_here(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// `<n>` in front is the priority, `sd-daemon(3)`.
fn journal(
    formatter: &mut env_logger::fmt::Formatter,
    record: &log::Record<'_>,
) -> std::io::Result<()> {
    use std::io::Write as _;
    let priority = match record.level() {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    };
    let text = record.args().to_string();
    for line in text.lines() {
        writeln!(formatter, "<{priority}>{line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_on_this_host_is_told_an_address_that_it_can_reach() {
        for (served, reached) in [
            ("0.0.0.0:9500", "127.0.0.1:9500"),
            ("[::]:9500", "[::1]:9500"),
            ("192.0.2.1:9477", "192.0.2.1:9477"),
        ] {
            assert_eq!(reached_from_here(served.parse().unwrap()).to_string(), reached);
        }
    }
}
