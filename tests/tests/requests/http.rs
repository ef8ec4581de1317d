//! HTTP/1.x in clear: kept connections, short ones, long heads, bodies.

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;

use crate::site::{HOSTILE, POLICY, URLS, Web, ab, body, post, wrk};

#[test]
fn kept_connections_are_counted_exactly() -> Result<()> {
    let (web, firewall) = Web::guarded("keep-alive")?;
    let client = &web.pair.client;
    for url in URLS {
        web.exact(&format!("wrk, 32 connections, {url}"), &firewall, || {
            client.check(&mut wrk(client, url, 32, 2)?).map(drop)
        })?;
    }
    Ok(())
}

#[test]
fn a_connection_for_each_request_is_counted_exactly() -> Result<()> {
    let (web, firewall) = Web::guarded("short")?;
    for url in URLS {
        let requests = web.exact(&format!("ab without keep-alive, {url}"), &firewall, || {
            web.pair.client.check(&mut ab(url, 3000, 16, false)?).map(drop)
        })?;
        assert_eq!(requests, 3000);
    }
    Ok(())
}

#[test]
fn heads_of_several_segments_are_counted_exactly() -> Result<()> {
    let (web, firewall) = Web::guarded("cookie")?;
    let client = &web.pair.client;
    let cookie = "GET /evil HTTP/1.1; ".repeat(310);
    for url in URLS {
        web.exact(&format!("wrk with a cookie of 6 KB, {url}"), &firewall, || {
            let mut command = wrk(client, url, 16, 1)?;
            client.check(command.args(["-H", &format!("Cookie: {cookie}")])).map(drop)
        })?;
    }
    Ok(())
}

#[test]
fn bodies_are_not_counted_whatever_they_say() -> Result<()> {
    let (web, firewall) = Web::guarded("bodies")?;
    let suspects = || Ok(firewall.counters()?.rule("ingress", "http").requests["suspects"]);
    let harmless = b"The quick brown fox jumps over the lazy dog. 0123456789\n";
    let bodies: [(&str, &[u8]); 2] = [("harmless", harmless), ("hostile", HOSTILE)];
    for (name, line) in bodies {
        let file = body(&web.pair.client, name, line)?;
        for url in URLS {
            let before: u64 = suspects()?;
            web.exact(&format!("ab -k, POST of 100 KB, {name}, {url}"), &firewall, || {
                web.pair.client.check(&mut post(url, &file, 300)?).map(drop)
            })?;
            let suspect: Result<u64> = suspects();
            let suspect = suspect? - before;
            assert_eq!(suspect > 300, name == "hostile", "{suspect} segments looked like requests");
        }
    }
    Ok(())
}

#[test]
fn chunked_bodies_are_not_counted_either() -> Result<()> {
    gate::tool("curl", "curl")?;
    let (web, firewall) = Web::guarded("chunked")?;
    let file = body(&web.pair.client, "hostile", HOSTILE)?;
    let file = file.display();
    for url in URLS {
        let requests = web.exact(&format!("curl, chunked POST, hostile, {url}"), &firewall, || {
            let post = format!(
                "curl -gsf -H 'Transfer-Encoding: chunked' -H 'Expect:' --data-binary @{file} {url}post"
            );
            let script = format!("for n in $(seq 20); do {post} || exit 1; done");
            web.pair.client.sh(&script).map(drop)
        })?;
        assert_eq!(requests, 20);
    }
    Ok(())
}

/// There the kernel hands over what it or the sender has merged: segments of up to
/// 64 KiB.
#[test]
fn merged_segments_at_tc_are_counted_exactly() -> Result<()> {
    let web = Web::new("merged")?;
    let text = POLICY.replace("[\"eth*\"] }", "[\"eth*\"], ingress-hook: tc }");
    let firewall = Firewall::with_policy(&web.pair.server, &text)?;
    let client = &web.pair.client;
    let file = body(client, "hostile", HOSTILE)?;
    for url in URLS {
        let mut cookies = wrk(client, url, 16, 1)?;
        cookies.args(["-H", &format!("Cookie: {}", "GET /evil HTTP/1.1; ".repeat(310))]);
        let loads = [
            ("wrk", wrk(client, url, 32, 1)?),
            ("wrk with a cookie of 6 KB", cookies),
            ("ab without keep-alive", ab(url, 1000, 16, false)?),
            ("hostile POST of 100 KB", post(url, &file, 100)?),
        ];
        for (what, mut command) in loads {
            web.exact(&format!("at TC: {what}, {url}"), &firewall, || {
                client.check(&mut command).map(drop)
            })?;
        }
    }
    Ok(())
}
