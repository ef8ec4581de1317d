//! The agent may die at any moment: what is enforced stays, counts, and can be
//! read.

use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_tests::firewall::Firewall;
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, wait_until};

const WEB: &str = "name: web, from: any, service: web";
const OUT: &str = "name: outside, to: clients, service: outside";

#[test]
fn a_killed_agent_leaves_everything_enforced_counted_and_readable() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("killed")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&server, 8080)?, Echo::tcp(&client, 443)?);
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[OUT]))?;
    let agent = firewall.agent()?;
    let mut inbound = Conversation::tcp(&client, None, pair::server(80)[0])?;
    let mut outbound = Conversation::tcp(&server, None, pair::client(443)[1])?;
    assert!(inbound.asks() && outbound.asks());
    firewall.check(&["ban", "add", "198.51.100.66"])?;
    let before = firewall.counters()?;
    let sits = attachment(&server)?;

    agent.kill()?;
    assert!(inbound.asks() && outbound.asks(), "a connection was cut");
    enforces(&server, &client)?;
    let after = firewall.counters()?;
    assert!(after.shrunk(&before).is_empty(), "{:?}", after.shrunk(&before));
    let since = after.since(&before);
    assert!(since.rule("ingress", "web").packets > 0, "{since:?}");
    assert!(since.rule("egress", "outside").packets > 0, "{since:?}");
    assert!(since.reason("ingress", "default-drop") > 0, "{since:?}");
    let status = firewall.check(&["status"])?;
    assert!(status.starts_with("enforcing   role lab"), "{status}");
    assert!(status.contains("agent       does not run"), "{status}");
    for reading in ["rules", "counters", "rates", "events", "ban list", "show policy"] {
        let words: Vec<&str> = reading.split(' ').collect();
        firewall.check(&words).with_context(|| format!("`firewall {reading}` without an agent"))?;
    }
    let events = firewall.check(&["events"])?;
    assert!(firewall.check(&["ban", "list"])?.contains("198.51.100.66"));
    drop(events);

    // Another agent takes over what it finds, and changes nothing.
    let agent = firewall.agent()?;
    assert!(agent.log().contains("adopting generation 1"), "{}", agent.log());
    assert_eq!(attachment(&server)?, sits, "it attached anew");
    assert!(inbound.asks() && outbound.asks(), "a connection was cut by the new agent");
    let adopted = firewall.counters()?;
    assert!(adopted.shrunk(&after).is_empty(), "{:?}", adopted.shrunk(&after));
    assert_eq!(firewall.generation()?, 1);
    let status = firewall.check(&["status"])?;
    assert!(status.contains("process"), "{status}");
    enforces(&server, &client)
}

#[test]
fn a_frozen_agent_is_no_condition_either() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("frozen")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&client, 443)?);
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[OUT]))?;
    let agent = firewall.agent()?;
    agent.signal(libc::SIGSTOP)?;
    enforces(&server, &client)?;
    // Its socket accepts and never answers: commands do not hang on it.
    let start = std::time::Instant::now();
    let said = firewall.run(&["status"])?;
    assert!(start.elapsed() < Duration::from_secs(10), "status took {:?}", start.elapsed());
    eprintln!(
        "status beside a frozen agent: {:?}, {:?}\n{}{}",
        said.status.code(),
        start.elapsed(),
        said.stdout,
        said.stderr
    );
    agent.signal(libc::SIGCONT)?;
    wait_until("it answers again", Duration::from_secs(5), || {
        Ok(firewall.check(&["status"])?.contains("process"))
    })?;
    Ok(())
}

#[test]
fn a_host_that_judges_without_its_pins_is_not_called_open() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("halved")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&server, 8080)?);
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    server.sh("rm /sys/fs/bpf/firewall/v6/maps/EVENTS")?;
    assert!(!connects(&client, None, pair::server(8080)[0], REFUSAL)?, "it does not judge");
    for command in [&["status"][..], &["apply"], &["detach", "--all"], &["ban", "list"]] {
        let said = firewall.refused(command, 1)?;
        assert!(said.contains("what is attached goes on judging"), "{command:?}: {said}");
    }
    // The way out that they name.
    server.sh("rm -r /sys/fs/bpf/firewall/v6")?;
    assert!(connects(&client, None, pair::server(8080)[0], PATIENCE)?);
    firewall.check(&["apply"])?;
    assert!(!connects(&client, None, pair::server(8080)[0], REFUSAL)?);
    Ok(())
}

/// What is attached: links, by number.
fn attachment(host: &Host) -> Result<String> {
    host.sh("ls -li /sys/fs/bpf/firewall/v6/links")
}

/// New connections: what is allowed works, what is not does not.
fn enforces(server: &Host, client: &Host) -> Result<()> {
    for address in pair::server(80) {
        assert!(Conversation::tcp(client, None, address)?.asks(), "{address} is closed");
    }
    for address in pair::client(443) {
        assert!(Conversation::tcp(server, None, address)?.asks(), "{address} is not reached");
    }
    assert!(!connects(client, None, pair::server(8080)[0], REFUSAL)?, "8080 is open");
    assert!(!connects(server, None, pair::client(80)[0], REFUSAL)?, "80 is reached");
    Ok(())
}
