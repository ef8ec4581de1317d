//! Whether anybody watches this host.

use std::time::Duration;

use firewall_common::service::proto;
use firewall_policy::compile::Ports;

use super::{Finding, Seen};
use crate::report::snapshot::{Level, Rule, Way};
use crate::report::units;

/// Ports on which this host is asked how it is: our agent, exporters of
/// Prometheus, the status page of `HAProxy`, netdata; agents of Zabbix, NRPE and
/// Checkmk.
const ASKED: [u16; 16] = [
    9477, 9100, 9101, 9104, 9113, 9115, 9117, 9121, 9187, 9256, 9273, 8404, 19_999, 10_050, 5666,
    6556,
];
/// Ports to which it tells: OTLP, Graphite, `InfluxDB`, Zabbix.
const TOLD: [u16; 5] = [4317, 4318, 2003, 8086, 10_051];
/// SNMP, which asks over UDP.
const SNMP: u16 = 161;
/// Silence that is no accident: several scrapes of any interval in use.
const SILENCE: Duration = Duration::from_mins(5);

/// Nobody has asked this host how it is, and it tells nobody.
pub(super) fn findings(seen: &Seen) -> Option<Finding> {
    let now = seen.snapshot.time_ms;
    let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
    let agent = seen.snapshot.agent.as_ref();
    let scraped = agent.and_then(|agent| agent.scraped_ms).map(since);
    if scraped.is_some_and(|ago| ago < SILENCE) {
        return None;
    }
    let watching = |rule: &Rule| {
        let ports = match rule.direction {
            Way::Ingress => &ASKED[..],
            Way::Egress => &TOLD,
        };
        let is_for = |one: &Ports| {
            let known = |port| ports.contains(&port) || port == SNMP && one.protocol == proto::UDP;
            one.first == one.last && known(one.first)
        };
        !rule.ports.is_empty() && rule.ports.iter().all(is_for)
    };
    let both = seen.rules(Way::Ingress).chain(seen.rules(Way::Egress));
    let rules: Vec<&Rule> = both.filter(|rule| watching(rule)).collect();
    let asked: u64 = rules.iter().map(|rule| rule.new_flows).sum();
    // An agent that has watched for a while knows better than a counter that only
    // ever rises; other exporters have none to ask.
    let agent_knows = agent.is_some_and(|agent| since(agent.started_ms) > SILENCE);
    let open = rules.iter().any(|rule| !seen.peers(rule).is_empty());
    if open || asked > 0 && !agent_knows {
        return None;
    }
    let silence = match (scraped, agent) {
        (Some(ago), _) => format!("nobody has read /metrics for {}", units::age(ago)),
        (None, Some(_)) => "nobody has read /metrics".to_owned(),
        (None, None) => "no agent runs".to_owned(),
    };
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let by = match names.as_slice() {
        [] => "no rule is there for it".to_owned(),
        names => format!("nobody comes by {}", names.join(", ")),
    };
    let message = format!("no monitoring reaches this host: {silence}; {by}");
    let finding = Finding::new("no-monitoring", Level::Warn, message)
        .figure(rules.len() as u64, "rules", "for monitoring")
        .figure(asked, "connections", "by them")
        .help(
            "a rule that admits your Prometheus to the agent's port and `outputs: { prometheus: { \
             listen: … } }` in host.yaml; what is pushed over HTTPS cannot be told from here",
        );
    Some(finding)
}
