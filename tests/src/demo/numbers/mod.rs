//! Counts beside the servers' own.
//!
//! Quiet, read everything, load, quiet, read everything again: what was added to
//! a counter of the firewall is what was added to the server's own counter of the
//! same thing.

mod load;
mod moment;
mod traffic;
mod truth;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::agents::Agents;
use super::book::{Book, Part};
use super::plan::{APP1, APP2, LB, PRIMARY, REPLICA, Server, Tier, WEB1, WEB2};
use super::site::{self, Site};
use crate::firewall::{Counters, Way};
use moment::Moments;
pub(crate) use traffic::Traffic;
use truth::Truth;

/// Quiet before the first reading, and after the load: nginx and MariaDB have
/// finished, and every log line is written.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(2);

/// A count of the firewall's beside somebody else's.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// Tier of the server.
    pub(crate) tier: Tier,
    /// Server, or servers.
    pub(crate) server: String,
    /// Rule that counts.
    pub(crate) rule: &'static str,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// The firewall's count.
    pub(crate) firewall: u64,
    /// Whose count it is compared with.
    pub(crate) source: &'static str,
    /// That count.
    pub(crate) truth: u64,
}

impl Comparison {
    /// By how much the firewall counted more.
    pub(crate) fn difference(&self) -> i128 {
        i128::from(self.firewall) - i128::from(self.truth)
    }
}

/// What came of the load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// How long the load was, seconds.
    pub(crate) seconds: f64,
    /// Requests.
    pub(crate) requests: Vec<Comparison>,
    /// Packets, by server.
    pub(crate) traffic: Vec<Traffic>,
}

/// Loads the site and compares.
pub(crate) fn measure(
    site: &Site,
    agents: &Agents,
    book: &mut Book,
    length: Duration,
) -> Result<Numbers> {
    thread::sleep(BEFORE);
    // Truths are asked for outside the readings of packets: asking sends some.
    let truth = Truth::read(site)?;
    let moments = Moments::read(site, agents)?;
    let start = Instant::now();
    let loads = load::run(site, length);
    let seconds = start.elapsed().as_secs_f64();
    thread::sleep(AFTER);
    site::catch_up(&site.primary, &site.replica)?;
    let moments = Moments::read(site, agents)?.since(&moments);
    let truth = Truth::read(site)?.since(&truth);
    book.note(Part::Counts, "the load gets through", loads);

    let mut requests = compare(&moments, &truth);
    requests.retain(|one| book.wants(&[one.tier]));
    for one in &requests {
        let what = format!("{} on {}, {}", one.unit, one.server, one.rule);
        book.note(Part::Counts, what, judge(one));
    }
    let mut traffic = traffic::of(&moments, seconds);
    traffic.retain(|one| book.wants(&[one.tier]));
    for one in &traffic {
        for (what, seen) in one.checks() {
            book.note(Part::Counts, what, seen);
        }
    }
    Ok(Numbers { seconds, requests, traffic })
}

fn judge(one: &Comparison) -> Result<String> {
    let Comparison { firewall, source, truth, .. } = one;
    ensure!(*truth > 0, "{source} counted nothing");
    let seen = format!("firewall {firewall}, {source} {truth}");
    ensure!(one.difference() == 0, "{seen}: {:+}", one.difference());
    Ok(seen)
}

/// Every request counter that a server of the site counts, too.
fn compare(moments: &Moments, truth: &Truth) -> Vec<Comparison> {
    let counters = |server: &Server| &moments.of(server.name).counters;
    let one = |server: &Server, rule, unit, source, truth| Comparison {
        tier: server.tier,
        server: server.name.to_owned(),
        rule,
        unit,
        firewall: total(counters(server), rule, unit),
        source,
        truth,
    };
    let both = |rule, source, truth| Comparison {
        server: format!("{} + {}", APP1.name, APP2.name),
        firewall: [APP1, APP2].iter().map(|app| total(counters(app), rule, SQL)).sum(),
        ..one(&APP1, rule, SQL, source, truth)
    };
    vec![
        one(&LB, "public-https", TLS, "HAProxy: TLS sessions", truth.tls_sessions),
        one(&LB, "public-http-redirect", HTTP, "HAProxy: req_tot", truth.redirected),
        one(&LB, "to-web", HTTP, "HAProxy: req_tot of the backend", truth.balanced),
        one(&WEB1, "http-from-lb", HTTP, "nginx: access log", truth.web[0].requests),
        one(&WEB2, "http-from-lb", HTTP, "nginx: access log", truth.web[1].requests),
        one(&WEB1, "http-from-lb", HTTP, "nginx: stub_status", truth.web[0].handled),
        one(&WEB2, "http-from-lb", HTTP, "nginx: stub_status", truth.web[1].handled),
        one(&WEB1, "to-app", HTTP, "nginx: upstream log", truth.web[0].proxied),
        one(&WEB2, "to-app", HTTP, "nginx: upstream log", truth.web[1].proxied),
        one(&WEB1, "dns", DNS, "dnsmasq: query log", truth.queries),
        one(&APP1, "app-from-web", HTTP, "the application", truth.app[0]),
        one(&APP2, "app-from-web", HTTP, "the application", truth.app[1]),
        both("mysql-write", "MariaDB primary: Com_*", truth.written),
        both("mysql-read", "MariaDB replica: Com_*", truth.read),
        one(&PRIMARY, "mysql-from-app", SQL, "MariaDB: Com_*", truth.written),
        one(&REPLICA, "mysql-reads-from-app", SQL, "MariaDB: Com_*", truth.read),
    ]
}

const HTTP: &str = "HTTP requests";
const TLS: &str = "TLS handshakes";
const SQL: &str = "SQL commands";
const DNS: &str = "DNS queries";

/// What a rule has counted of a unit, in whichever direction it stands.
fn total(counters: &Counters, rule: &str, unit: &str) -> u64 {
    let metrics: &[&str] = match unit {
        HTTP => &["requests"],
        TLS => &["handshakes"],
        SQL => &["mysql_query", "mysql_stmt_execute"],
        _ => &["dns_queries"],
    };
    let of = |way: Way| {
        let requests = counters.rule(way, rule).requests;
        metrics.iter().filter_map(|metric| requests.get(*metric)).sum::<u64>()
    };
    of("ingress") + of("egress")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_a_sign_and_nothing_is_no_proof() {
        let one = Comparison {
            tier: Tier::Web,
            server: "web1".into(),
            rule: "http-from-lb",
            unit: HTTP,
            firewall: 99,
            source: "nginx: access log",
            truth: 100,
        };
        assert!(judge(&one).unwrap_err().to_string().ends_with("-1"));
        assert!(judge(&Comparison { firewall: 100, ..one.clone() }).is_ok());
        assert!(judge(&Comparison { firewall: 0, truth: 0, ..one }).is_err());
    }
}
