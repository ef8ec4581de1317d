//! Whoever has an account on the host, or can reach `/metrics`, keeps nobody else from anything.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::pair::Pair;

use crate::support::{policy, wait_until};

const WEB: &str = "name: web, from: any, service: web";
const SOCKET: &str = "/run/firewall/firewall.sock";

#[test]
fn nobody_but_root_can_lock_what_changes_wait_for() -> Result<()> {
    gate::tool("setpriv", "util-linux")?;
    let Pair { server, lab: _lab, .. } = Pair::new("locks")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    // As an earlier version left them, where others had mounted the file system.
    server.sh("chmod 755 /sys/fs/bpf /sys/fs/bpf/firewall /sys/fs/bpf/firewall/v* \
         /sys/fs/bpf/firewall/v*/maps && chmod 644 /run/firewall/apply.lock")?;
    firewall.enforce(&policy(&["name: web, from: clients, service: web"], &[]))?;
    for lock in
        ["/run/firewall/apply.lock", "/run/firewall/links.lock", "/sys/fs/bpf/firewall/v*/maps"]
    {
        server.sh(&format!("flock -n {lock} true"))?;
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
        let said = server.sh(&format!("{nobody} flock -n {lock} true 2>&1 || true"))?;
        assert!(said.contains("Permission denied"), "{lock}: {said}");
    }
    Ok(())
}

#[test]
fn who_reads_nothing_keeps_nobody_from_metrics() -> Result<()> {
    gate::tool("curl", "curl")?;
    let Pair { server, lab: _lab, .. } = Pair::new("greedy")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let _agent = firewall.agent()?;
    let crowd = server.enter(|| -> Result<Vec<TcpStream>> {
        let mut crowd = Vec::new();
        for number in 0..40 {
            let mut stream = TcpStream::connect("127.0.0.1:9477")?;
            if number < 20 {
                stream.write_all(&b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200))?;
            }
            crowd.push(stream);
        }
        Ok(crowd)
    })??;
    let start = Instant::now();
    for _ in 0..5 {
        server.sh("curl -sf -m 5 -o /dev/null http://127.0.0.1:9477/metrics")?;
    }
    assert!(start.elapsed() < Duration::from_secs(3), "after {:?}", start.elapsed());
    drop(crowd);
    // One request, one answer: what is sent behind it is not rendered.
    let answers = server.enter(|| -> Result<usize> {
        let mut stream = TcpStream::connect("127.0.0.1:9477")?;
        stream.write_all(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3))?;
        let mut text = String::new();
        // Closed with requests unread: that may be a reset.
        let _end = stream.read_to_string(&mut text);
        Ok(text.matches("HTTP/1.1 200").count())
    })??;
    assert!(answers <= 1, "{answers} answers");
    Ok(())
}

#[test]
fn another_address_for_metrics_needs_no_restart() -> Result<()> {
    gate::tool("curl", "curl")?;
    let Pair { server, lab: _lab, .. } = Pair::new("listen")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let agent = firewall.agent()?;
    let host =
        "version: 1\nroles: [lab]\noutputs: { prometheus: { listen: \"127.0.0.1:9500\" } }\n";
    server.write("/etc/firewall/host.yaml", host)?;
    firewall.check(&["apply"])?;
    let serves = |port: u16| server.sh(&format!("curl -sf -m 2 http://127.0.0.1:{port}/")).is_ok();
    wait_until("the new address answers", Duration::from_secs(5), || Ok(serves(9500)))?;
    assert!(!serves(9477), "the old one answers still");
    server.write("/etc/firewall/host.yaml", "version: 1\nroles: [lab]\n")?;
    agent.signal(libc::SIGHUP)?;
    wait_until("the old address answers again", Duration::from_secs(10), || Ok(serves(9477)))?;
    Ok(())
}

#[test]
fn followers_of_events_leave_room_for_commands() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("followers")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let agent = firewall.agent()?;
    let followers = server.enter(|| -> Result<Vec<UnixStream>> {
        let follow = || -> Result<UnixStream> {
            let mut stream = UnixStream::connect(SOCKET)?;
            stream.write_all(b"{\"request\":\"events\",\"last\":0,\"follow\":true}\n")?;
            Ok(stream)
        };
        (0..40).map(|_| follow()).collect()
    })??;
    firewall.check(&["status"])?;
    drop(followers);

    // Without its socket nobody sees the agent; another one does not start all the same.
    let hidden = server.sh(&format!("mv {SOCKET} /run/firewall/hidden"));
    hidden.context("no socket")?;
    let said = firewall.refused(&["agent"], 1)?;
    assert!(said.contains("another agent runs: "), "{said}");
    server.sh(&format!("mv /run/firewall/hidden {SOCKET}"))?;

    // Who follows is told when there is nothing more to follow.
    let follower = server.spawn("follower", &mut firewall.command(&["events", "-f"]))?;
    std::thread::sleep(Duration::from_millis(500));
    agent.kill()?;
    let status = follower.wait(Duration::from_secs(5))?;
    ensure!(status.code() == Some(1), "{status}: {}", follower.log());
    assert!(follower.log().contains("the agent has gone"), "{}", follower.log());
    Ok(())
}
