//! `firewall audit`: what is weak about a host, from what is really there.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::{self, Pair};
use firewall_tests::servers::Nginx;
use firewall_tests::traffic::echo::Echo;
use serde_json::Value;

use crate::support::policy;

/// Findings by id, and the rule or ports of each.
type Named = BTreeSet<(String, String)>;

fn audit(firewall: &Firewall) -> Result<(Named, Value)> {
    let output = firewall.run(&["audit", "--json"])?;
    let answer: Value = serde_json::from_str(&output.stdout).context(output.stderr.clone())?;
    ensure!(answer["schema"] == 1, "{answer}");
    let all = answer["findings"].as_array().context("no findings")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = |one: &Value| match one["rule"].as_str() {
        Some(rule) => rule.to_owned(),
        None => text(&one["ports"][0]),
    };
    let warns = all.iter().any(|one| one["level"] != "note");
    ensure!(output.status.code() == Some(if warns { 2 } else { 0 }), "{}", output.status);
    Ok((all.iter().map(|one| (text(&one["id"]), named(one))).collect(), answer))
}

fn named(pairs: &[(&str, &str)]) -> Named {
    pairs.iter().map(|(id, what)| ((*id).to_owned(), (*what).to_owned())).collect()
}

/// A policy whose `web` counts requests.
fn counting(ingress: &[&str], egress: &[&str]) -> String {
    policy(ingress, egress).replace("web: { tcp: 80 }", "web: { tcp: 80, count: http1 }")
}

#[test]
fn findings_come_and_go_with_what_is_really_there() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("audit")?;
    let nginx = Nginx::start(&server, &firewall_tests::servers::Site::default())?;
    let more = Echo::tcp(&server, 8080)?;
    let web = "name: web, from: clients, service: web";
    let firewall = Firewall::with_policy(&server, &counting(&[web], &[]))?;
    let silent = ("no-monitoring", "");
    let (found, _) = audit(&firewall)?;
    assert_eq!(found, named(&[silent, ("listens-but-shut", "8080/tcp")]), "before any request");

    // A request is read on the wire; the agent, asked for its metrics, is watched.
    let agent = firewall.agent()?;
    for to in pair::server(80) {
        client.sh(&format!("curl -sf -o /dev/null http://{to}/"))?;
    }
    server.sh("curl -sf -o /dev/null http://127.0.0.1:9477/metrics")?;
    let plain = ("plaintext-http", "web");
    let (found, answer) = audit(&firewall)?;
    assert_eq!(found, named(&[plain, ("listens-but-shut", "8080/tcp")]));
    let finding = &answer["findings"][0];
    assert_eq!(finding["message"], "plaintext HTTP arrives from clients: rule web");
    assert_eq!(finding["evidence"][0]["value"], 2, "{finding}");
    assert_eq!(finding["place"], "rules/lab.yaml:20", "{finding}");

    // The same from the pins, but for what only the agent could know.
    agent.kill()?;
    let (found, answer) = audit(&firewall)?;
    assert_eq!(answer["source"], "maps");
    assert_eq!(found, named(&[silent, plain, ("listens-but-shut", "8080/tcp")]));

    // Everybody may ask, nobody listens any more, and whatever leaves may leave.
    nginx.process().signal(libc::SIGTERM)?;
    nginx.process().wait(std::time::Duration::from_secs(10))?;
    drop(more);
    let ssh = "name: ssh, from: any, service: ssh, reason: to be found";
    let text = counting(&[web, ssh], &[]).replace("egress: drop }", "egress: allow }");
    firewall.enforce(&text)?;
    let (found, _) = audit(&firewall)?;
    let wanted = [
        silent,
        plain,
        ("default-allow", ""),
        ("open-to-everybody", "ssh"),
        ("admitted-but-unused", "web"),
        ("admitted-but-unused", "ssh"),
    ];
    assert_eq!(found, named(&wanted));

    firewall.check(&["detach", "--all"])?;
    let text = firewall.refused(&["audit"], 2)?;
    assert!(text.starts_with("fail  a policy is loaded and attached to no interface"), "{text}");
    Ok(())
}

#[test]
fn a_user_without_rights_is_told_so_and_a_reader_sees_what_the_agent_does() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("reader")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall =
        Firewall::with_policy(&server, &counting(&["name: web, from: any, service: web"], &[]))?;
    server.sh("groupadd -f --system firewall")?;
    let agent = firewall.agent()?;
    let binary = firewall.command(&[]).get_program().to_string_lossy().into_owned();
    let copy = "/run/firewall-copy";
    server.sh(&format!("install -m 0755 {binary} {copy}"))?;
    let gid = server.sh("getent group firewall | cut -d: -f3")?;
    let run = |groups: &str| {
        let user = format!("setpriv --reuid 65534 --regid 65534 {groups} {copy} audit 2>&1");
        server.run(std::process::Command::new("sh").args(["-c", &user]))
    };
    let refused = run("--clear-groups")?;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let reader = run(&format!("--groups {}", gid.trim()))?;
    assert_eq!(reader.status.code(), Some(2), "{reader:?}");
    assert!(reader.stdout.contains("[no-monitoring]"), "{reader:?}");
    agent.kill()?;
    Ok(())
}
