//! The firewall comes and changes while requests go on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_tests::firewall::Firewall;
use firewall_tests::pair;
use firewall_tests::traffic::PATIENCE;

use crate::site::{POLICY, URLS, Web, counted, wrk};

#[test]
fn policies_and_agents_that_change_under_load_lose_no_request() -> Result<()> {
    let (web, firewall) = Web::guarded("reload")?;
    let client = &web.pair.client;
    let other = POLICY.replace(
        "egress: { allow: [] }",
        "egress: { allow: [ { name: out, to: admin, service: ssh } ] }",
    );
    web.exact("wrk, while policies and agents change", &firewall, || {
        let mut agent = firewall.agent()?;
        let load = client.spawn("wrk", &mut wrk(client, URLS[0], 32, 5)?)?;
        for round in 0..4 {
            firewall.enforce(if round % 2 == 0 { &other } else { POLICY })?;
            if round % 2 == 0 {
                agent.kill()?;
                agent = firewall.agent()?;
            }
        }
        let ended = load.wait(Duration::from_secs(30))?;
        anyhow::ensure!(ended.success(), "{}", load.log());
        Ok(())
    })?;
    assert_eq!(firewall.generation()?, 5);
    Ok(())
}

#[test]
fn connections_that_were_open_before_are_counted_from_their_next_request() -> Result<()> {
    let web = Web::new("open-before")?;
    let mut open: Vec<TcpStream> = Vec::new();
    for number in 0..16 {
        let to = pair::server(80)[number % 2];
        let stream = web.pair.client.enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        open.push(stream);
    }
    for stream in &mut open {
        ask(stream)?;
    }
    let firewall = Firewall::with_policy(&web.pair.server, POLICY)?;
    let requests = web.exact("kept connections from before the first policy", &firewall, || {
        for _ in 0..20 {
            open.iter_mut().try_for_each(ask)?;
        }
        Ok(())
    })?;
    assert_eq!(requests, 16 * 20);
    Ok(())
}

#[test]
fn attached_in_the_middle_of_a_load_it_counts_what_comes_after() -> Result<()> {
    let web = Web::new("middle")?;
    let client = &web.pair.client;
    let firewall = Firewall::on(&web.pair.server)?;
    let start = Instant::now();
    let load = client.spawn("wrk", &mut wrk(client, URLS[1], 16, 60)?)?;
    sleep(Duration::from_millis(300));
    // Loading takes its time, attaching is the last of it.
    let apply = web.pair.server.spawn("apply", &mut applying(&firewall)?)?;
    let links = web.pair.server.path("/sys/fs/bpf/firewall/v6/links");
    let attached = || std::fs::read_dir(&links).is_ok_and(|mut links| links.next().is_some());
    // The hook is attached a moment before its link is pinned, so the reading
    // that counts as before is the one from 100 ms earlier.
    let mut readings = vec![web.nginx.requests()?];
    while !attached() {
        sleep(Duration::from_millis(100));
        readings.push(web.nginx.requests()?);
    }
    let before = readings[readings.len().saturating_sub(4)];
    apply.wait(Duration::from_secs(20))?;
    let behind = web.nginx.requests()?;
    sleep(Duration::from_millis(500));
    load.signal(libc::SIGINT)?;
    load.wait(Duration::from_secs(10))?;
    let all = web.settled()?;
    let counters = firewall.counters()?;
    let (least, most) = (all - behind, all - before);
    let counted = counted(&counters, "ingress");
    eprintln!(
        "wrk, attached in the middle: {counted} counted, {least} to {most} in the log behind, {:.1?}",
        start.elapsed()
    );
    assert!(least > 100, "the load had ended");
    // What was under way is in the log behind, and was not counted.
    assert!((least.saturating_sub(16)..=most).contains(&counted), "{counted}");
    Ok(())
}

fn applying(firewall: &Firewall) -> Result<std::process::Command> {
    firewall.write(POLICY)?;
    Ok(firewall.command(&["apply"]))
}

/// One request on a kept connection.
fn ask(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"says hello\n") {
        let length = stream.read(&mut buffer).context("no answer")?;
        anyhow::ensure!(length > 0, "the connection has ended");
        answer.extend_from_slice(&buffer[..length]);
    }
    Ok(())
}
