//! `firewall open`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use firewall_common::abi::opening::{OPENINGS, Opening};
use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::set::ServiceSet;
use serde::Serialize;

use super::client::{Numbers, open_store, tell_agent};
use super::value::{self, Network};
use super::{Context, Json, sets};
use crate::candidate::{self, Wanted};
use crate::collect::openings::{name, network, shown};
use crate::confirmed::{self, Confirmed};
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
    if !dry_run {
        require_root("only root may change what is let in")?;
    }
    let _lock = (!dry_run).then(|| Lock::take(&paths::lock(), "open")).transpose()?;
    let store = store(context)?;
    let services = services(context, &store, service)?;
    let openings = store.openings(!dry_run)?;
    let service = &label(service);
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
    let verb = if *dry_run { "would open" } else { "opened" };
    let (time, ports) = (units::age(*time), sets::services(&services).join(", "));
    let text = format!("{verb} {service} ({ports}) to {from} for {time}; denies and bans stay");
    let printed = if arguments.json.json {
        context.out.json(&Document { schema: SCHEMA, openings: shown(&made) })
    } else {
        context.out.line(&text)
    };
    context.out.told(printed, (!dry_run).then_some(text))?;
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
    let service = &label(service);
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
    let verb = if *dry_run { "would close" } else { "closed" };
    let line = |one: &Opened| format!("{verb} {} to {}", one.service, one.network);
    let text = document.iter().map(line).collect::<Vec<_>>().join("\n");
    let printed = if arguments.json.json {
        context.out.json(&Document { schema: SCHEMA, openings: document })
    } else {
        context.out.line(&text)
    };
    context.out.told(printed, (!dry_run).then_some(text))?;
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
    let head = [("service", left), ("ports", left), ("open to", left), ("ends in", right)];
    let mut table = Table::new(head);
    for Opened { service, ports, network, seconds_left, .. } in openings {
        let ends = units::age(Duration::from_secs(seconds_left));
        table.row([service, ports.join(", "), network, ends]);
    }
    context.out.text(&table.render())?;
    Ok(Exit::Ok)
}

/// A service as the kernel keeps its name, which is shorter than one of the policy may be.
fn label(service: &str) -> String {
    /// Bytes of a name that stand before the mark of what is cut off.
    const CUT: usize = 23;
    let mut hasher = DefaultHasher::new();
    service.hash(&mut hasher);
    match service.get(..CUT) {
        Some(head) if service.len() > 32 => format!("{head}~{:08x}", hasher.finish() >> 32),
        _ => service.to_owned(),
    }
}

/// What a word stands for: `tcp/8080`, or a service of the policy in force.
fn services(context: &Context, store: &Store, word: &str) -> Result<ServiceSet> {
    if let Some((protocol, ports)) = word.split_once('/') {
        return by_port(protocol, ports).ok_or_else(|| {
            Failure::new(format!("`{word}` is not a protocol and a port"))
                .help("tcp/8080, udp/53, sctp/3868, or tcp/8000-8010")
                .into()
        });
    }
    let in_force = store.meta()?.and_then(|meta| confirmed::of(&meta.hash).ok().flatten());
    let Confirmed { config, wanted } = in_force.unwrap_or_else(|| {
        let files = context.config.display();
        context.out.note(&format!(
            "note: the policy in force was not kept; `{word}` is looked up in {files}"
        ));
        Confirmed { config: context.config.clone(), wanted: Wanted::default() }
    });
    let loaded = candidate::read(&config, &wanted).map_err(|_report| {
        let place = config.display();
        Failure::new(format!("`{word}` cannot be looked up: the policy in {place} has errors"))
            .help("firewall check    or a protocol and a port: tcp/8080")
    })?;
    let known = loaded.names.services;
    if let Some(service) = known.iter().find(|service| service.name == word) {
        return Ok(service.set.clone());
    }
    let names: Vec<String> = known.into_iter().map(|service| service.name).collect();
    Err(Failure::new(format!("no service is called `{word}`"))
        .detail(format!("the policy knows {}", sets::shortened(&names)))
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
    fn long_names_are_cut_and_stay_different() {
        let [one, other] = ["1", "2"].map(|end| label(&format!("{}{end}", "a".repeat(47))));
        assert_eq!((one.len(), other.len()), (32, 32));
        assert_ne!(one, other);
        // What a list shows closes it.
        assert_eq!(label(&one), one);
        assert_eq!(label(&"a".repeat(32)), "a".repeat(32));
    }

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
