//! Connections that the kernel knows late: a request may come before there is a
//! socket for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::packet::{CLIENT4, Frame, Ipv4, SERVER4, Tcp};
use firewall_tests::pair::Pair;
use firewall_tests::servers::{Nginx, Site};
use firewall_tests::traffic::raw::Raw;

use crate::loss::AGAIN;
use crate::site::{POLICY, URLS, Web, ab};

/// With cookies the kernel keeps nothing of a SYN: the connection begins with the
/// client's first segment behind it, which may well be the request.
#[test]
fn requests_that_complete_a_handshake_by_cookie_are_counted_exactly() -> Result<()> {
    gate::tool("nft", "nftables")?;
    let (mut web, firewall) = Web::guarded("cookies")?;
    web.quiet = AGAIN;
    web.pair.server.sysctl("net.ipv4.tcp_syncookies", "2")?;
    for lost in [0, 50] {
        web.pair.client.sh(&format!(
            "nft flush ruleset; nft add table inet lossy; \
             nft add chain inet lossy output '{{ type filter hook output priority 0; }}'; \
             nft add rule inet lossy output tcp dport 80 \
             'tcp flags & (syn | ack | psh | fin | rst) == ack' \
             numgen random mod 100 '<' {lost} drop"
        ))?;
        for url in URLS {
            let what = format!("ab, cookies, {lost} % of bare ACKs lost, {url}");
            let requests = web.exact(&what, &firewall, || {
                web.pair.client.check(&mut ab(url, 1000, 16, false)?).map(drop)
            })?;
            assert_eq!(requests, 1000);
        }
    }
    Ok(())
}

#[test]
fn requests_under_a_syn_flood_are_counted_exactly() -> Result<()> {
    let pair = Pair::new("syn-flood")?;
    // So that the server tries to answer everybody, and soon has no room.
    pair.server.route("default", &CLIENT4.to_string())?;
    pair.server.sysctl("net.ipv4.tcp_max_syn_backlog", "64")?;
    let site = Site {
        ports: Vec::new(),
        server: "listen 80 backlog=64; listen [::]:80 backlog=64;".into(),
        ..Site::default()
    };
    let nginx = Nginx::start(&pair.server, &site)?;
    let web = Web { quiet: AGAIN, nginx, pair };
    let firewall = Firewall::with_policy(&web.pair.server, POLICY)?;
    let client = &web.pair.client;
    let raw = Raw::sender(client, "eth0")?;
    let stop = AtomicBool::new(false);
    let flooded = thread::scope(|scope| {
        let flood = scope.spawn(|| -> Result<u64> {
            let mut sent = 0;
            for number in (0..60_000_u32).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let header = Tcp { sequence: number, ..Tcp::between(1024, 80) };
                let frame = Frame::ethernet()
                    .ipv4(Ipv4::between((0xc612_0000 + number).into(), SERVER4))
                    .tcp(header);
                sent += u64::from(raw.send(&frame)?);
                if number % 16 == 0 {
                    thread::sleep(Duration::from_micros(200));
                }
            }
            Ok(sent)
        });
        let counted = web.exact("ab, under a SYN flood", &firewall, || {
            client.check(&mut ab(URLS[0], 2000, 32, false)?).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().unwrap_or(Ok(0))?;
        counted.map(|_| sent)
    })?;
    let line = web.pair.server.sh("nstat -asz TcpExtSyncookiesRecv | tail -1")?;
    let cookies: u64 = line.split_whitespace().nth(1).context("no counter")?.parse()?;
    eprintln!("{flooded} SYNs sent, {cookies} connections by cookie");
    assert!(cookies > 1000, "the server had room for everybody: {line}");
    Ok(())
}
