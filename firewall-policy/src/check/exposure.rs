//! Rules that open more than anybody should open without saying why.

use firewall_common::service::{ServiceIndex, proto};

use super::Context;
use super::rules::Resolved;
use crate::codes::Code;
use crate::compile::Ports;
use crate::diagnostic::Diagnostic;
use crate::ir::Direction;
use crate::set::AddrSet;

/// Ports that are attacked wherever they are found open, with the name people
/// know them by.
pub(crate) const SENSITIVE: [(u32, &str); 19] = [
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

/// The first port among these that is attacked wherever it is found open, with
/// the name people know it by.
#[must_use]
pub fn attacked(ports: &[Ports]) -> Option<(Ports, &'static str)> {
    let as_ports = |index: u32| {
        let port = |start| u16::try_from(index - start).unwrap_or(u16::MAX);
        match index {
            ServiceIndex::UDP.. => Ports::one(proto::UDP, port(ServiceIndex::UDP)),
            _ => Ports::one(proto::TCP, port(0)),
        }
    };
    let open = |one: Ports| ports.iter().any(|range| range.contains(one.protocol, one.first));
    let mut all = SENSITIVE.iter().map(|&(index, name)| (as_ports(index), name));
    all.find(|(one, _)| open(*one))
}

/// Half of all IPv4 addresses, or half of the IPv6 addresses in global use
/// (`2000::/3`), are everybody.
pub(crate) fn is_everybody(set: &AddrSet) -> bool {
    /// `2000::/3`.
    const GLOBAL: (u128, u128) = (0x2 << 124, (0x4 << 124) - 1);
    let v4: u64 = set.v4.ranges().iter().map(|&(a, b)| u64::from(b - a) + 1).sum();
    let global = |&(a, b): &(u128, u128)| (a.max(GLOBAL.0), b.min(GLOBAL.1));
    let inside = set.v6.ranges().iter().map(global).filter(|(a, b)| a <= b);
    let v6: u128 = inside.map(|(a, b)| b - a + 1).sum();
    v4 >= 1 << 31 || v6 >= 1 << 124
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_family_is_everybody() {
        let network = |text: &str, length| AddrSet::network(text.parse().unwrap(), length);
        assert!(is_everybody(&AddrSet::any()) && is_everybody(&network("2000::", 3)));
        assert!(is_everybody(&network("0.0.0.0", 1)) && !is_everybody(&network("10.0.0.0", 2)));
        assert!(is_everybody(&network("2000::", 4)) && !is_everybody(&network("2000::", 5)));
        assert!(!is_everybody(&network("fd00::", 8)) && !is_everybody(&AddrSet::empty()));
    }

    #[test]
    fn attacked_ports_have_names() {
        let of = |text: &str| attacked(&[text.parse().unwrap()]).map(|(_, name)| name);
        assert_eq!(of("22/tcp"), Some("ssh"));
        assert_eq!(of("3000-4000/tcp"), Some("MySQL"));
        assert_eq!((of("11211/udp"), of("22/udp"), of("443/tcp")), (Some("memcached"), None, None));
    }
}
