//! What the firewall itself says about the site: `firewall audit` on every
//! server, and on one that was set up in haste.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::agents::Agents;
use super::book::{Book, Part};
use super::plan::{SERVERS, Tier};
use super::site::Site;
use crate::firewall::{Firewall, shipped};
use crate::host::Host;
use crate::servers::{Nginx, Site as Pages};

/// Longest time until Prometheus comes by: it does every second.
const LIMIT: Duration = Duration::from_secs(10);

/// A finding: its id, and the rule it names.
type Named = (&'static str, &'static str);

/// What each role must be told, and nothing else. Nobody exports what
/// `node_exporter` and its kin would: their ports are open for nothing.
fn expected(role: &str) -> &'static [Named] {
    match role {
        "load-balancer" => &[("plaintext-http", "to-web"), UNUSED],
        "web" => &[
            ("plaintext-http", "http-from-lb"),
            ("plaintext-http", "to-app"),
            ("admitted-but-unused", "scrape-nginx"),
            UNUSED,
        ],
        "app" => &[
            ("plaintext-http", "app-from-web"),
            ("plaintext-mysql", "mysql-write"),
            ("plaintext-mysql", "mysql-read"),
            UNUSED,
        ],
        "db-primary" => &[
            ("plaintext-mysql", "mysql-from-app"),
            ("single-primary", "mysql-from-app"),
            ("admitted-but-unused", "scrape-mysqld"),
            UNUSED,
        ],
        "db-replica" => &[
            ("plaintext-mysql", "mysql-reads-from-app"),
            ("admitted-but-unused", "scrape-mysqld"),
            UNUSED,
        ],
        _ => &[UNUSED],
    }
}

const UNUSED: Named = ("admitted-but-unused", "scrape-node");

/// Roles of the server that was set up in haste, and what it must be told.
const HASTE: [&str; 2] = ["web", "monitoring"];
const OF_HASTE: [Named; 6] = [
    ("several-roles", ""),
    ("no-monitoring", ""),
    ("admitted-but-unused", "scrape-nginx"),
    ("admitted-but-unused", "prometheus-from-admins"),
    ("admitted-but-unused", "admin-ssh"),
    UNUSED,
];

/// What a server warns of, in sentences.
#[derive(Clone, Debug)]
pub(crate) struct Warnings {
    /// The server.
    pub(crate) server: String,
    /// A sentence each.
    pub(crate) messages: Vec<String>,
}

/// Asks every server; none may say more or less than it must.
pub(crate) fn check(site: &Site, agents: &Agents, book: &mut Book) -> Vec<Warnings> {
    let wanted = SERVERS.into_iter().filter(|server| book.wants(&[server.tier]));
    let mut all: Vec<(String, Result<Vec<String>>)> = wanted
        .map(|one| {
            let firewall = agents.of(one.name);
            let said = scraped(firewall).and_then(|()| audit(firewall, expected(one.role)));
            (one.name.to_owned(), said)
        })
        .collect();
    // A host inside becomes a server that nobody has planned.
    if book.wants(&[Tier::Web, Tier::Management]) {
        all.push(("stranger".to_owned(), haste(site.host("stranger"))));
    }
    let mut note = |(server, said): (String, Result<Vec<String>>)| {
        let messages = said.as_ref().cloned().unwrap_or_default();
        let seen = said.map(|messages| messages.join("; "));
        book.note(Part::Findings, format!("firewall audit on {server}"), seen);
        Warnings { server, messages }
    };
    all.into_iter().map(&mut note).collect()
}

/// Waits until Prometheus has asked the agent, which may be new.
fn scraped(firewall: &Firewall) -> Result<()> {
    let start = Instant::now();
    loop {
        // The agent's own word: `Firewall::json` asks the kernel.
        let output = firewall.run(&["status", "--json"])?;
        let status: Value = serde_json::from_str(&output.stdout).context("no JSON")?;
        if !status["agent"]["scraped_ms"].is_null() {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "nobody has read /metrics within {LIMIT:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a server says of itself; the sentences of those that matter.
fn audit(firewall: &Firewall, expected: &[Named]) -> Result<Vec<String>> {
    let output = firewall.run(&["audit", "--json"])?;
    let answer: Value = serde_json::from_str(&output.stdout)
        .with_context(|| format!("no JSON: {}{}", output.stdout, output.stderr))?;
    let all = answer["findings"].as_array().context("no findings")?;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let found: BTreeSet<_> = all.iter().map(|one| (text(one, "id"), text(one, "rule"))).collect();
    let wanted: BTreeSet<_> =
        expected.iter().map(|(id, rule)| ((*id).to_owned(), (*rule).to_owned())).collect();
    if found != wanted {
        let (missing, more) = (wanted.difference(&found), found.difference(&wanted));
        bail!(
            "missing {:?}; unexpected {:?}",
            missing.collect::<Vec<_>>(),
            more.collect::<Vec<_>>()
        );
    }
    let warnings: Vec<_> = all.iter().filter(|one| one["level"] != "note").collect();
    let code = if warnings.is_empty() { 0 } else { 2 };
    if output.status.code() != Some(code) {
        bail!("it ends with {}, not {code}", output.status);
    }
    Ok(warnings.into_iter().map(|one| text(one, "message")).collect())
}

/// Makes a server with two roles, which nobody scrapes, and asks it: with its
/// agent, and when that is dead.
fn haste(host: &Host) -> Result<Vec<String>> {
    host.write("/etc/firewall/host.yaml", format!("version: 1\nroles: [{}]\n", HASTE.join(", ")))?;
    for role in HASTE.into_iter().chain(["site"]) {
        host.write(format!("/etc/firewall/rules/{role}.yaml"), std::fs::read(shipped(role))?)?;
    }
    let _nginx = Nginx::start(host, &Pages::default())?;
    let firewall = Firewall::on(host)?;
    let agent = firewall.agent()?;
    let said = audit(&firewall, &OF_HASTE)?;
    agent.kill()?;
    audit(&firewall, &OF_HASTE).context("with the agent dead")?;
    Ok(said)
}
