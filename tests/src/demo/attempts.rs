//! What nobody may do: connections that work without the firewall, and what
//! stops each of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::agents::{Agents, added};
use super::book::{Book, Part};
use super::plan::{
    APP1, APP2, Addresses, BASTION, LB, METADATA, PRIMARY, PROMETHEUS, REPLICA, SERVERS, Tier, VIP,
    WEB1, WEB2, WORLD, port,
};
use super::site::Site;
use crate::firewall::{Counters, Way};
use crate::host::Host;
use crate::traffic::conversation::connects;

/// How long an attempt may take: less than the second after which TCP sends its
/// SYN again, so that each attempt is one packet.
const LIMIT: Duration = Duration::from_millis(600);
/// From here on a SYN may have been sent again.
const AGAIN: Duration = Duration::from_millis(950);

/// What stops a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stop {
    /// The server that drops it.
    pub(crate) at: &'static str,
    /// On its way in or out.
    pub(crate) way: Way,
    /// A deny rule, `default-in`, `default-out`, or a reason by its name.
    pub(crate) by: &'static str,
}

impl Stop {
    const fn arriving(at: &'static str) -> Self {
        Self { at, way: "ingress", by: "default-in" }
    }

    const fn leaving(at: &'static str) -> Self {
        Self { at, way: "egress", by: "default-out" }
    }

    /// As people read it.
    pub(crate) fn text(self) -> String {
        let Self { at, way, by } = self;
        let way = if way == "ingress" { "in" } else { "out" };
        format!("{at}: {by} ({way})")
    }

    /// How many packets it has stopped.
    pub(crate) fn count(self, counters: &Counters) -> u64 {
        match self.by {
            "default-in" | "default-out" => counters.reason(self.way, "default-drop"),
            rule => {
                let denied = counters.rule(self.way, rule).packets;
                if denied > 0 { denied } else { counters.reason(self.way, rule) }
            }
        }
    }

    /// The tier of the server that drops.
    pub(crate) fn tier(self) -> Option<Tier> {
        SERVERS.iter().find(|server| server.name == self.at).map(|server| server.tier)
    }
}

/// A connection, or a datagram and its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Who tries.
    pub(crate) from: &'static str,
    /// To whom, in words.
    pub(crate) to: &'static str,
    at: SocketAddr,
    udp: bool,
    stop: Stop,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug)]
struct Tried {
    reached: bool,
    took: Duration,
}

/// Every attempt. Somebody listens at the end of each.
pub(crate) fn all() -> Vec<Attempt> {
    let tcp = |from, to, at, stop| Attempt { from, to, at, udp: false, stop };
    let into = |from, to, server: &'static str, at| tcp(from, to, at, Stop::arriving(server));
    let out = |from, to, at| tcp(from, to, at, Stop::leaving(from));
    let v4 = Addresses::v4_port;
    let v6 = Addresses::v6_port;
    let sql = port::SQL;
    vec![
        // A visitor, past the load balancer.
        into("client", "nginx", "web1", v4(WEB1.at, 80)),
        into("client", "nginx (IPv6)", "web2", v6(WEB2.at, 80)),
        into("client", "the application", "app1", v4(APP1.at, port::APP)),
        into("client", "the application (IPv6)", "app2", v6(APP2.at, port::APP)),
        into("client", "the primary", "db-primary", v4(PRIMARY.at, sql)),
        into("client", "the primary (IPv6)", "db-primary", v6(PRIMARY.at, sql)),
        into("client", "the replica", "db-replica", v4(REPLICA.at, sql)),
        into("client", "HAProxy's statistics", "lb", v4(LB.at, port::HAPROXY)),
        into("client", "Prometheus", "prometheus", v4(PROMETHEUS.at, port::PROMETHEUS)),
        into("client", "an agent's metrics", "web1", v4(WEB1.at, port::METRICS)),
        into("client", "ssh of the load balancer", "lb", v4(VIP, 22)),
        into("client", "ssh of a web server", "web1", v4(WEB1.at, 22)),
        into("client", "ssh of the primary (IPv6)", "db-primary", v6(PRIMARY.at, 22)),
        into("client", "ssh of the bastion", "bastion", v4(BASTION.at, 22)),
        tcp(
            "abuser",
            "the site",
            v6(VIP, 443),
            Stop { at: "lb", way: "ingress", by: "listed-abusers" },
        ),
        // A stranger who is inside already.
        into("stranger", "nginx", "web2", v4(WEB2.at, 80)),
        into("stranger", "the application", "app2", v4(APP2.at, port::APP)),
        into("stranger", "the primary", "db-primary", v4(PRIMARY.at, sql)),
        into("stranger", "the replica (IPv6)", "db-replica", v6(REPLICA.at, sql)),
        into("stranger", "ssh of an application server", "app1", v4(APP1.at, 22)),
        into("stranger", "ssh of the bastion", "bastion", v4(BASTION.at, 22)),
        into("stranger", "Prometheus (IPv6)", "prometheus", v6(PROMETHEUS.at, port::PROMETHEUS)),
        // Servers that were broken into.
        out("lb", "the application", v4(APP1.at, port::APP)),
        out("lb", "the primary", v4(PRIMARY.at, sql)),
        out("lb", "the world", v4(WORLD, 443)),
        out("web1", "the primary", v4(PRIMARY.at, sql)),
        out("web1", "the replica (IPv6)", v6(REPLICA.at, sql)),
        out("web1", "the other web server", v4(WEB2.at, 80)),
        out("web1", "the bastion", v4(BASTION.at, 22)),
        out("web1", "the world", v4(WORLD, 443)),
        Attempt { udp: true, ..out("web1", "a resolver in the world", v4(WORLD, 53)) },
        Attempt { udp: true, ..out("app2", "a time server in the world (IPv6)", v6(WORLD, 123)) },
        tcp(
            "web1",
            "the cloud's metadata",
            SocketAddr::new(IpAddr::V4(METADATA), 80),
            Stop { at: "web1", way: "egress", by: "no-cloud-metadata" },
        ),
        out("app1", "the world", v4(WORLD, 443)),
        out("app1", "the world (IPv6)", v6(WORLD, 443)),
        out("app1", "nginx", v4(WEB1.at, 80)),
        out("app1", "ssh of the primary", v4(PRIMARY.at, 22)),
        out("app2", "the other application", v4(APP1.at, port::APP)),
        out("db-primary", "the world", v4(WORLD, 443)),
        out("db-primary", "the replica", v4(REPLICA.at, sql)),
        out("db-primary", "the application", v4(APP1.at, port::APP)),
        out("db-replica", "the world (IPv6)", v6(WORLD, 3306)),
        out("db-replica", "the application (IPv6)", v6(APP2.at, port::APP)),
        out("prometheus", "the primary", v4(PRIMARY.at, sql)),
        out("bastion", "the primary", v4(PRIMARY.at, sql)),
        out("bastion", "ssh in the world", v4(WORLD, 22)),
    ]
}

impl Attempt {
    /// Tiers that it is about: where it begins, and where it would end.
    fn tiers(&self) -> Vec<Tier> {
        let of = |at: IpAddr| {
            let own = |server: &&super::plan::Server| {
                at == IpAddr::V4(server.at.v4) || at == IpAddr::V6(server.at.v6)
            };
            SERVERS.iter().find(own).map(|server| server.tier)
        };
        let begins = SERVERS.iter().find(|one| one.name == self.from).map(|one| one.tier);
        [of(self.at.ip()), begins, self.stop.tier()].into_iter().flatten().collect()
    }

    fn text(&self) -> String {
        format!("{} → {} ({})", self.from, self.to, self.at)
    }

    fn make(&self, host: &Host) -> Result<Tried> {
        let start = Instant::now();
        let reached = if self.udp {
            host.enter(|| datagram(self.at))?
        } else {
            connects(host, None, self.at, LIMIT)?
        };
        Ok(Tried { reached, took: start.elapsed() })
    }
}

fn datagram(to: SocketAddr) -> bool {
    let ask = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.send_to(b"anybody there?", to)?;
        socket.recv(&mut [0; 64])
    };
    ask().is_ok()
}

/// Makes attempts, all at once.
fn make(site: &Site, attempts: &[Attempt]) -> Result<Vec<Tried>> {
    thread::scope(|scope| {
        let threads: Vec<_> = attempts
            .iter()
            .map(|attempt| scope.spawn(|| attempt.make(site.host(attempt.from))))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Tried>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Without the firewall every attempt succeeds, or it would show nothing later.
pub(crate) fn before(site: &Site, book: &mut Book, attempts: &[Attempt]) -> Result<()> {
    let mut wanted = chosen(book, attempts);
    // Without a firewall nobody serves its metrics.
    wanted.retain(|attempt| attempt.at.port() != port::METRICS);
    let tried = make(site, &wanted)?;
    let lost: Vec<String> = wanted
        .iter()
        .zip(&tried)
        .filter(|(_, tried)| !tried.reached)
        .map(|(attempt, _)| attempt.text())
        .collect();
    let all = wanted.len();
    book.note(Part::Before, format!("{all} attempts that must fail later succeed now"), {
        match lost.len() {
            0 => Ok(format!("{all} of {all} get through")),
            _ => Err(anyhow::anyhow!("{} do not: {}", lost.len(), lost.join(", "))),
        }
    });
    Ok(())
}

/// With the firewall none succeeds, and each is one packet on the counter of the
/// rule that should stop it.
pub(crate) fn blocked(
    site: &Site,
    agents: &Agents,
    book: &mut Book,
    part: Part,
    attempts: &[Attempt],
) -> Result<()> {
    let wanted = chosen(book, attempts);
    let before = agents.read()?;
    let tried = make(site, &wanted)?;
    let drops = added(&before, &agents.read()?);
    let mut stops: BTreeMap<Stop, Vec<Tried>> = BTreeMap::new();
    for (attempt, tried) in wanted.iter().zip(&tried) {
        stops.entry(attempt.stop).or_default().push(*tried);
    }
    // One counter may stand for several attempts: it must say how many.
    let explained: BTreeMap<Stop, Result<(), String>> = stops
        .iter()
        .map(|(stop, tried)| (*stop, accounted(*stop, tried, &drops[stop.at])))
        .collect();
    for (attempt, tried) in wanted.iter().zip(&tried) {
        let look = || {
            ensure!(!tried.reached, "it got through");
            if let Err(why) = &explained[&attempt.stop] {
                anyhow::bail!("{why}");
            }
            Ok(attempt.stop.text())
        };
        book.note(part, attempt.text(), look());
    }
    Ok(())
}

/// Whether a counter rose by one for each attempt.
fn accounted(stop: Stop, tried: &[Tried], drops: &Counters) -> Result<(), String> {
    let (dropped, attempts) = (stop.count(drops), tried.len() as u64);
    let again = tried.iter().filter(|one| one.took > AGAIN).count() as u64;
    if (attempts..=attempts + again).contains(&dropped) {
        return Ok(());
    }
    Err(format!("{} counted {dropped} drops for {attempts} attempts", stop.text()))
}

fn chosen(book: &Book, attempts: &[Attempt]) -> Vec<Attempt> {
    attempts.iter().filter(|attempt| book.wants(&attempt.tiers())).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_stops_something() {
        for server in SERVERS {
            assert!(all().iter().any(|attempt| attempt.stop.at == server.name), "{}", server.name);
        }
    }

    #[test]
    fn what_leaves_a_server_is_stopped_there() {
        for attempt in all().iter().filter(|attempt| attempt.stop.way == "egress") {
            assert_eq!(attempt.from, attempt.stop.at, "{}", attempt.text());
        }
    }

    #[test]
    fn a_counter_must_rise_by_the_number_of_attempts() {
        let stop = Stop::arriving("web1");
        let outcome = |packets| {
            serde_json::json!({
                "rules": [],
                "outcomes": [{ "interface": "eth0", "direction": "ingress", "verdict": "drop",
                    "reason": "default-drop", "packets": packets, "bytes": 0 }],
            })
        };
        let quick = Tried { reached: false, took: LIMIT };
        let slow = Tried { reached: false, took: 2 * AGAIN };
        let check = |packets: u64, tried: &[Tried]| {
            accounted(stop, tried, &Counters::read(&outcome(packets)).unwrap()).is_ok()
        };
        assert!(check(2, &[quick, quick]) && check(3, &[quick, slow]));
        assert!(!check(1, &[quick, quick]) && !check(3, &[quick, quick]));
    }
}
