//! The one screen of `firewall status`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::snapshot::{
    Agent, Bans, Enforcement, Events, Flows, Hook, Interface, Opened, Policy, Recent, SCHEMA,
    Snapshot, Source, Unit, Way,
};
use super::table::{Align, Table};
use super::units;

/// The remote session that the reader is typing in, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct You {
    /// The far end.
    pub from: SocketAddr,
    /// The port here.
    pub port: u16,
    /// Whether its next packet passes; `None` if that could not be told.
    pub allowed: Option<bool>,
    /// Rule or built-in that decides.
    pub by: Option<String>,
    /// Where that is written.
    pub place: Option<String>,
}

/// `firewall status --json`.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    schema: u32,
    source: Source,
    host: &'a str,
    time_ms: u64,
    enforcement: Enforcement,
    policy: Option<&'a Policy>,
    interfaces: &'a [Interface],
    recent: Option<&'a Recent>,
    flows: Flows,
    events: Events,
    bans: Bans,
    openings: &'a [Opened],
    agent: Option<&'a Agent>,
    containers: Option<&'a str>,
    you: Option<&'a You>,
    warnings: &'a [String],
}

/// The parts of a snapshot that one screen shows.
#[must_use]
pub fn json<'a>(snapshot: &'a Snapshot, you: Option<&'a You>) -> Status<'a> {
    Status {
        schema: SCHEMA,
        source: snapshot.source,
        host: &snapshot.host,
        time_ms: snapshot.time_ms,
        enforcement: snapshot.enforcement,
        policy: snapshot.policy.as_ref(),
        interfaces: &snapshot.interfaces,
        recent: snapshot.recent.as_ref(),
        flows: snapshot.flows,
        events: snapshot.events,
        bans: snapshot.bans,
        openings: &snapshot.openings,
        agent: snapshot.agent.as_ref(),
        containers: snapshot.containers.as_deref(),
        you,
        warnings: &snapshot.warnings,
    }
}

/// Heads of the lines, in one column.
const HEAD: usize = 12;

/// The screen; ends with a newline.
#[must_use]
pub fn text(snapshot: &Snapshot, you: Option<&You>) -> String {
    let mut text = first_line(snapshot);
    let mut section = |head: &str, lines: &[String]| {
        for (number, line) in lines.iter().enumerate() {
            let head = if number == 0 { head } else { "" };
            let _ = writeln!(text, "{head:HEAD$}{line}");
        }
    };
    section("interface", &interfaces(&snapshot.interfaces));
    if let Some(policy) = &snapshot.policy {
        let defaults = (policy.default_in.name(), policy.default_out.name());
        section("default", &[format!("in: {}   out: {}", defaults.0, defaults.1)]);
    }
    let seconds = snapshot.recent.as_ref().map_or(60.0, |recent| recent.seconds);
    section(&format!("last {seconds:.0} s"), &recent(snapshot));
    section("state", &[state(snapshot)]);
    section("memory", snapshot.policy.as_ref().and_then(memory).as_slice());
    section("openings", &openings(&snapshot.openings));
    section("you", &you.map(session).into_iter().collect::<Vec<_>>());
    section("agent", &[agent(snapshot)]);
    section("containers", snapshot.containers.as_slice());
    section("warnings", &snapshot.warnings);
    text
}

fn first_line(snapshot: &Snapshot) -> String {
    let state = match snapshot.enforcement {
        Enforcement::Enforcing => "enforcing",
        Enforcement::Partly => "PARTLY",
        Enforcement::Detached | Enforcement::NoPolicy => "OPEN",
    };
    let Some(policy) = &snapshot.policy else {
        return format!("{state:HEAD$}no policy is loaded: every packet passes\n");
    };
    let word = if policy.roles.len() == 1 { "role" } else { "roles" };
    let age = snapshot.time_ms.saturating_sub(policy.applied_ms);
    let trial = policy.deadline_ms.map_or(String::new(), |deadline| {
        let left = Duration::from_millis(deadline.saturating_sub(snapshot.time_ms));
        format!(", gives way in {}", units::age(left))
    });
    let confirmed = if policy.confirmed { "confirmed" } else { "UNCONFIRMED" };
    let mut line = format!(
        "{state:HEAD$}{word} {}   policy {} (generation {}, {confirmed} {} ago by {}{trial})\n",
        policy.roles.join(", "),
        short_hash(&policy.hash),
        policy.generation,
        units::age(Duration::from_millis(age)),
        policy.applied_by,
    );
    match snapshot.enforcement {
        Enforcement::Detached => {
            let _ = writeln!(line, "{:HEAD$}attached to no interface: every packet passes", "");
        }
        Enforcement::Partly => {
            let open: Vec<&str> = snapshot
                .interfaces
                .iter()
                .filter(|one| is_open(one))
                .map(|one| one.name.as_str())
                .collect();
            let _ =
                writeln!(line, "{:HEAD$}NOT on {}: every packet passes there", "", open.join(", "));
        }
        Enforcement::Enforcing | Enforcement::NoPolicy => {}
    }
    line
}

/// The first digits, which tell policies of one host apart.
#[must_use]
pub fn short_hash(hash: &str) -> &str {
    hash.get(..7).unwrap_or(hash)
}

fn is_open(interface: &Interface) -> bool {
    interface.ingress.is_none() || interface.egress.is_none()
}

fn interfaces(interfaces: &[Interface]) -> Vec<String> {
    let columns = [("", Align::Left); 6];
    let mut table = Table::new(columns);
    for one in interfaces {
        let hooks = match (&one.ingress, &one.egress) {
            _ if one.ifindex.is_none() => "not there yet".to_owned(),
            (None, None) => "OPEN: nothing attached".to_owned(),
            (ingress, egress) => {
                let text = |hook: &Option<Hook>, way: Way| {
                    hook.map_or_else(|| format!("{} OPEN", way.name()), |hook| hook.text(way))
                };
                format!("{} + {}", text(ingress, Way::Ingress), text(egress, Way::Egress))
            }
        };
        let rate = |word: &str, rate: Option<f64>| {
            let rate =
                rate.map_or_else(|| units::NOT_MEASURED.to_owned(), units::packets_per_second);
            format!("{word} {rate}")
        };
        let mtu = one.mtu.map_or(String::new(), |mtu| format!("MTU {mtu}"));
        let exact = one.ingress.is_none_or(Hook::is_exact);
        let estimate = "packets/s are estimates: generic XDP sees merged packets";
        table.row([
            one.name.clone(),
            hooks,
            mtu,
            rate("in", one.in_pps),
            rate("out", one.out_pps),
            if exact { String::new() } else { estimate.to_owned() },
        ]);
    }
    table.render().lines().map(str::to_owned).collect()
}

fn recent(snapshot: &Snapshot) -> Vec<String> {
    let Some(recent) = &snapshot.recent else {
        let why = match snapshot.source {
            Source::Agent => "the agent has just begun to watch",
            Source::Maps => "no agent runs; `firewall counters` shows totals",
        };
        return vec![format!("{}   ({why})", units::NOT_MEASURED)];
    };
    let per_second = units::as_f64(recent.dropped) / recent.seconds.max(1.0);
    let packets = format!(
        "allowed {}   dropped {} ({}/s)   bans hit {}",
        units::short_count(recent.allowed),
        units::short_count(recent.dropped),
        units::rate(per_second),
        units::short_count(recent.banned),
    );
    let shown = [
        (Unit::HttpRequests, "http", "req/s"),
        (Unit::TlsHandshakes, "tls", "handshakes/s"),
        (Unit::MysqlCommands, "mysql", "commands/s"),
        (Unit::DnsQueries, "dns", "queries/s"),
    ];
    let requests = shown.map(|(unit, word, of)| match recent.requests.get(unit.name()) {
        Some(rate) => format!("{word} {} {of}", units::rate(*rate)),
        None => format!("{word} {}", units::NOT_MEASURED),
    });
    vec![packets, requests.join("   ")]
}

fn state(snapshot: &Snapshot) -> String {
    let Flows { entries, capacity } = snapshot.flows;
    let number = |number: Option<u64>| number.map_or(units::NOT_MEASURED.to_owned(), units::count);
    let share = match (entries, capacity) {
        (Some(entries), Some(capacity)) => format!(" ({})", units::percent(entries, capacity)),
        _ => String::new(),
    };
    let Bans { count, ending_soon } = snapshot.bans;
    let ending = match ending_soon {
        0 => String::new(),
        1 => " (1 expires within 10 min)".to_owned(),
        many => format!(" ({} expire within 10 min)", units::count(many)),
    };
    format!(
        "flows opened here {} / {}{share}   inbound: none kept   bans {}{ending}",
        number(entries),
        number(capacity),
        units::count(count),
    )
}

/// What is held now, and the figures of `firewall check`.
fn memory(policy: &Policy) -> Option<String> {
    let [held, all, one] =
        [policy.held_bytes?, policy.memory_bytes?, policy.generation_bytes?].map(units::memory);
    Some(format!(
        "{held} of the kernel; this policy {all} while it is replaced, {one} a generation"
    ))
}

/// What is let in for a while, a line each.
fn openings(openings: &[Opened]) -> Vec<String> {
    let line = |one: &Opened| {
        let left = units::age(Duration::from_secs(one.seconds_left));
        format!("{} to {}, {left} left", one.service, one.network)
    };
    openings.iter().map(line).collect()
}

fn session(you: &You) -> String {
    let verdict = match (you.allowed, &you.by) {
        (Some(true), Some(by)) => format!("allowed by  {by}"),
        (Some(true), None) => "allowed".to_owned(),
        (Some(false), by) => {
            let by = by.as_deref().unwrap_or("the policy");
            format!("DROPPED by {by}: this session lives only as long as nothing is attached")
        }
        (None, _) => {
            format!("{}  the policy files are not the running policy", units::NOT_MEASURED)
        }
    };
    let place = you.place.as_ref().map_or(String::new(), |place| format!("  ({place})"));
    format!("{} → :{}   {verdict}{place}", you.from, you.port)
}

fn agent(snapshot: &Snapshot) -> String {
    match &snapshot.agent {
        Some(agent) => {
            let up = Duration::from_millis(snapshot.time_ms.saturating_sub(agent.started_ms));
            format!("{} since {}, process {}", agent.version, units::age(up), agent.pid)
        }
        None => "does not run, or does not answer; enforcement does not need it: systemctl restart firewall".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{assert_stored, snapshot};
    use super::*;

    #[test]
    fn one_screen_says_what_is_enforced_and_how_you_stay_connected() {
        let you = You {
            from: "198.51.100.5:51544".parse().unwrap(),
            port: 22,
            allowed: Some(true),
            by: Some("admin-ssh".into()),
            place: Some("site.yaml:59".into()),
        };
        assert_eq!(
            text(&snapshot(), Some(&you)),
            "\
enforcing   role web   policy 7f3c91e (generation 42, confirmed 3 d ago by alice)
interface   eth0  xdp native + tcx egress   MTU 1500  in 41.2 kpps  out 38.9 kpps
            eth1  xdp GENERIC + tcx egress  MTU 1500  in –          out –          packets/s are estimates: generic XDP sees merged packets
default     in: drop   out: drop
last 60 s   allowed 2.41 M   dropped 1,204 (20.1/s)   bans hit 118
            http 3,982.0 req/s   tls –   mysql –   dns 0.0 queries/s
state       flows opened here 18,204 / 262,144 (7 %)   inbound: none kept   bans 312 (2 expire within 10 min)
memory      21.0 MiB of the kernel; this policy 8.0 MiB while it is replaced, 1.2 MiB a generation
openings    http to 198.51.100.7, 12 min left
you         198.51.100.5:51544 → :22   allowed by  admin-ssh  (site.yaml:59)
agent       0.1.0 since 2 h, process 812
containers  172.17.0.0/16 leaves as this host: by the egress rules only
warnings    published 9000/tcp → 172.17.0.2:9000: no rule admits it
"
        );
    }

    #[test]
    fn an_open_host_says_so_first() {
        let mut open = snapshot();
        open.enforcement = Enforcement::Detached;
        let text = text(&open, None);
        assert!(text.starts_with("OPEN        role web"), "{text}");
        assert!(text.contains("attached to no interface: every packet passes"), "{text}");
        open.policy = None;
        open.enforcement = Enforcement::NoPolicy;
        let text = super::text(&open, None);
        assert!(text.starts_with("OPEN        no policy is loaded"), "{text}");
    }

    #[test]
    fn a_partly_open_host_names_the_open_interfaces() {
        let mut partly = snapshot();
        partly.enforcement = Enforcement::Partly;
        partly.interfaces[1].ingress = None;
        partly.interfaces[1].egress = None;
        let text = text(&partly, None);
        assert!(text.contains("NOT on eth1: every packet passes there"), "{text}");
        assert!(text.contains("eth1  OPEN: nothing attached"), "{text}");
    }

    #[test]
    fn an_unconfirmed_policy_says_until_when() {
        let mut trial = snapshot();
        let policy = trial.policy.as_mut().unwrap();
        policy.confirmed = false;
        policy.deadline_ms = Some(trial.time_ms + 41_000);
        let text = text(&trial, None);
        assert!(text.contains("UNCONFIRMED 3 d ago by alice, gives way in 41 s)"), "{text}");
    }

    #[test]
    fn memory_that_an_older_agent_does_not_tell_is_no_line() {
        let mut older = serde_json::to_value(snapshot()).unwrap();
        let policy = older["policy"].as_object_mut().unwrap();
        assert_eq!(policy.remove("memory_bytes"), Some(8_388_608.into()));
        let older = serde_json::from_value(older).unwrap();
        assert!(!text(&older, None).contains("memory"));
    }

    #[test]
    fn json_is_as_stored() {
        let snapshot = snapshot();
        let json = serde_json::to_string_pretty(&json(&snapshot, None)).unwrap();
        assert_stored("status.json", &(json + "\n"));
    }
}
