//! Rules that open more than anybody should open without saying why.

use firewall_common::service::ServiceIndex;

use super::Context;
use super::rules::Resolved;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::Direction;
use crate::set::AddrSet;

/// Ports that are attacked wherever they are found open, with the name people
/// know them by.
const SENSITIVE: [(u32, &str); 19] = [
    (22, "ssh"),
    (23, "telnet"),
    (1433, "Microsoft SQL Server"),
    (1521, "Oracle"),
    (2375, "Docker"),
    (2379, "etcd"),
    (3306, "MySQL"),
    (3389, "remote desktop"),
    (5432, "PostgreSQL"),
    (5900, "VNC"),
    (5984, "CouchDB"),
    (6379, "Redis"),
    (7000, "Cassandra"),
    (9042, "Cassandra"),
    (9200, "Elasticsearch"),
    (11211, "memcached"),
    (26257, "CockroachDB"),
    (27017, "MongoDB"),
    (ServiceIndex::UDP + 11211, "memcached"),
];

/// Reports an allow rule that opens the host to everybody where it should not.
pub(crate) fn check(context: &mut Context<'_>, rule: &Resolved<'_>) {
    if rule.written.reason.is_some() || !is_everybody(&rule.rule.remote) {
        return;
    }
    let (message, label) = match rule.direction {
        Direction::Ingress if rule.rule.services.is_full() => {
            let message = format!("rule `{}` allows everything from everybody", rule.rule.name);
            (message, "every protocol and port".to_owned())
        }
        Direction::Egress if rule.rule.services.is_full() => {
            let message = format!("rule `{}` allows everything to everywhere", rule.rule.name);
            (message, "every protocol and port: stolen data could leave".to_owned())
        }
        Direction::Egress => return,
        Direction::Ingress => {
            let open = |&&(port, _): &&(u32, &str)| rule.rule.services.contains(port);
            let Some((port, name)) = SENSITIVE.iter().find(open) else { return };
            let name = format!("{name} ({})", port % ServiceIndex::UDP);
            let message = format!("rule `{}` opens {name} to everybody", rule.rule.name);
            (message, format!("includes {name}"))
        }
    };
    let (who, key) = match rule.direction {
        Direction::Ingress => ("everybody", "from"),
        Direction::Egress => ("everywhere", "to"),
    };
    let diagnostic = Diagnostic::new(Code::OpenToAll, message).at(rule.service_span(), label);
    let diagnostic = match rule.written.remote(rule.direction) {
        Some(remote) => diagnostic.at(&remote.span, who),
        None => diagnostic.at(&rule.written.name.span, format!("no `{key}:`, so {who}")),
    };
    context.sink.push(
        diagnostic
            .help(format!("name addresses in `{key}:`, or write in `reason:` why this is meant")),
    );
}

/// Half of all IPv4 addresses, or half of the IPv6 addresses in global use
/// (`2000::/3`), are everybody.
pub(crate) fn is_everybody(set: &AddrSet) -> bool {
    let v4: u64 = set.v4.ranges().iter().map(|&(a, b)| u64::from(b - a) + 1).sum();
    let global = AddrSet::network(std::net::Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into(), 3);
    let v6: u128 = set.intersect(&global).v6.ranges().iter().map(|&(a, b)| b - a + 1).sum();
    v4 >= 1 << 31 || v6 >= 1 << 124
}
