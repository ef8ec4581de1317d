//! Numbers for others: `/metrics`, and the socket for those who are not root.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::REFUSAL;
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;

use crate::support::{policy, wait_until};

const WEB: &str = "name: web, from: any, service: web";
const URL: &str = "http://127.0.0.1:9477/metrics";

#[test]
fn metrics_parse_and_say_what_the_counters_say() -> Result<()> {
    gate::tool("curl", "curl")?;
    let Pair { server, client, lab: _lab } = Pair::new("metrics")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let agent = firewall.agent()?;
    assert!(Conversation::tcp(&client, None, pair::server(80)[0])?.asks());
    assert!(!connects(&client, None, pair::server(81)[1], REFUSAL)?);
    let counters = firewall.counters()?;
    let wanted = [
        format!(
            "firewall_rule_packets_total{{rule=\"web\",direction=\"ingress\",verdict=\"pass\"}} {}",
            counters.rule("ingress", "web").packets
        ),
        format!(
            "firewall_reason_packets_total{{reason=\"default-drop\",direction=\"ingress\",verdict=\"drop\"}} {}",
            counters.reason("ingress", "default-drop")
        ),
        format!(
            "process_open_fds {}",
            std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count()
        ),
    ];
    let mut text = String::new();
    let told = wait_until("the counters are exported", Duration::from_secs(3), || {
        text = server.sh(&format!("curl -sf {URL}"))?;
        Ok(wanted[..2].iter().all(|line| text.contains(line.as_str())))
    });
    assert!(told.is_ok(), "{wanted:?} in\n{text}");
    strict(&text)?;
    // A large package for a second opinion, which the demo installs anyway.
    match gate::tool("promtool", "prometheus") {
        Ok(promtool) => {
            let check = format!("curl -sf {URL} | {} check metrics 2>&1", promtool.display());
            assert_eq!(server.sh(&check)?, "", "promtool says");
            alerts(&server, &promtool)?;
        }
        Err(_) => eprintln!("no promtool here: the strict parser alone has read the metrics"),
    }

    // The other format that Prometheus asks for, and compressed.
    let accept = "application/openmetrics-text; version=1.0.0";
    let open = server.sh(&format!("curl -sf --compressed -H 'Accept: {accept}' {URL}"))?;
    assert!(open.ends_with("# EOF\n"), "{open}");
    let size = |flag: &str| -> Result<usize> {
        Ok(server.sh(&format!("curl -sf {flag} {URL} | wc -c"))?.trim().parse()?)
    };
    assert!(size("-H 'Accept-Encoding: gzip'")? * 2 < size("")?, "not compressed");
    assert!(server.sh("curl -sf http://127.0.0.1:9477/nothing").is_err());
    assert!(server.sh(&format!("curl -sf -X POST {URL}")).is_err());
    Ok(())
}

/// Prometheus reads the alerts of the documentation, and rings at a spike and at a drop only.
fn alerts(host: &Host, promtool: &Path) -> Result<()> {
    let text = include_str!("../../../docs/metrics.md");
    let rules = text.split("```").find_map(|part| part.strip_prefix("yaml\n"));
    let directory = host.directory().join("alerts");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("rules.yaml"), rules.context("no alerts in docs/metrics.md")?)?;
    std::fs::write(directory.join("tests.yaml"), RINGS)?;
    host.sh(&format!(
        "cd {} && {promtool} check rules rules.yaml && {promtool} test rules tests.yaml 2>&1",
        directory.display(),
        promtool = promtool.display()
    ))?;
    Ok(())
}

/// Requests of three services in an hour and a half, by the minute: 20 a second, then as many, five
/// times as many, and a tenth.
const RINGS: &str = r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - { series: 'firewall_requests_total{instance="a",service="even"}', values: "0+1200x100" }
      - { series: 'firewall_requests_total{instance="a",service="up"}', values: "0+1200x90 108000+6000x10" }
      - { series: 'firewall_requests_total{instance="a",service="down"}', values: "0+1200x90 108000+120x10" }
    alert_rule_test:
      - { eval_time: 88m, alertname: RequestsSpike, exp_alerts: [] }
      - { eval_time: 88m, alertname: RequestsDrop, exp_alerts: [] }
      - { eval_time: 98m, alertname: RequestsSpike, exp_alerts: [exp_labels: { instance: a, service: up }] }
      - { eval_time: 98m, alertname: RequestsDrop, exp_alerts: [exp_labels: { instance: a, service: down }] }
"#;

/// What a parser of the text format insists on, where promtool may be lenient: each
/// family is declared once before its samples, and no series comes twice.
fn strict(text: &str) -> Result<()> {
    let mut series = std::collections::BTreeSet::new();
    let mut families = std::collections::BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().context("no name")?;
            anyhow::ensure!(families.insert(family), "{family} is declared twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').context("no value")?;
            value.parse::<f64>().with_context(|| format!("no number: {line}"))?;
            let short = name.split('{').next().unwrap_or_default();
            anyhow::ensure!(short == family, "{short} stands below {family}");
            anyhow::ensure!(series.insert(name), "{name} comes twice");
        }
    }
    anyhow::ensure!(series.len() > 30, "only {} series", series.len());
    Ok(())
}

#[test]
fn members_of_the_group_read_and_nobody_else_does() -> Result<()> {
    let setpriv = gate::tool("setpriv", "util-linux")?;
    let Pair { server, client: _client, lab: _lab } = Pair::new("group")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    // Where everybody can reach it, whoever owns the directories above.
    let program = firewall.command(&[]).get_program().to_os_string();
    server.check(
        Command::new("install").args(["-m", "755"]).arg(program).arg("/run/firewall-copy"),
    )?;
    server.sh("sed -i '/^firewall:/d' /etc/group && echo 'firewall:x:4242:' >> /etc/group")?;
    let _agent = firewall.agent()?;
    let run = |group: &str, arguments: &[&str]| {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid=65534", "--regid=65534", &format!("--groups={group}")]);
        server.run(command.arg("/run/firewall-copy").args(arguments))
    };
    let readings: [&[&str]; 6] =
        [&["status"], &["counters"], &["rules"], &["rates"], &["events"], &["ban", "list"]];
    for reading in readings {
        let member = run("4242", reading)?;
        assert!(member.status.success(), "{reading:?}: {member:?}");
        let other = run("65534", reading)?;
        assert_eq!(other.status.code(), Some(4), "{reading:?}: {other:?}");
        let help = ["usermod -aG firewall", &format!("sudo firewall {}", reading.join(" "))];
        assert!(help.iter().all(|way| other.stderr.contains(way)), "{}", other.stderr);
    }
    let changes: [&[&str]; 4] =
        [&["apply"], &["detach", "--all"], &["attach"], &["ban", "add", "203.0.113.7"]];
    for change in changes {
        let member = run("4242", change)?;
        assert_eq!(member.status.code(), Some(4), "{change:?}: {member:?}");
    }
    let metrics = Command::new(&setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sf", URL])
        .get_args()
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    let metrics = server.check(Command::new(&setpriv).args(metrics))?;
    assert!(metrics.contains("firewall_build_info"));
    Ok(())
}
