//! `firewall open`.

use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use firewall_common::abi::opening::{OPENINGS, Opening};
use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::set::ServiceSet;
use serde::Serialize;

use super::client::{Numbers, open_store, tell_agent};
use super::value::{self, Network};
use super::{Context, Json};
use crate::candidate::{self, Wanted};
use crate::collect::openings::{name, network, shown};
use crate::failure::{Exit, Failure, require_root};
use crate::kernel::clock::{after, monotonic_ns};
use crate::kernel::openings::opening;
use crate::kernel::store::Store;
use crate::lock::Lock;
use crate::paths;
use crate::report::snapshot::{Opened, SCHEMA};
use crate::report::table::{Align, Table};
use crate::report::units;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  sudo firewall open http --from 198.51.100.7 --for 30m
  sudo firewall open tcp/8000-8010 --from 2001:db8:1::/64 --for 2h
  firewall open list
  sudo firewall open close http

Lets in what no rule names, and the answers out; what a deny or a ban drops
stays out. It is never saved and always ends: the kernel looks at the clock,
whoever is alive. SERVICE is a name of the policy, or PROTOCOL/PORT. What is to
stay belongs into the policy, under `allow:`.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    open: Open,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Openings in force, as the kernel has them
    List(ListArguments),
    /// End an opening now
    Close(Close),
}

#[derive(Debug, clap::Args)]
struct Open {
    /// A service of the policy, or tcp/PORT, udp/PORT, sctp/PORT; PORT-PORT for several
    #[arg(value_name = "SERVICE", required = true)]
    service: Option<String>,
    /// Address or network that is let in
    #[arg(long, value_name = "CIDR", required = true, value_parser = value::network)]
    from: Option<Network>,
    /// For how long; 24h at most
    #[arg(
        long = "for",
        value_name = "TIME",
        required = true,
        value_parser = value::duration,
        allow_hyphen_values = true
    )]
    time: Option<Duration>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall open close http
  sudo firewall open close http --from 198.51.100.7

Connections that came in by it are cut: inbound connections keep no state.")]
struct Close {
    /// The service, as it was opened
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Only for this address or network
    #[arg(long, value_name = "CIDR", value_parser = value::network)]
    from: Option<Network>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

/// Longest opening.
const LONGEST: Duration = Duration::from_hours(24);

#[derive(Serialize)]
struct Document {
    schema: u32,
    openings: Vec<Opened>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    match &arguments.action {
        Some(Action::List(arguments)) => list(context, arguments),
        Some(Action::Close(arguments)) => close(context, arguments),
        None => open(context, &arguments.open),
    }
}

fn store(context: &Context) -> Result<Store> {
    open_store(context)?.ok_or_else(|| {
        Failure::new("nothing is pinned: no policy has been applied on this host")
            .help("sudo firewall apply")
            .into()
    })
}

fn open(context: &Context, arguments: &Open) -> Result<Exit> {
    let Open { service: Some(service), from: Some(from), time: Some(time), dry_run, .. } =
        arguments
    else {
        return Err(Failure::new("which service, from where, for how long?").into());
    };
    if *time > LONGEST {
        return Err(Failure::new("an opening lasts 24 hours at most")
            .help("what is to stay belongs into the policy, under `allow:`")
            .into());
    }
    let services = services(context, service)?;
    if !dry_run {
        require_root("only root may change what is let in")?;
    }
    let _lock = (!dry_run).then(|| Lock::take(&paths::lock(), "open")).transpose()?;
    let openings = store(context)?.openings(!dry_run)?;
    let now = monotonic_ns();
    let until = after(now, *time);
    let of = (from.address, from.length);
    let made = services.ranges().iter().map(|range| opening(of, *range, service, (now, until)));
    let made: Vec<Opening> = made.collect();
    // What has ended makes room; the same again is renewed.
    let is_other =
        |one: &Opening| one.until_ns > now && !(name(one) == *service && network(one) == of);
    let mut all: Vec<Opening> = openings.all().into_iter().filter(is_other).collect();
    let room = OPENINGS - all.len();
    if made.len() > room {
        let needs = if made.len() == 1 {
            "one place".to_owned()
        } else {
            format!("{} places, one for each run of ports", made.len())
        };
        return Err(Failure::new(format!(
            "{service} needs {needs}, and {room} of {OPENINGS} are free"
        ))
        .help("firewall open list    names what could be closed")
        .into());
    }
    all.extend(made.iter().copied());
    if !dry_run {
        openings.write(&all);
    }
    let document = shown(&made);
    if arguments.json.json {
        context.out.json(&Document { schema: SCHEMA, openings: document })?;
    } else {
        let verb = if *dry_run { "would open" } else { "opened" };
        let time = units::age(*time);
        context
            .out
            .line(&format!("{verb} {service} to {from} for {time}; denies and bans stay"))?;
    }
    if !dry_run {
        tell_agent(context, false);
    }
    Ok(if *dry_run { Exit::Findings } else { Exit::Ok })
}

fn close(context: &Context, arguments: &Close) -> Result<Exit> {
    let Close { service, from, dry_run, .. } = arguments;
    if !dry_run {
        require_root("only root may change what is let in")?;
    }
    let _lock = (!dry_run).then(|| Lock::take(&paths::lock(), "open close")).transpose()?;
    let openings = store(context)?.openings(!dry_run)?;
    let now = monotonic_ns();
    let from = from.map(|from| (from.address, from.length));
    let is_meant =
        |one: &Opening| name(one) == *service && from.is_none_or(|from| network(one) == from);
    let all = openings.all().into_iter().filter(|one| one.until_ns > now);
    let (closed, left): (Vec<Opening>, Vec<Opening>) = all.partition(is_meant);
    if closed.is_empty() {
        let to = arguments.from.map_or(String::new(), |from| format!(" to {from}"));
        return Err(Failure::new(format!("{service} is not open{to}"))
            .help("firewall open list    names what is")
            .into());
    }
    if !dry_run {
        openings.write(&left);
    }
    let document = shown(&closed);
    if arguments.json.json {
        context.out.json(&Document { schema: SCHEMA, openings: document })?;
    } else {
        let verb = if *dry_run { "would close" } else { "closed" };
        for Opened { service, network, .. } in document {
            context.out.line(&format!("{verb} {service} to {network}"))?;
        }
    }
    if !dry_run {
        tell_agent(context, false);
    }
    Ok(if *dry_run { Exit::Findings } else { Exit::Ok })
}

fn list(context: &Context, arguments: &ListArguments) -> Result<Exit> {
    let openings = Numbers::open(context)?.snapshot(context)?.openings;
    if arguments.json.json {
        context.out.json(&Document { schema: SCHEMA, openings })?;
        return Ok(Exit::Ok);
    }
    if openings.is_empty() {
        context.out.line("no openings")?;
        return Ok(Exit::Ok);
    }
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([("service", left), ("open to", left), ("ends in", right)]);
    for Opened { service, network, seconds_left, .. } in openings {
        table.row([service, network, units::age(Duration::from_secs(seconds_left))]);
    }
    context.out.text(&table.render())?;
    Ok(Exit::Ok)
}

/// What a word stands for: `tcp/8080`, or a service of the policy in the files.
fn services(context: &Context, word: &str) -> Result<ServiceSet> {
    if word.len() > 32 {
        return Err(Failure::new("the name of a service has 32 bytes at most").into());
    }
    if let Some((protocol, ports)) = word.split_once('/') {
        return by_port(protocol, ports).ok_or_else(|| {
            Failure::new(format!("`{word}` is not a protocol and a port"))
                .help("tcp/8080, udp/53, sctp/3868, or tcp/8000-8010")
                .into()
        });
    }
    let loaded = candidate::read(&context.config, &Wanted::default()).map_err(|_report| {
        Failure::new(format!("`{word}` cannot be looked up: the policy in the files has errors"))
            .help("firewall check    or a protocol and a port: tcp/8080")
    })?;
    let known = loaded.names.services;
    if let Some(service) = known.iter().find(|service| service.name == word) {
        return Ok(service.set.clone());
    }
    let names: Vec<String> = known.into_iter().map(|service| service.name).collect();
    Err(Failure::new(format!("no service is called `{word}`"))
        .detail(format!("the policy knows {}", super::sets::shortened(&names)))
        .help("one of them, or a protocol and a port: tcp/8080")
        .into())
}

fn by_port(protocol: &str, ports: &str) -> Option<ServiceSet> {
    let protocol = match protocol {
        "tcp" => proto::TCP,
        "udp" => proto::UDP,
        "sctp" => proto::SCTP,
        _ => return None,
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (first, last) = (port(first)?, port(last)?);
    let place = |port| ServiceIndex::of(protocol, port).0;
    (first <= last).then(|| ServiceSet::range(place(first), place(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_and_ports_are_a_part_of_the_service_space() {
        let range = |text: &str| {
            let (protocol, ports) = text.split_once('/')?;
            by_port(protocol, ports)?.ranges().first().copied()
        };
        assert_eq!(range("tcp/8080"), Some((8080, 8080)));
        assert_eq!(range("udp/53"), Some((65_589, 65_589)));
        assert_eq!(range("tcp/8000-8010"), Some((8000, 8010)));
        for bad in
            ["tcp/0", "tcp/", "tcp/8010-8000", "tcp/65536", "gre/1", "tcp/http", "/", "tcp/-1"]
        {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
