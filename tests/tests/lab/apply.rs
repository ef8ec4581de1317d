//! Changing the policy: all of it, nothing, or a refusal that says why.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::{self, Pair};
use firewall_tests::servers::Sshd;
use firewall_tests::traffic::conversation::Conversation;
use firewall_tests::traffic::echo::Echo;

use crate::support::{policy, wait_until};

const WEB: &str = "name: web, from: any, service: web";

#[test]
fn it_refuses_beside_programs_of_another_version() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("versions")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    server.sh("mkdir -p /sys/fs/bpf/firewall/v0/links/tcx-ingress-2")?;
    firewall.write(&policy(&["name: web, from: any, service: web"], &[]))?;
    for arguments in [&["apply"][..], &["apply", "--dry-run"]] {
        let said = firewall.refused(arguments, 1)?;
        assert!(said.contains("another version are attached: /sys/fs/bpf/firewall/v0"), "{said}");
    }
    assert_eq!(firewall.generation()?, 1);
    server.sh("rmdir /sys/fs/bpf/firewall/v0/links/tcx-ingress-2")?;
    firewall.check(&["apply"])?;
    Ok(())
}

#[test]
fn a_broken_policy_of_any_kind_changes_nothing() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("broken")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let mut talk = Conversation::tcp(&client, None, pair::server(80)[0])?;
    assert!(talk.asks());
    let (pins, programs) = (firewall.pins()?, server.sh("ip link show dev eth0")?);

    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firewall-policy/tests/bad");
    let mut tried = 0;
    for entry in std::fs::read_dir(&examples)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_error = name.starts_with('E') && path.extension().is_some_and(|ext| ext == "yaml");
        let input = if is_error { std::fs::read(&path)? } else { continue };
        // Inputs of several files, or of a certain age, are the policy crate's.
        if input.windows(5).any(|window| window == b"#--- ") {
            continue;
        }
        server.write(
            "/etc/firewall/rules/site.yaml",
            std::fs::read(examples.join("included/site.yaml"))?,
        )?;
        server.write("/etc/firewall/rules/web.yaml", &input)?;
        let said = firewall.refused(&["apply", "/etc/firewall/rules/web.yaml"], 1)?;
        let code = name.split('-').next().unwrap_or_default();
        assert!(said.contains(&format!("error[{code}]")), "{name}: {said}");
        assert!(said.contains("rules/web.yaml:"), "{name} has no place: {said}");
        tried += 1;
    }
    assert!(tried >= 50, "only {tried} of the examples were tried");
    for (file, text, wanted) in [
        ("/etc/firewall/rules/nowhere.yaml", None, "nowhere.yaml"),
        ("/etc/firewall/rules/lab.yaml", Some(failing_test()), "error[E0301]"),
    ] {
        if let Some(text) = text {
            firewall.write(&text)?;
        }
        let said = firewall.refused(&["apply", file], 1)?;
        assert!(said.contains(wanted), "{said}");
    }
    assert_eq!(firewall.generation()?, 1);
    assert_eq!(firewall.pins()?, pins, "something is pinned that was not");
    assert_eq!(server.sh("ip link show dev eth0")?, programs, "another program is attached");
    assert!(talk.asks(), "a running connection was cut");
    eprintln!("{tried} broken policies refused");
    Ok(())
}

fn failing_test() -> String {
    let test =
        "{ name: nobody gets in, in: { from: 192.0.2.99, to: 192.0.2.10, tcp: 80 }, expect: drop }";
    let more = "name: more, from: any, service: alternative";
    format!("{}tests:\n  - {test}\n", policy(&[WEB, more], &[]))
}

#[test]
fn a_policy_that_would_let_go_of_every_interface_is_refused() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("nowhere")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let pins = firewall.pins()?;
    firewall.write(&policy(&[WEB], &[]).replace("eth*", "wlan*"))?;
    for arguments in [&["apply"][..], &["apply", "--dry-run"]] {
        let said = firewall.refused(arguments, 1)?;
        assert!(said.contains("no interface of this host matches"), "{said}");
        assert!(said.contains("this host has: eth0"), "{said}");
    }
    assert_eq!((firewall.generation()?, firewall.pins()?), (1, pins));
    Ok(())
}

#[test]
fn an_equal_policy_is_nothing_to_do() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("equal")?;
    let more = "name: more, from: any, service: alternative";
    let firewall = Firewall::with_policy(&server, &policy(&[WEB, more], &[]))?;
    let pins = firewall.pins()?;
    let said = firewall.check(&["apply"])?;
    assert!(said.starts_with("nothing to do: generation 1"), "{said}");
    // Comments and the order of services are no difference.
    let text = policy(&[WEB, more], &[]).replace("groups:", "# Who is who.\ngroups:");
    assert!(firewall.enforce(&text)?.starts_with("nothing to do"));
    assert_eq!((firewall.generation()?, firewall.pins()?), (1, pins));
    let dry = firewall.check(&["apply", "--dry-run"])?;
    assert!(dry.starts_with("nothing to do"), "{dry}");
    firewall.write(&policy(&[WEB], &[]))?;
    firewall.refused(&["apply", "--dry-run"], 2)?;
    assert_eq!(firewall.generation()?, 1, "a dry run changed the policy");
    Ok(())
}

#[test]
fn of_two_applies_at_once_one_is_refused_with_the_holders_name() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("two")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    firewall.write(&policy(&[WEB], &[]))?;
    let lock = server.path("/run/firewall/apply.lock");
    let held = || std::fs::read_to_string(&lock).unwrap_or_default();
    let old = held();
    let first = server.spawn("first", &mut firewall.command(&["apply"]))?;
    wait_until("the first holds the lock", Duration::from_secs(5), || {
        Ok(held() != old && !held().is_empty())
    })?;
    first.signal(libc::SIGSTOP)?;
    let said = firewall.refused(&["apply"], 1)?;
    let holder = "the policy is being changed by root (apply host.yaml, process ";
    assert!(said.contains(holder) && said.contains("since"), "{said}");
    let said = firewall.refused(&["detach", "--all"], 1)?;
    assert!(said.contains(holder), "{said}");
    first.signal(libc::SIGCONT)?;
    let ended = first.wait(Duration::from_secs(20))?;
    assert!(ended.success(), "{}", first.log());
    assert_eq!(firewall.generation()?, 2);
    assert!(firewall.check(&["apply"])?.starts_with("nothing to do"));
    Ok(())
}

#[test]
fn a_policy_that_would_cut_the_session_it_comes_from_is_refused() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("session")?;
    let ssh = "name: ssh, from: clients, service: ssh";
    let firewall = Firewall::with_policy(&server, &policy(&[ssh], &[]))?;
    let sshd = Sshd::start(&server, 22)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let command = firewall.command(&[]);
    let binary = command.get_program().to_str().context("the path is not UTF-8")?;
    for address in ["192.0.2.10", "2001:db8:1::10"] {
        let run = |arguments: &str| {
            client.run(&mut sshd.client(address, &format!("{binary} apply {arguments} 2>&1")))
        };
        let refused = run("")?;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        for part in ["error[E0501]", "your session", "dropped by default-in", "--i-have-console"] {
            assert!(refused.stdout.contains(part), "{part} in {}", refused.stdout);
        }
        let dry = run("--dry-run")?;
        assert!(dry.stdout.contains("you would be CUT"), "{}", dry.stdout);
    }
    assert_eq!(firewall.generation()?, 1);
    let status = client.check(&mut sshd.client("192.0.2.10", &format!("{binary} status")))?;
    assert!(status.contains("you         198.51.100.20:"), "{status}");
    Ok(())
}

#[test]
fn a_session_is_not_kept_by_rules_for_other_packets() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("session-ways")?;
    let ssh = "name: ssh, from: clients, service: ssh";
    let firewall = Firewall::with_policy(&server, &policy(&[ssh], &[]))?;
    let sshd = Sshd::start(&server, 22)?;
    let command = firewall.command(&[]);
    let binary = command.get_program().to_str().context("the path is not UTF-8")?;
    let apply = format!("{binary} apply --dry-run 2>&1");
    for (condition, verb) in [
        ("iface: eth7", "would be CUT"),
        ("vlan: 5", "would be CUT"),
        ("tcp-flags: [syn, \"!ack\"]", "would be CUT"),
        ("iface: \"eth*\"", "stay connected"),
        ("tcp-flags: [ack]", "stay connected"),
    ] {
        firewall.write(&policy(&[&format!("{ssh}, {condition}")], &[]))?;
        let dry = client.run(&mut sshd.client("192.0.2.10", &apply))?;
        assert!(dry.stdout.contains(&format!("you {verb}")), "{condition}: {}", dry.stdout);
    }
    Ok(())
}

#[test]
fn the_role_of_another_host_needs_force() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("force")?;
    let firewall = Firewall::on(&server)?;
    let text = policy(&[WEB], &[]).replace("groups:", "groups:\n  labs: [203.0.113.1]");
    firewall.write(&text)?;
    for arguments in [&["apply"][..], &["apply", "--dry-run"]] {
        let said = firewall.refused(arguments, 1)?;
        let wanted = "\
warning[W0610]: this host is not one of `labs`, the group of role `lab`
  ╭─[rules/lab.yaml:6:3]
6 │   labs: [203.0.113.1]
  ·   ──┬─
  ·     ╰── this host has 192.0.2.10, 2001:db8:1::10
  ╰────
  help: add it to the group; apply --force, if the role is meant all the same
";
        assert!(said.contains(wanted), "{said}");
        assert!(said.contains("error: the role of another host? nothing was changed"), "{said}");
    }
    let said = firewall.check(&["apply", "--force"])?;
    assert!(said.contains("generation 1"), "{said}");
    // Nothing to do is nothing to doubt, and a host of the group needs no word.
    assert!(firewall.check(&["apply"])?.starts_with("nothing to do"));
    firewall.enforce(&text.replace("203.0.113.1]", "203.0.113.1, \"2001:db8:1::/64\"]"))?;
    Ok(())
}

#[test]
fn a_table_of_flows_keeps_its_size_and_says_so() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("flows-kept")?;
    let firewall = Firewall::on(&server)?;
    let text = |flows: u32| format!("{}state: {{ flows: {flows} }}\n", policy(&[WEB], &[]));
    let memory = |field: &str| -> Result<u64> {
        let status = firewall.json(&["status"])?;
        status["policy"][field].as_u64().with_context(|| format!("no {field}"))
    };
    firewall.enforce(&text(1_024))?;
    let before = memory("memory_bytes")?;
    firewall.write(&text(1_048_576))?;
    let said = firewall.run(&["apply"])?;
    let wanted =
        "the table of flows keeps its size: it has room for 1,024, and 1,048,576 are asked";
    assert!(said.stderr.contains(wanted), "{said:?}");
    // Nobody is told of memory that is not there.
    assert_eq!(memory("memory_bytes")?, before);
    assert!(memory("held_bytes")? > memory("generation_bytes")?);
    Ok(())
}

#[test]
fn a_policy_that_would_lose_the_lease_is_refused() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("lease")?;
    let firewall = Firewall::on(&server)?;
    let waiting = server.enter(|| std::net::UdpSocket::bind("0.0.0.0:68"))??;
    let text = format!("{}baseline: {{ host: true, dhcp: off }}\n", policy(&[WEB], &[]));
    firewall.write(&text)?;
    let said = firewall.refused(&["apply"], 1)?;
    assert!(said.contains("error[E0609]: DHCP is off, and "), "{said}");
    assert!(said.contains("waits for leases on port 68"), "{said}");
    drop(waiting);
    firewall.enforce(&text)?;
    Ok(())
}

#[test]
fn a_swap_keeps_the_programs_that_it_would_load() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("kept")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall = Firewall::on(&server)?;
    // Whether programs had to pass the verifier.
    let loads = |from: &str, egress: &str| -> Result<bool> {
        let web = format!("name: web, from: {from}, service: web");
        let text = policy(&[&web], &[]).replace("egress: drop", &format!("egress: {egress}"));
        firewall.write(&text)?;
        let said = firewall.json(&["apply"])?;
        Ok(said["times_us"]["verify"].as_u64().context("no times")? > 0)
    };
    let is_open = || Conversation::tcp(&client, None, pair::server(80)[0]).is_ok();
    // Either slot gets its programs.
    assert!(loads("admin", "drop")? && !is_open());
    assert!(loads("strangers", "drop")? && !is_open());
    // Then tables alone make another policy of them.
    assert!(!loads("clients", "drop")? && is_open());
    assert!(!loads("[admin, strangers]", "drop")? && !is_open());
    // A default is in the programs, not in the tables.
    assert!(loads("clients", "allow")? && is_open());
    assert!(!loads("strangers", "drop")? && !is_open());
    assert_eq!(firewall.generation()?, 6);
    Ok(())
}

#[test]
fn what_is_refused_is_told_as_json_too() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("refused")?;
    let firewall = Firewall::on(&server)?;
    firewall.write("version: 1\nrole: lab\nfailsafe: { ingress: [] }\ningres: {}\n")?;
    for command in ["apply", "test", "check"] {
        let output = firewall.run(&[command, "--json"])?;
        let document: serde_json::Value = serde_json::from_str(&output.stdout)?;
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(document["diagnostics"][0]["code"].is_string(), "{command}: {document}");
    }
    Ok(())
}
