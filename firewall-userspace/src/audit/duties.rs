//! What this host does for others: too much of it, or alone.

use firewall_common::request::Metric;
use firewall_common::service::proto;

use super::ports::written;
use super::{Finding, Seen, is_port_of};
use crate::host::sockets::{Connection, Waiting};
use crate::report::snapshot::{Level, Rule, Unit, Way};

/// Ports by which databases of a cluster talk: Galera, MySQL's group replication.
const CLUSTER: [u16; 3] = [4567, 4568, 33_061];

pub(super) fn findings(seen: &Seen) -> Vec<Finding> {
    several_roles(seen).into_iter().chain(single_primary(seen)).collect()
}

/// A kind of service: how its requests are counted, and what people call it.
const KINDS: [(&[Unit], &str); 3] = [
    (&[Unit::HttpRequests, Unit::TlsHandshakes], "a web server"),
    (&[Unit::MysqlCommands], "a database"),
    (&[Unit::DnsQueries], "a name server"),
];

/// Roles by the policy, or by what is served in fact.
fn several_roles(seen: &Seen) -> Option<Finding> {
    let roles = &seen.snapshot.policy.as_ref()?.roles;
    let served: Vec<(&str, &Waiting, &Rule)> = KINDS
        .iter()
        .filter_map(|(units, word)| {
            let counts = |rule: &&Rule| units.iter().any(|unit| rule.total(*unit).is_some());
            let mut used = seen.admitting().filter(counts).filter(|rule| rule.packets > 0);
            used.find_map(|rule| Some((*word, listens(seen, rule)?, rule)))
        })
        .collect();
    let message = match (roles.len(), served.len()) {
        (2.., _) => format!("this host carries several roles: {}", roles.join(", ")),
        (_, 2..) => {
            let kinds: Vec<String> =
                served.iter().map(|(word, _, rule)| format!("{word} ({})", rule.name)).collect();
            format!("this host carries several roles: it is {}", kinds.join(" and "))
        }
        _ => return None,
    };
    let programs = served.iter().filter_map(|(_, waiting, _)| waiting.process.clone());
    let programs = programs.collect::<Vec<_>>().join(" ");
    let finding = Finding::new("several-roles", Level::Warn, message)
        .ports(served.iter().map(|(_, waiting, _)| written(waiting)))
        .process(Some(&programs).filter(|text| !text.is_empty()))
        .figure(roles.len() as u64, "roles", "by the policy")
        .figure_if_any(served.len() as u64, "kinds", "of service in use")
        .help(
            "a host for each: who breaks into one then has one, and each can be shut to all but \
             its neighbours",
        );
    Some(finding)
}

/// Who listens on a port of a rule.
fn listens<'a>(seen: &'a Seen, rule: &Rule) -> Option<&'a Waiting> {
    let mut waiting = seen.sockets.waiting.iter().filter(|one| !one.at.ip().is_loopback());
    waiting.find(|one| is_port_of(rule, one.protocol, one.at.port()))
}

/// A database that others write to and that follows nobody.
fn single_primary(seen: &Seen) -> Option<Finding> {
    let commands = |rule: &Rule| rule.total(Unit::MysqlCommands).unwrap_or_default();
    let rules: Vec<&Rule> = seen.admitting().filter(|rule| commands(rule) > 0).collect();
    let rule = *rules.first()?;
    let server = listens(seen, rule)?;
    let port = server.at.port();
    let its_own = || seen.sockets.connections.iter().filter(|one| one.process == server.process);
    let is_sql = |remote: u16| {
        let mut asking = seen.rules(Way::Egress);
        let speaks = |rule: &Rule| rule.total(Unit::MysqlCommands).is_some();
        remote == port || asking.any(|rule| speaks(rule) && is_port_of(rule, proto::TCP, remote))
    };
    let follows = |one: &Connection| one.local.port() != port && is_sql(one.remote.port());
    let is_of_cluster =
        |one: &Connection| [one.local, one.remote].iter().any(|end| CLUSTER.contains(&end.port()));
    if its_own().any(|one| follows(one) || is_of_cluster(one)) {
        return None;
    }
    let dumps = seen.admitting().filter_map(|rule| rule.metric(Metric::MysqlBinlogDump));
    let clients = its_own().filter(|one| one.local.port() == port).count();
    let message = format!(
        "one database primary accepts writes: this one, on {}, which follows no other",
        written(server)
    );
    let finding = Finding::new("single-primary", Level::Warn, message)
        .rule(rule)
        .ports([written(server)])
        .process(server.process.as_ref())
        .figure(rules.iter().map(|rule| commands(rule)).sum(), "SQL commands", "taken")
        .figure(clients as u64, "connections", "open now")
        .figure_if_any(dumps.sum(), "replicas", "seen to begin to follow")
        .help(
            "without this host nothing can be written: a standby that can be promoted, and clients \
             that follow it (MaxScale, Orchestrator, Galera); until then try how long a restore takes",
        );
    Some(finding)
}
