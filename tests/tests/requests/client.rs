//! This host as the client: requests are counted on their way out, among
//! super-packets and retransmissions of its own.

use std::time::Instant;

use anyhow::{Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;

use crate::loss::AGAIN;
use crate::site::{HOSTILE, URLS, Web, ab, body, counted, post, report, wrk};

const POLICY: &str = "\
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups: { admin: [198.51.100.5, \"2001:db8:2::5\"], web: [192.0.2.10, \"2001:db8:1::10\"] }
services:
  ssh: { tcp: 22 }
  http: { tcp: 80, count: http1 }
failsafe: { ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ] }
ingress: { allow: [] }
egress: { allow: [ { name: http, to: web, service: http } ] }
";

#[test]
fn requests_are_counted_exactly_on_their_way_out() -> Result<()> {
    let web = Web::new("outward")?;
    let firewall = Firewall::with_policy(&web.pair.client, POLICY)?;
    loads(&web, &firewall, "on the way out")
}

#[test]
fn requests_that_this_host_sends_again_count_once() -> Result<()> {
    gate::tool("nft", "nftables")?;
    let mut web = Web::new("outward-loss")?;
    web.quiet = AGAIN;
    let firewall = Firewall::with_policy(&web.pair.client, POLICY)?;
    web.pair.server.sh("nft add table inet lossy; \
         nft add chain inet lossy input '{ type filter hook input priority 0; }'; \
         nft add rule inet lossy input tcp dport 80 numgen random mod 100 == 0 drop")?;
    loads(&web, &firewall, "on the way out, 1 % lost behind it")
}

fn loads(web: &Web, firewall: &Firewall, how: &str) -> Result<()> {
    let client = &web.pair.client;
    let file = body(client, "hostile", HOSTILE)?;
    let cookie = format!("Cookie: {}", "x".repeat(6000));
    let long = || -> Result<_> {
        let mut command = wrk(client, URLS[0], 16, 1)?;
        command.args(["-H", &cookie]);
        Ok(command)
    };
    let loads = [
        ("wrk", wrk(client, URLS[0], 32, 2)?),
        ("wrk on IPv6", wrk(client, URLS[1], 32, 1)?),
        ("wrk with a cookie of 6 KB", long()?),
        ("ab without keep-alive", ab(URLS[1], 1000, 32, false)?),
        ("hostile POST of 100 KB", post(URLS[0], &file, 200)?),
    ];
    for (what, mut command) in loads {
        let start = Instant::now();
        let (before, logged) = (firewall.counters()?, web.nginx.requests()?);
        client.check(&mut command)?;
        let requests = web.settled()? - logged;
        let since = firewall.counters()?.since(&before);
        report(&format!("{how}: {what}"), &since, "egress", requests, start.elapsed());
        ensure!(counted(&since, "egress") == requests, "{how}: {what}: {since:?}");
    }
    Ok(())
}
