//! One packet in a hundred is lost, before the firewall has seen it or after.

use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::host::Host;

use crate::site::{HOSTILE, URLS, Web, ab, body, post, wrk};

/// Longer than a segment that was lost waits before it is sent again, twice: what
/// was under way when a load ended arrives at the server, too.
pub(crate) const AGAIN: Duration = Duration::from_millis(900);

#[test]
fn retransmissions_that_the_firewall_sees_twice_count_once() -> Result<()> {
    let (mut web, firewall) = Web::guarded("lost-after")?;
    web.quiet = AGAIN;
    lose(&web.pair.server, &["input"])?;
    loads(&web, &firewall, "1 % lost behind the firewall")?;
    Ok(())
}

#[test]
fn retransmissions_of_what_it_never_saw_count_once() -> Result<()> {
    let (mut web, firewall) = Web::guarded("lost-before")?;
    web.quiet = AGAIN;
    lose(&web.pair.client, &["output", "input"])?;
    loads(&web, &firewall, "1 % lost before the firewall, both ways")?;
    Ok(())
}

fn loads(web: &Web, firewall: &Firewall, how: &str) -> Result<()> {
    let client = &web.pair.client;
    let file = body(client, "hostile", HOSTILE)?;
    for url in URLS {
        web.exact(&format!("{how}: wrk, {url}"), firewall, || {
            client.check(&mut wrk(client, url, 64, 2)?).map(drop)
        })?;
    }
    web.exact(&format!("{how}: ab without keep-alive"), firewall, || {
        client.check(&mut ab(URLS[0], 1000, 64, false)?).map(drop)
    })?;
    web.exact(&format!("{how}: hostile POST of 100 KB"), firewall, || {
        client.check(&mut post(URLS[1], &file, 60)?).map(drop)
    })?;
    Ok(())
}

/// Drops one packet in a hundred in these hooks of a host's own netfilter.
fn lose(host: &Host, hooks: &[&str]) -> Result<()> {
    let nft = gate::tool("nft", "nftables")?;
    let mut rules = "table inet lossy {\n".to_owned();
    for hook in hooks {
        rules.push_str(&format!(
            "chain {hook} {{ type filter hook {hook} priority 0; \
             tcp dport != 8081 tcp sport != 8081 numgen random mod 100 == 0 drop; }}\n"
        ));
    }
    rules.push('}');
    host.write("/run/lossy.nft", rules)?;
    host.sh(&format!("{} -f /run/lossy.nft", nft.display()))?;
    Ok(())
}
