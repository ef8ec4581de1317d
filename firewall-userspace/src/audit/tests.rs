//! A web server at work, and what is found when something about it changes.

use firewall_policy::compile::Ports;

use super::*;
use crate::host::containers::Published;
use crate::host::sockets::Waiting;
use crate::report::sample;
use crate::report::snapshot::{Action, Enforcement};

fn waiting(at: &str, process: &str) -> Waiting {
    Waiting { protocol: proto::TCP, at: at.parse().unwrap(), process: Some(process.into()) }
}

fn connection(local: &str, remote: &str, process: &str) -> Connection {
    let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
    Connection { local, remote, process: Some(process.into()) }
}

fn ports(text: &str) -> Ports {
    text.parse().unwrap()
}

/// nginx and sshd listen, HAProxy is connected, Prometheus asks.
fn seen() -> Seen {
    Seen {
        snapshot: sample::snapshot(),
        sockets: Sockets {
            waiting: vec![
                waiting("0.0.0.0:22", "sshd[2]"),
                waiting("[::]:80", "nginx[3]"),
                waiting("127.0.0.1:6010", "sshd[2]"),
            ],
            connections: vec![
                connection("10.0.2.11:80", "10.0.1.10:40000", "nginx[3]"),
                connection("10.0.2.11:50000", "10.0.9.1:80", "curl[9]"),
            ],
        },
        flows: BTreeMap::new(),
        containers: Containers::default(),
        ephemeral: 32_768,
    }
}

/// A rule like another one, of a name, ports and counters of its own.
fn rule(seen: &Seen, like: &str, name: &str, at: &str, requests: &[(&str, u64)]) -> Rule {
    let like = seen.snapshot.rules.iter().find(|rule| rule.name == like).unwrap();
    Rule {
        name: name.into(),
        ports: vec![ports(at)],
        requests: requests.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        packets: 10,
        ..like.clone()
    }
}

fn ids(seen: &Seen) -> Vec<&'static str> {
    findings(seen).iter().map(|one| one.id).collect()
}

#[test]
fn a_web_server_behind_a_load_balancer_serves_in_clear() {
    let found = findings(&seen());
    let [one] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((one.id, one.rule.as_deref()), ("plaintext-http", Some("http-from-lb")));
    assert_eq!(one.peers, ["10.0.1.10".parse::<IpAddr>().unwrap()], "curl's server is no client");
    assert_eq!(
        text(&found),
        "\
warn  plaintext HTTP arrives from load-balancers: rule http-from-lb  (web.yaml:10)  [plaintext-http]
      seen: 3,000,000 HTTP requests read in clear; on 80/tcp with 10.0.1.10
      do:   TLS between the tiers (nginx: listen 443 ssl; HAProxy: server … ssl verify required), or an encrypted network below (WireGuard, IPsec)

1 warning
"
    );
}

#[test]
fn what_nobody_has_read_in_clear_is_not_found() {
    let mut quiet = seen();
    quiet.snapshot.rules[1].requests.insert("requests".into(), 0);
    assert_eq!(ids(&quiet), [""; 0]);
    assert_eq!(text(&findings(&quiet)), "nothing found\n");
}

#[test]
fn behind_tls_for_everybody_a_redirect_is_fine_and_plaintext_is_not() {
    let mut lb = seen();
    let everybody = |rule: Rule| Rule { everybody: true, ..rule };
    let https = everybody(rule(&lb, "http-from-lb", "https", "443/tcp", &[("handshakes", 9)]));
    let redirect = everybody(rule(&lb, "http-from-lb", "redirect", "80/tcp", &[("requests", 5)]));
    let to_web = rule(&lb, "dns", "to-web", "80/tcp", &[("requests", 100)]);
    let remote = "web-servers".to_owned();
    lb.snapshot.rules = vec![https, redirect, Rule { remote, ..to_web }];
    lb.sockets.waiting = vec![waiting("[::]:80", "haproxy[4]"), waiting("[::]:443", "haproxy[4]")];
    let found = findings(&lb);
    let messages: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        messages,
        ["plaintext HTTP behind the load balancer: TLS ends here, and to-web goes to web-servers \
          in clear"]
    );
    // Without TLS the page itself is what everybody can read.
    lb.snapshot.rules.remove(0);
    assert_eq!(ids(&lb), ["plaintext-http", "plaintext-http", "listens-but-shut"]);
}

#[test]
fn a_database_that_follows_nobody_is_the_only_one() {
    let mut db = seen();
    let sql = rule(
        &db,
        "http-from-lb",
        "mysql",
        "3306/tcp",
        &[("mysql_query", 7), ("mysql_stmt_execute", 0)],
    );
    db.snapshot.rules = vec![sql];
    db.sockets.waiting = vec![waiting("[::]:3306", "mariadbd[5]")];
    db.sockets.connections = vec![connection("10.0.4.10:3306", "10.0.3.11:5", "mariadbd[5]")];
    assert_eq!(ids(&db), ["plaintext-mysql", "single-primary"]);
    let follow = connection("10.0.4.10:40000", "10.0.4.11:3306", "mariadbd[5]");
    db.sockets.connections.push(follow.clone());
    assert_eq!(ids(&db), ["plaintext-mysql"], "a replica follows");
    // An application on the same host asks another database: that is not following.
    db.sockets.connections[1].process = Some("app[6]".into());
    assert_eq!(ids(&db), ["plaintext-mysql", "single-primary"]);
    // Another port of MySQL's, by the rule for it.
    let more =
        rule(&seen(), "dns", "more", "3307/tcp", &[("mysql_query", 0), ("mysql_stmt_execute", 0)]);
    db.snapshot.rules.push(more);
    db.sockets.connections[1] = connection("10.0.4.10:40000", "10.0.4.11:3307", "mariadbd[5]");
    assert_eq!(ids(&db), ["plaintext-mysql"], "a replica follows by another port");
    let galera = "10.0.4.11:4567".parse().unwrap();
    db.sockets.connections[1] = Connection { remote: galera, ..follow };
    assert_eq!(ids(&db), ["plaintext-mysql"], "a cluster has others");
}

#[test]
fn roles_are_counted_by_the_policy_and_by_what_is_served() {
    let mut both = seen();
    both.snapshot.policy.as_mut().unwrap().roles.push("app".into());
    assert_eq!(ids(&both), ["plaintext-http", "several-roles"]);
    let mut served = seen();
    let sql = rule(
        &served,
        "http-from-lb",
        "mysql",
        "3306/tcp",
        &[("mysql_query", 0), ("mysql_stmt_execute", 0)],
    );
    served.snapshot.rules.push(sql);
    assert_eq!(ids(&served), ["plaintext-http", "admitted-but-unused"]);
    served.sockets.waiting.push(waiting("[::]:3306", "mariadbd[5]"));
    let found = findings(&served);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[1].message,
        "this host carries several roles: it is a web server (http-from-lb) and a database (mysql)"
    );
}

#[test]
fn silence_is_told_and_a_scrape_ends_it() {
    let silent = |started_ago: u64, scraped_ago: Option<u64>, flows: u64| {
        let mut seen = seen();
        let now = seen.snapshot.time_ms;
        let agent = seen.snapshot.agent.as_mut().unwrap();
        agent.started_ms = now - started_ago;
        agent.scraped_ms = scraped_ago.map(|ago| now - ago);
        let scrape = rule(&seen, "http-from-lb", "scrape", "9477/tcp", &[]);
        seen.snapshot.rules.push(Rule { new_flows: flows, ..scrape });
        seen.sockets.waiting.push(waiting("[::]:9477", "firewall[7]"));
        ids(&seen).contains(&"no-monitoring")
    };
    let hour = 3_600_000;
    assert!(silent(hour, None, 0) && silent(hour, Some(hour), 5));
    assert!(!silent(hour, Some(15_000), 0), "it is scraped");
    assert!(!silent(1_000, None, 5), "the agent has just started, and others came before");
    assert!(silent(1_000, None, 0), "nobody ever came");
}

#[test]
fn without_an_agent_only_counters_and_connections_tell_of_monitoring() {
    let mut dead = seen();
    dead.snapshot.agent = None;
    let node = rule(&dead, "http-from-lb", "node", "9100/tcp", &[]);
    dead.snapshot.rules.push(Rule { new_flows: 0, ..node });
    dead.sockets.waiting.push(waiting("[::]:9100", "node_exporter[8]"));
    let found = findings(&dead);
    assert_eq!(found[1].id, "no-monitoring");
    assert_eq!(
        found[1].message,
        "no monitoring reaches this host: no agent runs; nobody comes by node"
    );
    dead.sockets.connections.push(connection("10.0.2.11:9100", "10.0.9.10:7", "node[8]"));
    assert!(!ids(&dead).contains(&"no-monitoring"));
}

#[test]
fn open_doors_are_named() {
    let mut open = seen();
    open.snapshot.rules[0].everybody = true;
    open.snapshot.policy.as_mut().unwrap().default_out = Action::Allow;
    open.snapshot.enforcement = Enforcement::Partly;
    open.snapshot.interfaces[1].ingress = None;
    let found = findings(&open);
    let names: Vec<_> = found.iter().map(|one| one.id).collect();
    assert_eq!(names, ["not-enforced", "default-allow", "open-to-everybody", "plaintext-http"]);
    assert!(found[0].message.contains("eth1") && found[1].message.starts_with("default-out"));
    assert_eq!(found[2].message, "ssh is open to everybody: rule failsafe-ssh");
    assert_eq!(found[2].process.as_deref(), Some("sshd[2]"));
}

#[test]
fn ports_and_listeners_are_held_against_each_other() {
    let mut odd = seen();
    odd.sockets.waiting.push(waiting("0.0.0.0:8081", "debug[9]"));
    odd.sockets.waiting.push(waiting("[::]:8081", "debug[9]"));
    odd.sockets
        .waiting
        .push(Waiting { protocol: proto::UDP, ..waiting("0.0.0.0:40000", "client[9]") });
    let more = rule(&odd, "http-from-lb", "more", "8443/tcp", &[]);
    odd.snapshot.rules.push(more);
    let published =
        |ports: &str| Published { ports: ports.parse().unwrap(), at: None, to: "c".into() };
    odd.containers.published = BTreeSet::from([published("9000/tcp")]);
    let found = findings(&odd);
    let named: Vec<_> = found.iter().map(|one| (one.id, one.ports.join(" "))).collect();
    assert_eq!(
        named[1..],
        [
            ("published-but-shut", "9000/tcp".to_owned()),
            ("listens-but-shut", "8081/tcp".to_owned()),
            ("admitted-but-unused", "8443/tcp".to_owned()),
        ]
    );
    // A container is as good as a listener.
    odd.containers.published = BTreeSet::from([published("8443/tcp")]);
    assert_eq!(ids(&odd), ["plaintext-http", "listens-but-shut"]);
}
