//! `firewall show`.

use anyhow::Result;
use clap::Subcommand;
use firewall_common::verdict::Reason;
use firewall_policy::Loaded;
use firewall_policy::compile::List;
use firewall_policy::ir::{Direction, Policy, Rule};
use firewall_policy::model;
use serde::Serialize;

use super::client::Numbers;
use super::sets;
use super::{Context, Json};
use crate::candidate::{self, Wanted};
use crate::failure::Exit;
use crate::report::snapshot::{SCHEMA, Way};
use crate::report::table::{Align, Table};
use crate::report::units;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall show baseline                     built-in rules, with counters
  firewall show groups rules/web.yaml
  firewall show policy --flat                addresses and ports spelled out
  firewall show policy --yaml > before.yaml  to compare after an edit
  firewall show schema > firewall.schema.json for editors")]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The built-in rules that keep a host alive, with their counters
    Baseline(Bare),
    /// Services by name: protocols, ports, how requests are counted
    Services(Of),
    /// Groups by name
    Groups(Of),
    /// The rules of a policy in the order in which they win
    Policy(PolicyArguments),
    /// JSON Schema of rule files and host.yaml
    Schema(Bare),
}

#[derive(Debug, clap::Args)]
struct Bare {
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
struct Of {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
struct PolicyArguments {
    #[command(flatten)]
    wanted: Wanted,
    /// Spell addresses and ports out
    #[arg(long)]
    flat: bool,
    /// Print YAML with everything spelled out: to keep, and to compare
    #[arg(long, conflicts_with = "json")]
    yaml: bool,
    #[command(flatten)]
    json: Json,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    match &arguments.what {
        What::Baseline(arguments) => baseline(context, arguments.json),
        What::Services(arguments) => services(context, arguments),
        What::Groups(arguments) => groups(context, arguments),
        What::Policy(arguments) => policy(context, arguments),
        What::Schema(_) => schema(context),
    }?;
    Ok(Exit::Ok)
}

fn read(context: &Context, wanted: &Wanted, json: Json) -> Result<Loaded> {
    candidate::read(&context.config, wanted)
        .map_err(|report| super::check::refused(context, &report, &wanted.words(), json))
}

fn schema(context: &Context) -> Result<()> {
    context.out.text(firewall_policy::JSON_SCHEMA)
}

#[derive(Serialize)]
struct Baseline {
    schema: u32,
    rules: Vec<BuiltIn>,
}

#[derive(Serialize)]
struct BuiltIn {
    name: &'static str,
    verdict: &'static str,
    what: &'static str,
    ingress_packets: Option<u64>,
    egress_packets: Option<u64>,
}

/// What each built-in rule is, in the words of an operator.
const fn described(reason: Reason) -> Option<(&'static str, &'static str)> {
    Some(match reason {
        Reason::Arp => ("allow", "ARP: IPv4 neighbours"),
        Reason::NeighborDiscovery => {
            ("allow", "IPv6 neighbour and router discovery, hop limit 255")
        }
        Reason::Mld => ("allow", "IPv6 multicast listener discovery"),
        Reason::Igmp => ("allow", "IGMP to 224.0.0.0/24"),
        Reason::Dhcp => ("allow", "DHCP as a client, both families"),
        Reason::IcmpRelated => ("allow", "ICMP errors about a flow we know, path MTU among them"),
        Reason::IcmpError => ("allow", "other ICMP errors, within 100/s"),
        Reason::IcmpErrorRate => ("drop", "ICMP errors above that rate"),
        Reason::Ping => (
            "allow",
            "echo requests within `ping:` per source, and our replies; none if that is `off`",
        ),
        Reason::PingRate => ("drop", "echo requests above that rate"),
        Reason::NonIp => ("allow", "LLDP, LACP, STP, PTP, EAPOL, PPPoE, MACsec"),
        Reason::NonIpDrop => ("drop", "other protocols than IP"),
        Reason::FragmentFollows => ("allow", "later fragments of a datagram that passed"),
        Reason::FragmentFollowsDrop => ("drop", "later fragments of a datagram that was dropped"),
        Reason::FragmentUnknown => {
            ("allow", "fragments that came before their first, within a rate")
        }
        Reason::FragmentUnknownDrop => ("drop", "such fragments above that rate"),
        _ => return None,
    })
}

fn baseline(context: &Context, json: Json) -> Result<()> {
    let snapshot = Numbers::open(context)?.snapshot(context)?;
    let counted = snapshot.policy.is_some();
    let built_in = |reason: &Reason| {
        let (verdict, what) = described(*reason)?;
        let packets = |way| counted.then(|| snapshot.by_reason(*reason, way));
        Some(BuiltIn {
            name: reason.name(),
            verdict,
            what,
            ingress_packets: packets(Way::Ingress),
            egress_packets: packets(Way::Egress),
        })
    };
    let rules: Vec<BuiltIn> = Reason::ALL.iter().filter_map(built_in).collect();
    if json.json {
        return context.out.json(&Baseline { schema: SCHEMA, rules });
    }
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("built-in rule", left),
        ("", left),
        ("packets in", right),
        ("packets out", right),
        ("what it is", left),
    ]);
    let number = |n: Option<u64>| n.map_or_else(|| units::NOT_MEASURED.to_owned(), units::count);
    for rule in rules {
        let (ingress, egress) = (number(rule.ingress_packets), number(rule.egress_packets));
        table.row([rule.name.into(), rule.verdict.into(), ingress, egress, rule.what.into()]);
    }
    context.out.text(&table.render())
}

#[derive(Serialize)]
struct Named {
    schema: u32,
    names: Vec<Meaning>,
}

#[derive(Serialize)]
struct Meaning {
    name: String,
    stands_for: Vec<String>,
    place: String,
}

fn services(context: &Context, arguments: &Of) -> Result<()> {
    let loaded = read(context, &arguments.wanted, arguments.json)?;
    let names = loaded.names.services.iter().map(|named| Meaning {
        name: named.name.clone(),
        stands_for: sets::services(&named.set),
        place: named.span.place(),
    });
    print_names(context, arguments.json, names.collect(), "service")
}

fn groups(context: &Context, arguments: &Of) -> Result<()> {
    let loaded = read(context, &arguments.wanted, arguments.json)?;
    let names = loaded.names.groups.iter().map(|named| Meaning {
        name: named.name.clone(),
        stands_for: sets::addresses(&named.set),
        place: named.span.place(),
    });
    print_names(context, arguments.json, names.collect(), "group")
}

fn print_names(context: &Context, json: Json, names: Vec<Meaning>, what: &str) -> Result<()> {
    if json.json {
        return context.out.json(&Named { schema: SCHEMA, names });
    }
    if names.is_empty() {
        return context.out.line(&format!("the policy names no {what}"));
    }
    let left = Align::Left;
    let mut table = Table::new([(what, left), ("stands for", left), ("written at", left)]);
    for name in names {
        table.row([name.name, sets::shortened(&name.stands_for), name.place]);
    }
    context.out.text(&table.render())
}

#[derive(Serialize)]
struct PolicyDocument {
    schema: u32,
    roles: Vec<String>,
    default_in: &'static str,
    default_out: &'static str,
    rules: Vec<FlatRule>,
}

#[derive(Serialize)]
struct FlatRule {
    name: String,
    role: String,
    direction: &'static str,
    list: &'static str,
    remote: Vec<String>,
    local: Vec<String>,
    services: Vec<String>,
    interfaces: Vec<String>,
    vlans: Vec<u16>,
    place: String,
    owner: Option<String>,
    reason: Option<String>,
    ticket: Option<String>,
}

fn policy(context: &Context, arguments: &PolicyArguments) -> Result<()> {
    let policy = read(context, &arguments.wanted, arguments.json)?.policy;
    if arguments.json.json || arguments.yaml {
        let default = |direction| crate::verify::action(policy.chain(direction).default).name();
        let document = PolicyDocument {
            schema: SCHEMA,
            default_in: default(Direction::Ingress),
            default_out: default(Direction::Egress),
            rules: in_order(&policy)
                .map(|(direction, list, rule)| flat(direction, list, rule))
                .collect(),
            roles: policy.roles.clone(),
        };
        if arguments.yaml {
            return context.out.text(&serde_yaml::to_string(&document)?);
        }
        return context.out.json(&document);
    }
    let left = Align::Left;
    let mut table = Table::new([
        ("rule", left),
        ("", left),
        ("", left),
        ("other end", Align::Cut),
        ("service", Align::Cut),
        ("written at", Align::Spare),
        ("reason", Align::Spare),
    ]);
    for (direction, list, rule) in in_order(&policy) {
        let way = Way::from(direction);
        let word = if way == Way::Ingress { "from" } else { "to" };
        let (remote, service) = if arguments.flat {
            (sets::addresses(&rule.remote).join(" "), sets::services(&rule.services).join(" "))
        } else {
            (rule.remote_text.clone(), rule.service_text.clone())
        };
        table.row([
            rule.name.clone(),
            list_name(list).to_owned(),
            way.short().to_owned(),
            format!("{word} {remote}"),
            service,
            rule.span.place(),
            rule.reason.clone().unwrap_or_default(),
        ]);
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        let (way, chain) = (Way::from(direction), policy.chain(direction));
        table.row([
            way.default_name().to_owned(),
            crate::verify::action(chain.default).name().to_owned(),
            way.short().to_owned(),
            "everything else".to_owned(),
            String::new(),
            chain.default_span.place(),
            String::new(),
        ]);
    }
    context.out.text(&table.fitted(context.out.width()))
}

fn in_order(policy: &Policy) -> impl Iterator<Item = (Direction, List, &Rule)> {
    [Direction::Ingress, Direction::Egress].into_iter().flat_map(move |direction| {
        [List::Failsafe, List::Deny, List::Allow].into_iter().flat_map(move |list| {
            model::rules(policy.chain(direction), list)
                .iter()
                .map(move |rule| (direction, list, &**rule))
        })
    })
}

const fn list_name(list: List) -> &'static str {
    match list {
        List::Failsafe => "failsafe",
        List::Deny => "deny",
        List::Allow => "allow",
    }
}

fn flat(direction: Direction, list: List, rule: &Rule) -> FlatRule {
    FlatRule {
        name: rule.name.clone(),
        role: rule.role.clone(),
        direction: Way::from(direction).name(),
        list: list_name(list),
        remote: sets::addresses(&rule.remote),
        local: sets::addresses(&rule.local),
        services: sets::services(&rule.services),
        interfaces: rule.interfaces.clone(),
        vlans: rule.vlans.clone(),
        place: rule.span.place(),
        owner: rule.owner.clone(),
        reason: rule.reason.clone(),
        ticket: rule.ticket.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_baseline_reason_is_described() {
        for reason in Reason::ALL.iter().filter(|reason| reason.is_baseline()) {
            assert!(described(*reason).is_some(), "{reason:?}");
        }
    }
}
