//! `firewall explain`.

mod capture;
mod places;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use firewall_common::abi::opening::Opening;
use firewall_common::service::proto;
use firewall_policy::icmp;
use firewall_policy::ir::{self, Direction};
use serde::Serialize;

use self::places::{OnInterface, Places};
use super::client::open_store;
use super::value;
use super::walk::{self, Step};
use super::{Context, Json};
use crate::candidate::{self, Wanted};
use crate::enforce::Ready;
use crate::failure::{Exit, Failure};
use crate::host::users;
use crate::kernel::store::Store;
use crate::probe::Probe;
use crate::probe::engine::Engine;
use crate::report::snapshot::{Action, SCHEMA};
use crate::report::status::short_hash;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall explain out --from 10.0.2.11 --to 10.0.4.10 --tcp 3306
  firewall explain in --from 10.0.3.12 --to 10.0.2.11 --tcp 8080:50000 \\
      --state established
  firewall explain in --from 10.0.1.10 --to 10.0.2.11 --icmp echo-request
  firewall explain in --from 10.0.1.10 --to 10.0.2.11 --udp 123 --iface eth1
  firewall explain in --pcap capture.pcap
  firewall explain in --from 192.0.2.1 --to 10.0.2.11 --tcp 22 \\
      --file rules/web.yaml --model

Runs the programs that enforce the policy, on a packet made for it, with maps
of their own: nothing that is enforced or counted is touched. As a reply
(--state established) a packet belongs to a flow only if the policy lets this
host open that flow.

Where rules ask for an interface, the packet is taken to pass the one by which
its other end is routed, and the answer says what becomes of it on others.
Frames of a capture that were captured short are filled up with zeros. Exit
code 0, or 2 if frames of a capture could not be judged.")]
pub(super) struct Arguments {
    /// Arriving at this host, or sent by it
    #[arg(value_parser = ["in", "out"])]
    direction: String,
    /// Source address
    #[arg(long, required_unless_present = "pcap")]
    from: Option<IpAddr>,
    /// Destination address
    #[arg(long, required_unless_present = "pcap")]
    to: Option<IpAddr>,
    #[command(flatten)]
    transport: Transport,
    /// The opening packet, or one of a running connection
    #[arg(long, value_parser = ["new", "established"], default_value = "new")]
    state: String,
    /// 802.1Q tag
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..4095))]
    vlan: Option<u16>,
    /// Interface that the packet passes
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// A later fragment: no ports
    #[arg(long)]
    fragment: bool,
    /// Explain every Ethernet frame of a capture instead, one after the other
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "transport"])]
    pcap: Option<PathBuf>,
    /// A role file instead of what host.yaml says
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Use the model instead of the BPF programs; needs no root
    #[arg(long)]
    model: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
#[group(id = "transport", multiple = false)]
struct Transport {
    /// Destination port, or SOURCE:DESTINATION
    #[arg(long, value_name = "PORT", value_parser = value::ports)]
    tcp: Option<(Option<u16>, u16)>,
    /// Destination port, or SOURCE:DESTINATION
    #[arg(long, value_name = "PORT", value_parser = value::ports)]
    udp: Option<(Option<u16>, u16)>,
    /// Type, by name or number
    #[arg(long, value_name = "TYPE", value_parser = |text: &str| icmp::type_number(false, text))]
    icmp: Option<u8>,
    /// Type, by name or number
    #[arg(long, value_name = "TYPE", value_parser = |text: &str| icmp::type_number(true, text))]
    icmpv6: Option<u8>,
    /// Protocol number
    #[arg(long, value_name = "NUMBER")]
    ip_proto: Option<u8>,
}

/// Source port of a probe that names none.
const EPHEMERAL: u16 = 50_000;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    packet: String,
    verdict: Action,
    by: String,
    place: Option<String>,
    reason: &'static str,
    engine: &'static str,
    policy: &'a str,
    in_force: bool,
    generation: Option<u64>,
    /// The interface that the packet passes, where rules tell interfaces apart.
    interface: Option<&'a str>,
    /// Empty where it does not matter.
    by_interface: &'a [OnInterface],
    steps: &'a [Step],
    effect: Option<&'static str>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let wanted = Wanted { file: arguments.file.clone(), ..Wanted::default() };
    let loaded = candidate::read(&context.config, &wanted).map_err(|report| {
        super::check::refused(context, &report, &wanted.words(), arguments.json)
    })?;
    // Without root nobody can say what is in force; the explanation says so.
    let is_root = users::effective_uid() == 0;
    let store = if is_root { open_store(context)? } else { None };
    let ready = Ready::new(store.as_ref(), &loaded.policy)?;
    let mut engine = super::test::engine(&ready, arguments.model)?;
    let direction = match arguments.direction.as_str() {
        "in" => Direction::Ingress,
        _ => Direction::Egress,
    };
    let policy = &loaded.policy;
    if let Some(path) = &arguments.pcap {
        let places = Places::of(policy, arguments.iface.as_deref(), None)?;
        return capture::run(context, arguments, (engine, &ready), &places, (direction, path));
    }
    let probe = probe(arguments, direction)?;
    let remote = if direction == Direction::Ingress { probe.from } else { probe.to };
    let places = Places::of(policy, arguments.iface.as_deref(), Some(remote))?;
    engine.put_on(places.ifindex());
    let outcome = engine.ask(&probe)?;
    let bans = store.as_ref().map_or_else(|| Ok(Vec::new()), bans_of)?;
    let openings = store.as_ref().map_or_else(|| Ok(Vec::new()), openings_of)?;
    let interface = places.name();
    let live = walk::Live { bans: &bans, openings: &openings, interface };
    let walk = walk::of(policy, &probe, &outcome, live);
    let by_interface = places.differ(|class, name| {
        let mut model = Engine::model(&ready.generation);
        model.put_on(class.ifindex);
        let live = walk::Live { interface: name, ..live };
        let walk = walk::of(policy, &probe, &model.ask(&probe)?, live);
        Ok(vec![(walk.verdict, walk.by)])
    })?;
    let by_interface = by_interface.into_iter().next().unwrap_or_default();
    let in_force = ready.is_in_force();
    let (hash, generation) =
        (ready.generation.hash.as_str(), ready.before.map(|meta| meta.generation));
    let generation = generation.filter(|_| in_force);
    if arguments.json.json {
        context.out.json(&Document {
            schema: SCHEMA,
            packet: probe.words(),
            verdict: walk.verdict,
            by: walk.by.clone(),
            place: walk.place.clone(),
            reason: walk.reason.name(),
            engine: engine.name(),
            policy: hash,
            in_force,
            generation,
            interface: Some(interface).filter(|name| !name.is_empty()),
            by_interface: &by_interface,
            steps: &walk.steps,
            effect: walk.effect,
        })?;
        return Ok(Exit::Ok);
    }
    let of = match (generation, is_root) {
        (Some(number), _) => format!("generation {number}, policy {}", short_hash(hash)),
        (None, true) => {
            format!("policy {}, which is NOT in force: `firewall apply` takes it", short_hash(hash))
        }
        (None, false) => format!("policy {} of the files", short_hash(hash)),
    };
    let is_told = arguments.iface.is_some() || !by_interface.is_empty();
    let on = if is_told { format!("on {interface}; ") } else { String::new() };
    let mut text = walk.text(&probe, &format!("{on}ran {} ({of})", engine.name()));
    if !by_interface.is_empty() {
        let _ = writeln!(text, "  by interface: {}", places::words(&by_interface));
    }
    context.out.text(&text)?;
    if places.is_unknown() {
        context.out.note(places::UNKNOWN);
    }
    Ok(Exit::Ok)
}

fn probe(arguments: &Arguments, direction: Direction) -> Result<Probe> {
    let (Some(from), Some(to)) = (arguments.from, arguments.to) else {
        return Err(Failure::new("a packet has --from and --to").into());
    };
    let (from, to) = (from.to_canonical(), to.to_canonical());
    if from.is_ipv4() != to.is_ipv4() {
        return Err(Failure::new(format!("{from} and {to} are of different families")).into());
    }
    let established = arguments.state == "established";
    let Transport { tcp, udp, icmp, icmpv6, ip_proto } = &arguments.transport;
    let ported =
        |(source, destination): (Option<u16>, u16)| (source.unwrap_or(EPHEMERAL), destination);
    let transport = match (tcp, udp, icmp, icmpv6, ip_proto) {
        (Some(ports), ..) => {
            let (source, destination) = ported(*ports);
            ir::Probe::Tcp(source, destination)
        }
        (_, Some(ports), ..) => {
            let (source, destination) = ported(*ports);
            ir::Probe::Udp(source, destination)
        }
        (_, _, Some(_), ..) if from.is_ipv6() => return Err(other_icmp("ICMP", "IPv6", "icmpv6")),
        (_, _, _, Some(_), _) if from.is_ipv4() => {
            return Err(other_icmp("ICMPv6", "IPv4", "icmp"));
        }
        (_, _, Some(kind), ..) => ir::Probe::Icmp(*kind),
        (_, _, _, Some(kind), _) => ir::Probe::Icmpv6(*kind),
        (_, _, _, _, Some(number)) => {
            protocol(*number, from.is_ipv6())?;
            ir::Probe::Proto(*number)
        }
        _ => {
            return Err(Failure::new("the packet has no protocol")
                .help("add --tcp PORT, --udp PORT, --icmp TYPE, --icmpv6 TYPE or --ip-proto NUMBER")
                .into());
        }
    };
    let (vlan, fragment) = (arguments.vlan, arguments.fragment);
    Ok(Probe { direction, from, to, transport, established, vlan, fragment })
}

/// Refuses one family's ICMP between addresses of the other.
fn other_icmp(what: &str, family: &str, key: &str) -> anyhow::Error {
    Failure::new(format!("{what} is not spoken between {family} addresses"))
        .help(format!("--{key} TYPE"))
        .into()
}

/// Refuses protocols of which a packet without ports says nothing.
fn protocol(number: u8, is_v6: bool) -> Result<()> {
    let (what, help) = match number {
        proto::TCP => ("is TCP", "--tcp PORT"),
        proto::UDP => ("is UDP", "--udp PORT"),
        proto::ICMP => ("is ICMP", "--icmp TYPE"),
        proto::ICMPV6 => ("is ICMPv6", "--icmpv6 TYPE"),
        proto::SCTP => ("is SCTP, of which no packet is made here", "--pcap FILE, of a capture"),
        0 | 43 | 51 | 60 if is_v6 => (
            "is an extension header of IPv6: what stands behind it is judged",
            "--tcp PORT, --udp PORT, --icmpv6 TYPE or another --ip-proto NUMBER",
        ),
        44 if is_v6 => (
            "is the fragment header of IPv6: what stands behind it is judged",
            "--fragment with --tcp PORT, --udp PORT or another --ip-proto NUMBER",
        ),
        _ => return Ok(()),
    };
    Err(Failure::new(format!("protocol {number} {what}")).help(help).into())
}

/// Bans in force: first address and prefix length.
fn bans_of(store: &Store) -> Result<Vec<(IpAddr, u8)>> {
    let now = crate::kernel::clock::monotonic_ns();
    let all = store.bans()?.all()?;
    let network = |key: firewall_common::abi::ban::BanKey| {
        let address = firewall_common::packet::Address { hi: key.hi, lo: key.lo };
        let address = match key.family {
            4 => IpAddr::V4(address.v4().into()),
            _ => IpAddr::V6(address.v6().into()),
        };
        (address, u8::try_from(key.length).unwrap_or(u8::MAX))
    };
    Ok(all.into_iter().filter(|(_, ban)| ban.until_ns > now).map(|(key, _)| network(key)).collect())
}

/// Openings in force.
fn openings_of(store: &Store) -> Result<Vec<Opening>> {
    let now = crate::kernel::clock::monotonic_ns();
    let all = store.openings(false)?.all();
    Ok(all.into_iter().filter(|opening| opening.until_ns > now).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// What is said of a packet that is refused, with the help; nothing of one that is made.
    fn refused(arguments: &str) -> Option<String> {
        let words = ["firewall", "explain", "in"].into_iter().chain(arguments.split_whitespace());
        let parsed = crate::cli::Arguments::try_parse_from(words).unwrap();
        let crate::cli::Command::Explain(arguments) = parsed.command else { unreachable!() };
        let failure = Failure::of(&probe(&arguments, Direction::Ingress).err()?);
        Some(format!("{}: {}", failure.message, failure.help.unwrap_or_default()))
    }

    #[test]
    fn packets_that_nobody_sends_are_not_made() {
        let v4 = |rest: &str| refused(&format!("--from 192.0.2.1 --to 192.0.2.2 {rest}"));
        let v6 = |rest: &str| refused(&format!("--from 2001:db8::1 --to 2001:db8::2 {rest}"));
        for number in [0, 43, 44, 51, 60] {
            let said = v6(&format!("--ip-proto {number}")).unwrap();
            assert!(said.contains("what stands behind it is judged: --"), "{said}");
            assert_eq!(v4(&format!("--ip-proto {number}")), None);
        }
        for either in [&v4 as &dyn Fn(&str) -> Option<String>, &v6] {
            assert_eq!(either("--ip-proto 6").unwrap(), "protocol 6 is TCP: --tcp PORT");
            assert!(either("--ip-proto 132").unwrap().contains("--pcap FILE"));
            assert_eq!(either("--ip-proto 112"), None);
        }
        let said = v4("--icmpv6 echo-request").unwrap();
        assert_eq!(said, "ICMPv6 is not spoken between IPv4 addresses: --icmp TYPE");
        let said = v6("--icmp echo-request").unwrap();
        assert_eq!(said, "ICMP is not spoken between IPv6 addresses: --icmpv6 TYPE");
        assert_eq!((v4("--icmp 8"), v6("--icmpv6 128")), (None, None));
    }
}
