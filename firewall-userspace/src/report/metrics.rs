//! A snapshot as metric families.
//!
//! Labels are names of rules, services, interfaces and reasons, never addresses:
//! the number of series follows from the policy.

use std::collections::BTreeMap;

use firewall_common::request::Metric;
use firewall_common::verdict::Reason;

use super::exposition::Family;
use super::snapshot::{Action, Rule, Snapshot, Unit, Way};

/// What the process itself costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Processor time, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Address space, bytes.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Descriptors it may open.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// When it started, seconds since 1970.
    pub start_seconds: f64,
}

/// Every family.
#[must_use]
pub fn families(snapshot: &Snapshot, process: &Process) -> Vec<Family> {
    let mut families = Vec::from(traffic(snapshot));
    families.extend(rules(snapshot));
    families.extend(requests(snapshot));
    families.extend(state(snapshot));
    families.extend(policy(snapshot));
    families.extend(self_observation(process));
    families
}

/// The verdict as metrics name it.
const fn verdict(action: Action) -> &'static str {
    match action {
        Action::Allow => "pass",
        Action::Drop => "drop",
    }
}

fn traffic(snapshot: &Snapshot) -> [Family; 3] {
    let mut packets = Family::counter(
        "firewall_packets",
        "Wire packets judged; super-packets count as what they stand for",
    );
    let mut bytes = Family::counter("firewall_bytes", "Bytes judged, from the Ethernet header on");
    let mut reasons = Family::counter("firewall_reason_packets", "Wire packets judged, by reason");
    let mut by_verdict: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    let mut by_reason: BTreeMap<_, u64> = BTreeMap::new();
    // A verdict that has not occurred is 0, so that a rate exists from the first
    // packet on.
    for interface in &snapshot.interfaces {
        for way in Way::BOTH {
            for verdict in ["drop", "pass"] {
                by_verdict.insert((interface.name.as_str(), way.name(), verdict), (0, 0));
            }
        }
    }
    for one in &snapshot.outcomes {
        let (way, verdict) = (one.direction.name(), verdict(one.verdict));
        let sum = by_verdict.entry((one.interface.as_str(), way, verdict)).or_default();
        *sum = (sum.0 + one.packets, sum.1 + one.bytes);
        *by_reason.entry((one.reason.as_str(), way, verdict)).or_default() += one.packets;
    }
    for ((interface, direction, verdict), sum) in by_verdict {
        let labels = [("interface", interface), ("direction", direction), ("verdict", verdict)];
        packets.add(labels, sum.0);
        bytes.add(labels, sum.1);
    }
    for ((reason, direction, verdict), sum) in by_reason {
        reasons.add([("reason", reason), ("direction", direction), ("verdict", verdict)], sum);
    }
    [packets, bytes, reasons]
}

fn rules(snapshot: &Snapshot) -> [Family; 3] {
    let mut packets = Family::counter(
        "firewall_rule_packets",
        "Wire packets that a rule decided; default-in and default-out are what no rule matched",
    );
    let mut bytes = Family::counter("firewall_rule_bytes", "Bytes that a rule decided");
    let mut flows = Family::counter(
        "firewall_rule_new_flows",
        "TCP SYNs that a rule admitted (ingress), flows that this host opened under it (egress)",
    );
    for rule in &snapshot.rules {
        let labels = [
            ("rule", rule.name.as_str()),
            ("direction", rule.direction.name()),
            ("verdict", verdict(rule.list.action())),
        ];
        packets.add(labels, rule.packets);
        bytes.add(labels, rule.bytes);
        flows.add(labels, rule.new_flows);
    }
    for default in defaults(snapshot) {
        let labels = [
            ("rule", default.way.default_name()),
            ("direction", default.way.name()),
            ("verdict", verdict(default.action)),
        ];
        packets.add(labels, default.packets);
        bytes.add(labels, default.bytes);
    }
    [packets, bytes, flows]
}

/// What no rule matched, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByDefault {
    /// Direction.
    pub way: Way,
    /// What was done.
    pub action: Action,
    /// Wire packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Packets that the defaults decided, as counted by their reasons.
#[must_use]
pub fn defaults(snapshot: &Snapshot) -> Vec<ByDefault> {
    let Some(policy) = &snapshot.policy else { return Vec::new() };
    let chosen = [(Way::Ingress, policy.default_in), (Way::Egress, policy.default_out)];
    let default = |(way, action)| {
        let reason = match action {
            Action::Allow => Reason::DefaultAllow,
            Action::Drop => Reason::DefaultDrop,
        };
        let ones = snapshot
            .outcomes
            .iter()
            .filter(|one| one.direction == way && one.reason == reason.name());
        let (packets, bytes) =
            ones.fold((0, 0), |sum, one| (sum.0 + one.packets, sum.1 + one.bytes));
        ByDefault { way, action, packets, bytes }
    };
    chosen.into_iter().map(default).collect()
}

/// Labels of everything that is counted per service and rule.
fn service_labels(rule: &Rule) -> [(&'static str, &str); 3] {
    [("service", &rule.service), ("rule", &rule.name), ("direction", rule.direction.name())]
}

/// Whether nothing that may have been a request passed uncounted, as far as packets show.
fn is_exact(rule: &Rule) -> bool {
    let hidden = [
        Metric::Suspects,
        Metric::Gaps,
        Metric::Resyncs,
        Metric::MysqlTls,
        Metric::MysqlCompressed,
    ];
    hidden.iter().all(|metric| rule.metric(*metric).unwrap_or(0) == 0)
}

fn requests(snapshot: &Snapshot) -> Vec<Family> {
    let mut requests = Family::counter(
        "firewall_requests",
        "Requests seen in packets, by unit; inside TLS nothing is seen",
    );
    let mut handshakes = Family::counter(
        "firewall_tls_handshakes",
        "TLS connections begun (ClientHello); one may carry many requests",
    );
    let mut commands = Family::counter("firewall_mysql_commands", "MySQL commands, by kind");
    let mut suspects = Family::counter(
        "firewall_requests_suspect",
        "What looked like the start of a request and was not counted",
    );
    let mut gaps = Family::counter(
        "firewall_stream_gaps",
        "Parts of a stream that were answered and never seen: requests in them are not counted",
    );
    let mut resyncs = Family::counter(
        "firewall_stream_resyncs",
        "Connections that did not begin as expected, and framing given up and begun anew",
    );
    let mut opaque = Family::counter(
        "firewall_mysql_opaque_connections",
        "MySQL connections whose commands cannot be seen, because of TLS or compression",
    );
    let mut source = Family::gauge(
        "firewall_request_source_info",
        "Where a request count comes from, and whether it is exact",
    );
    for rule in snapshot.rules.iter().filter(|rule| !rule.requests.is_empty()) {
        let labels = service_labels(rule);
        let [service, name, direction] = labels;
        let units = Unit::REQUESTS.into_iter().filter(|unit| *unit != Unit::TlsHandshakes);
        for unit in units {
            if let Some(total) = rule.total(unit) {
                requests.add([service, ("unit", unit.name()), name, direction], total);
            }
        }
        for (metric, family) in [
            (Metric::Handshakes, &mut handshakes),
            (Metric::Suspects, &mut suspects),
            (Metric::Gaps, &mut gaps),
            (Metric::Resyncs, &mut resyncs),
        ] {
            if let Some(total) = rule.metric(metric) {
                family.add(labels, total);
            }
        }
        for (metric, total) in &rule.requests {
            if let Some(command) = metric.strip_prefix("mysql_") {
                let family = match command {
                    "tls" | "compressed" => &mut opaque,
                    _ => &mut commands,
                };
                let label = if matches!(command, "tls" | "compressed") { "by" } else { "command" };
                family.add([service, (label, command), name, direction], *total);
            }
        }
        let exact = if is_exact(rule) { "true" } else { "false" };
        source.add([service, name, direction, ("source", "packet"), ("exact", exact)], 1);
    }
    vec![requests, handshakes, commands, suspects, gaps, resyncs, opaque, source]
}

fn state(snapshot: &Snapshot) -> Vec<Family> {
    let of = |reason: Reason| snapshot.packets(|one| one.reason == reason.name());
    let internal = of(Reason::InternalErrorPass) + of(Reason::InternalErrorDrop);
    let mut rates = Family::gauge(
        "firewall_rate",
        "A series of the policy's `rates:`, per second, over the last 10 seconds",
    );
    for rate in snapshot.rates.iter().filter(|rate| rate.named) {
        if let Some(per_second) = rate.ten_seconds {
            rates.add_real([("name", &rate.name), ("unit", rate.unit.name())], per_second);
        }
    }
    vec![
        rates,
        Family::gauge("firewall_flows", "Flows that this host opened, in the table")
            .maybe(snapshot.flows.entries),
        Family::gauge("firewall_flows_capacity", "Flows there is room for")
            .maybe(snapshot.flows.capacity),
        Family::gauge("firewall_bans", "Bans in force").single(snapshot.bans.count),
        Family::counter("firewall_events_read", "Sampled events that the agent has read")
            .single(snapshot.events.sent),
        Family::counter("firewall_events_suppressed", "Packets that raised no event of their own")
            .single(snapshot.events.suppressed),
        Family::counter("firewall_events_lost", "Events lost because nobody read them in time")
            .single(snapshot.events.lost),
        Family::counter("firewall_internal_errors", "Packets for which the tables failed")
            .single(internal),
        Family::counter("firewall_failsafe_hits", "Packets that a failsafe rule admitted")
            .single(of(Reason::Failsafe)),
    ]
}

fn policy(snapshot: &Snapshot) -> Vec<Family> {
    let mut info = Family::gauge("firewall_policy_info", "The policy in force");
    let mut confirmed =
        Family::gauge("firewall_policy_confirmed", "1 if the policy stays, 0 if it is on trial");
    let mut applied = Family::gauge(
        "firewall_policy_applied_timestamp_seconds",
        "When the policy came into force, seconds since 1970",
    );
    if let Some(policy) = &snapshot.policy {
        info.add(
            [
                ("role", &policy.roles.join("+")),
                ("hash", &policy.hash),
                ("generation", &policy.generation.to_string()),
                ("mode", "enforce"),
            ],
            1,
        );
        confirmed.add([], policy.confirmed.into());
        applied.add([], policy.applied_ms / 1000);
    }
    let mut interfaces = Family::gauge("firewall_interface_info", "A hook on an interface");
    for interface in &snapshot.interfaces {
        for hook in [&interface.ingress, &interface.egress].into_iter().flatten() {
            let [hook, mode] = hook.parts();
            interfaces.add([("dev", &interface.name), ("hook", hook), ("mode", mode)], 1);
        }
    }
    vec![info, confirmed, applied, interfaces]
}

fn self_observation(process: &Process) -> Vec<Family> {
    let seconds = |mut family: Family, value: f64| {
        family.add_real([], value);
        family
    };
    let mut build = Family::gauge("firewall_build_info", "This program");
    let revision = option_env!("FIREWALL_REVISION").unwrap_or("unknown");
    build.add([("version", env!("CARGO_PKG_VERSION")), ("revision", revision)], 1);
    vec![
        build,
        seconds(
            Family::counter("process_cpu_seconds", "Processor time of the agent, seconds"),
            process.cpu_seconds,
        ),
        Family::gauge("process_resident_memory_bytes", "Resident memory of the agent, bytes")
            .single(process.resident_bytes),
        Family::gauge("process_virtual_memory_bytes", "Address space of the agent, bytes")
            .single(process.virtual_bytes),
        Family::gauge("process_open_fds", "Descriptors that the agent has open")
            .single(process.open_fds),
        Family::gauge("process_max_fds", "Descriptors that the agent may open")
            .single(process.max_fds),
        Family::gauge("process_threads", "Threads of the agent").single(process.threads),
        seconds(
            Family::gauge(
                "process_start_time_seconds",
                "When the agent started, seconds since 1970",
            ),
            process.start_seconds,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::exposition::{Format, Kind, write};
    use super::super::sample::{assert_stored, snapshot};
    use super::*;

    fn all() -> Vec<Family> {
        let process = Process { cpu_seconds: 1.25, resident_bytes: 9 << 20, ..Process::default() };
        families(&snapshot(), &process)
    }

    #[test]
    fn names_keep_the_rules() {
        let families = all();
        for family in &families {
            let name = family.name;
            assert!(name.starts_with("firewall_") || name.starts_with("process_"), "{name}");
            assert!(!name.ends_with("_total") && !name.contains("__"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}");
            if name.ends_with("_info") {
                assert_eq!(family.kind, Kind::Gauge, "{name}");
                assert!(family.samples.iter().all(|sample| sample.value.to_string() == "1"));
            }
            let same = families.iter().filter(|other| other.name == name).count();
            assert_eq!(same, 1, "{name}");
            for (number, sample) in family.samples.iter().enumerate() {
                let twice = family.samples[..number].iter().any(|one| one.labels == sample.labels);
                assert!(!twice, "{name} {:?}", sample.labels);
            }
        }
    }

    #[test]
    fn every_packet_is_in_one_verdict() {
        let families = all();
        let of = |name| families.iter().find(|family| family.name == name).unwrap();
        let sum = |family: &Family| -> u64 {
            family.samples.iter().map(|one| one.value.to_string().parse::<u64>().unwrap()).sum()
        };
        assert_eq!(sum(of("firewall_packets")), 17_005_022);
        assert_eq!(sum(of("firewall_reason_packets")), 17_005_022);
    }

    #[test]
    fn requests_carry_their_unit_and_what_is_not_counted_is_absent() {
        let text = write(&all(), Format::Text);
        let line = r#"firewall_requests_total{service="http",unit="http-requests",rule="http-from-lb",direction="ingress"} 3000000"#;
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("mysql-commands"), "{text}");
        assert!(text.contains(r#"rule="default-in",direction="ingress",verdict="drop"} 5000"#));
        assert!(text.contains(r#"firewall_interface_info{dev="eth0",hook="xdp",mode="native"} 1"#));
    }

    #[test]
    fn a_count_is_exact_until_something_was_not_counted() {
        let snapshot = snapshot();
        let rule = snapshot.rules.iter().find(|rule| rule.name == "http-from-lb").unwrap();
        let with = |metric: Metric, total| {
            let mut rule = rule.clone();
            rule.requests = [("requests".into(), 9), (metric.name().into(), total)].into();
            is_exact(&rule)
        };
        assert!(with(Metric::Suspects, 0) && with(Metric::Resyncs, 0));
        for metric in [Metric::Suspects, Metric::Resyncs, Metric::Gaps, Metric::MysqlTls] {
            assert!(!with(metric, 1), "{metric:?}");
        }
    }

    #[test]
    fn the_documentation_lists_every_family() {
        let text = include_str!("../../../docs/metrics.md");
        let listed: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        let families = all();
        assert_eq!(listed.len(), families.len());
        for (line, family) in listed.into_iter().zip(families) {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, help, _] = fields[..] else { panic!("{line}") };
            let (suffix, word) = match family.kind {
                Kind::Counter => ("_total", "counter"),
                Kind::Gauge => ("", "gauge"),
            };
            assert_eq!(name, format!("`{}{suffix}`", family.name));
            assert_eq!((kind, help), (word, family.help), "{name}");
            // Of a family without samples nothing tells the labels here.
            for sample in &family.samples {
                let used: Vec<&str> = sample.labels.iter().map(|(label, _)| *label).collect();
                assert_eq!(used.join(", "), labels, "{name}");
            }
        }
    }

    #[test]
    fn text_is_as_stored() {
        assert_stored("metrics.txt", &write(&all(), Format::Text));
    }
}
