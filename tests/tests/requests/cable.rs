//! A bad cable in front of the server: frames are lost, doubled and overtaken in
//! both directions, before the firewall has seen them.

use std::process::Command;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::Pair;
use firewall_tests::traffic::cable::{Cable, Faults};

use crate::dns;
use crate::loss::AGAIN;
use crate::mysql::Guarded;
use crate::site::{HOSTILE, POLICY, URLS, Web, ab, body, post, wrk};

/// Of a thousand frames.
const FAULTS: Faults = Faults { lost: 10, doubled: 30, late: 50 };

#[test]
fn http_over_a_bad_cable_is_counted_exactly() -> Result<()> {
    let (pair, cable) = Pair::over("bad-cable", FAULTS)?;
    let mut web = Web::on(pair)?;
    web.quiet = AGAIN;
    let firewall = Firewall::with_policy(&web.pair.server, POLICY)?;
    let client = &web.pair.client;
    let file = body(client, "hostile", HOSTILE)?;
    let cookie = format!("Cookie: {}", "GET / HTTP/1.1; ".repeat(380));
    for url in URLS {
        let cookies = || -> Result<Command> {
            let mut command = wrk(client, url, 16, 2)?;
            command.args(["-H", &cookie]);
            Ok(command)
        };
        let loads = [
            ("wrk", wrk(client, url, 32, 2)?),
            ("wrk with a cookie of 6 KB", cookies()?),
            ("ab without keep-alive", ab(url, 600, 32, false)?),
            ("hostile POST of 100 KB", post(url, &file, 40)?),
        ];
        for (what, mut command) in loads {
            web.exact(&format!("bad cable: {what}, {url}"), &firewall, || {
                client.check(&mut command).map(drop)
            })?;
        }
    }
    damaged(cable);
    Ok(())
}

#[test]
fn mysql_over_a_bad_cable_is_counted_exactly() -> Result<()> {
    let (pair, cable) = Pair::over("bad-cable-mysql", FAULTS)?;
    let guarded = Guarded::on(pair)?;
    let client = &guarded.pair.client;
    client.check(&mut guarded.sysbench("oltp_read_write", &[], "prepare")?)?;
    let text = ["--db-ps-mode=disable", "--threads=16"];
    guarded.count("bad cable: sysbench oltp_read_write, text", || {
        client.check(&mut guarded.sysbench("oltp_read_write", &text, "run")?).map(drop)
    })?;
    // It closes its statements all at once and leaves: what of that overtakes the
    // rest is a known loss, and no request.
    let prepared = ["--db-ps-mode=auto", "--threads=16"];
    let counted = guarded.measure("bad cable: sysbench oltp_read_write, prepared", || {
        client.check(&mut guarded.sysbench("oltp_read_write", &prepared, "run")?).map(drop)
    })?;
    let (server, firewall) = (&counted.server, &counted.firewall);
    assert_eq!(firewall["mysql_stmt_execute"], server["Com_stmt_execute"], "{counted:?}");
    assert_eq!(firewall["mysql_stmt_prepare"], server["Com_stmt_prepare"], "{counted:?}");
    damaged(cable);
    Ok(())
}

#[test]
fn dns_over_a_bad_cable_is_counted_exactly() -> Result<()> {
    // A datagram that comes twice is two queries to the server, too.
    let (pair, cable) = Pair::over("bad-cable-dns", FAULTS)?;
    let asked = dns::Asked::of(pair)?;
    for server in ["@192.0.2.10", "@2001:db8:1::10"] {
        for options in [&["+notcp"][..], &["+tcp"], &["+tcp", "+keepopen"]] {
            let (queries, logged, _) = asked.by(server, options)?;
            assert_eq!(queries, logged, "{server} {options:?}");
        }
    }
    damaged(cable);
    Ok(())
}

/// The cable was as bad as it was to be.
fn damaged(cable: Cable) {
    let damage = cable.cut();
    eprintln!("{damage:?}");
    for (what, frames) in
        [("lost", damage.lost), ("doubled", damage.doubled), ("late", damage.late)]
    {
        assert!(frames > 10, "{what}: {damage:?}");
    }
}
