//! A made-up snapshot for tests, and texts stored to compare with.

use std::collections::BTreeMap;

use firewall_common::verdict::Reason;
use firewall_policy::compile::Ports;

use super::snapshot::*;

fn requests(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, total)| ((*name).to_owned(), *total)).collect()
}

fn ports(service: &str) -> Vec<Ports> {
    let words: &[&str] = match service {
        "ssh" => &["22/tcp"],
        "http" => &["80/tcp"],
        "dns" => &["53/tcp", "53/udp"],
        _ => &["0-65535/tcp", "0-65535/udp", "0-65535/sctp"],
    };
    words.iter().filter_map(|word| word.parse().ok()).collect()
}

fn rule(name: &str, direction: Way, list: List, place: &str, ends: (&str, &str)) -> Rule {
    Rule {
        name: name.into(),
        role: "web".into(),
        direction,
        list,
        place: place.into(),
        remote: ends.0.into(),
        service: ends.1.into(),
        ports: ports(ends.1),
        everybody: false,
        packets: 0,
        bytes: 0,
        new_flows: 0,
        requests: BTreeMap::new(),
    }
}

fn rate(name: &str, named: bool, rule: &str, unit: Unit, rates: [Option<f64>; 5]) -> Rate {
    let [second, ten_seconds, minute, quarter_hour, hour_median] = rates;
    let direction = if rule == "to-app" { Way::Egress } else { Way::Ingress };
    let (name, rule, total) =
        (name.into(), rule.into(), second.map(|rate| rate.mul_add(3_600.0, 0.5)));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made up")]
    let total = total.map(|total| total as u64);
    Rate {
        name,
        named,
        rule,
        direction,
        unit,
        total,
        second,
        ten_seconds,
        minute,
        quarter_hour,
        hour_median,
    }
}

fn rules() -> Vec<Rule> {
    let http = Rule {
        packets: 9_000_000,
        bytes: 4_000_000_000,
        new_flows: 120_000,
        requests: requests(&[("requests", 3_000_000), ("suspects", 2), ("resyncs", 0)]),
        ..rule("http-from-lb", Way::Ingress, List::Allow, "web.yaml:10", ("load-balancers", "http"))
    };
    let ssh =
        rule("failsafe-ssh", Way::Ingress, List::Failsafe, "site.yaml:48", ("bastion", "ssh"));
    let metadata = Rule {
        packets: 7,
        bytes: 518,
        ..rule(
            "no-cloud-metadata",
            Way::Egress,
            List::Deny,
            "site.yaml:62",
            ("cloud-metadata", "all"),
        )
    };
    let dns = Rule {
        packets: 40,
        bytes: 2_800,
        new_flows: 20,
        requests: requests(&[("dns_queries", 20), ("suspects", 0), ("gaps", 0), ("resyncs", 0)]),
        ..rule("dns", Way::Egress, List::Allow, "site.yaml:64", ("resolvers", "dns"))
    };
    vec![ssh, http, metadata, dns]
}

fn rates() -> Vec<Rate> {
    vec![
        rate(
            "web-qps",
            true,
            "http-from-lb",
            Unit::HttpRequests,
            [Some(3_982.0), Some(3_950.0), Some(3_871.4), Some(3_790.2), Some(3_866.0)],
        ),
        rate("app-qps", true, "to-app", Unit::HttpRequests, [None; 5]),
        rate(
            "http-from-lb",
            false,
            "http-from-lb",
            Unit::Packets,
            [Some(41_149.0), Some(41_000.0), Some(40_200.0), Some(39_800.0), None],
        ),
        rate(
            "default-in",
            false,
            "default-in",
            Unit::Drops,
            [Some(20.1), Some(20.0), Some(19.8), None, None],
        ),
    ]
}

/// A web server at work.
pub(crate) fn snapshot() -> Snapshot {
    let eth = |name: &str, ifindex, hook, rates: [Option<f64>; 2]| Interface {
        name: name.into(),
        ifindex: Some(ifindex),
        mtu: Some(1_500),
        ingress: Some(hook),
        egress: Some(Hook::Tcx),
        in_pps: rates[0],
        out_pps: rates[1],
    };
    let outcome = |direction, reason, packets| {
        Outcome::of("eth0".into(), direction, reason, packets, packets * 100)
    };
    let day = 86_400_000;
    let time_ms = 1_790_000_000_000;
    Snapshot {
        schema: SCHEMA,
        source: Source::Agent,
        host: "web01".into(),
        time_ms,
        enforcement: Enforcement::Enforcing,
        agent: Some(Agent {
            version: "0.1.0".into(),
            pid: 812,
            started_ms: time_ms - 7_300_000,
            scraped_ms: Some(time_ms - 4_000),
        }),
        policy: Some(Policy {
            generation: 42,
            hash: "7f3c91e0aa55".into(),
            roles: vec!["web".into()],
            applied_ms: time_ms - 3 * day,
            applied_by: "alice".into(),
            confirmed: true,
            deadline_ms: None,
            default_in: Action::Drop,
            default_out: Action::Drop,
            files: vec!["rules/web.yaml".into(), "rules/site.yaml".into()],
            memory_bytes: Some(8_388_608),
            generation_bytes: Some(1_258_291),
            held_bytes: Some(22_020_096),
        }),
        interfaces: vec![
            eth("eth0", 2, Hook::XdpNative, [Some(41_200.0), Some(38_900.0)]),
            eth("eth1", 3, Hook::XdpGeneric, [None, None]),
        ],
        recent: Some(Recent {
            seconds: 60.0,
            allowed: 2_414_000,
            dropped: 1_204,
            banned: 118,
            requests: [("http-requests".to_owned(), 3_982.0), ("dns-queries".to_owned(), 0.0)]
                .into(),
        }),
        flows: Flows { entries: Some(18_204), capacity: Some(262_144) },
        events: Events { sent: 90, suppressed: 1_930, lost: 0 },
        bans: Bans { count: 312, ending_soon: 2 },
        openings: vec![Opened {
            service: "http".into(),
            ports: vec!["80/tcp".into()],
            network: "198.51.100.7".into(),
            since_ms: 0,
            until_ms: 0,
            seconds_left: 720,
        }],
        outcomes: vec![
            outcome(Way::Ingress, Reason::Rule, 9_000_000),
            outcome(Way::Ingress, Reason::Failsafe, 12),
            outcome(Way::Ingress, Reason::DefaultDrop, 5_000),
            outcome(Way::Ingress, Reason::MalformedTcpFlags, 3),
            outcome(Way::Egress, Reason::Established, 8_000_000),
            outcome(Way::Egress, Reason::Deny, 7),
        ],
        rules: rules(),
        rates: rates(),
        containers: Some("172.17.0.0/16 leaves as this host: by the egress rules only".into()),
        warnings: vec!["published 9000/tcp → 172.17.0.2:9000: no rule admits it".into()],
    }
}

/// Compares with a file under `testdata/`; `UPDATE_STORED=1 cargo test` writes it.
pub(crate) fn assert_stored(name: &str, text: &str) {
    let path = format!("{}/src/report/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_STORED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{path}");
}
