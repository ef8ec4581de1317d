//! Protocols that were read on the wire, and so can be read by others.

use firewall_common::request::Metric;

use super::{Finding, Seen};
use crate::report::snapshot::{Level, Rule, Unit, Way};

const HTTP_HELP: &str = "TLS between the tiers (nginx: listen 443 ssl; HAProxy: server … ssl \
    verify required), or an encrypted network below (WireGuard, IPsec)";
const SQL_HELP: &str = "require_secure_transport=ON on the server and TLS in its clients, or an \
    encrypted network below (WireGuard, IPsec)";

pub(super) fn findings(seen: &Seen) -> Vec<Finding> {
    let both = || seen.rules(Way::Ingress).chain(seen.rules(Way::Egress));
    let http = both().filter_map(|rule| http(seen, rule));
    http.chain(both().filter_map(|rule| sql(seen, rule))).collect()
}

/// Whether TLS for everybody ends on this host.
fn ends_tls(seen: &Seen) -> bool {
    seen.admitting().any(|rule| rule.everybody && counted(rule, Unit::TlsHandshakes) > 0)
}

fn counted(rule: &Rule, unit: Unit) -> u64 {
    rule.total(unit).unwrap_or_default()
}

fn http(seen: &Seen, rule: &Rule) -> Option<Finding> {
    let requests = counted(rule, Unit::HttpRequests);
    let message = match rule.direction {
        // Beside TLS, port 80 is there to redirect.
        Way::Ingress if rule.everybody && ends_tls(seen) => return None,
        Way::Egress if ends_tls(seen) => format!(
            "plaintext HTTP behind the load balancer: TLS ends here, and {} goes to {} in clear",
            rule.name, rule.remote
        ),
        Way::Ingress => {
            format!("plaintext HTTP arrives from {}: rule {}", rule.remote, rule.name)
        }
        Way::Egress => format!("plaintext HTTP leaves to {}: rule {}", rule.remote, rule.name),
    };
    let finding = Finding::new("plaintext-http", Level::Warn, message)
        .rule(rule)
        .ports(&rule.ports)
        .peers(seen.peers(rule))
        .figure(requests, "HTTP requests", "read in clear")
        .help(HTTP_HELP);
    (requests > 0).then_some(finding)
}

fn sql(seen: &Seen, rule: &Rule) -> Option<Finding> {
    let commands = counted(rule, Unit::MysqlCommands);
    let message = match rule.direction {
        Way::Ingress => format!("plaintext SQL arrives from {}: rule {}", rule.remote, rule.name),
        Way::Egress => format!("plaintext SQL leaves to {}: rule {}", rule.remote, rule.name),
    };
    let finding = Finding::new("plaintext-mysql", Level::Warn, message)
        .rule(rule)
        .ports(&rule.ports)
        .peers(seen.peers(rule))
        .figure(commands, "SQL commands", "read in clear")
        .figure(rule.metric(Metric::MysqlTls).unwrap_or_default(), "connections", "turned to TLS")
        .help(SQL_HELP);
    (commands > 0).then_some(finding)
}
