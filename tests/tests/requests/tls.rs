//! TLS: what is inside cannot be read, so handshakes are counted, and each of them
//! once.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::pair::Pair;
use firewall_tests::servers::{Certificate, Nginx, Site};

use crate::site::wrk;

const POLICY: &str = "\
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups: { admin: [198.51.100.5, \"2001:db8:2::5\"] }
services:
  ssh: { tcp: 22 }
  https: { tcp: 443, count: tls }
failsafe: { ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ] }
ingress: { allow: [ { name: https, from: any, service: https } ] }
egress: { allow: [] }
";

#[test]
fn handshakes_are_counted_exactly() -> Result<()> {
    let Pair { server, client, lab } = Pair::new("tls")?;
    let certificate = Certificate::self_signed(lab.directory(), "www.example.com")?;
    let site = Site {
        ports: Vec::new(),
        tls: Some((vec![443], certificate)),
        // A curve that no client offers first, so that TLS 1.3 asks for a second
        // hello unless the client is told.
        http: "ssl_session_cache shared:all:1m;\nssl_ecdh_curve prime256v1;\n\
               ssl_protocols TLSv1.2 TLSv1.3;"
            .into(),
        ..Site::default()
    };
    let nginx = Nginx::start(&server, &site)?;
    let firewall = Firewall::with_policy(&server, POLICY)?;
    let openssl = gate::tool("openssl", "openssl")?;
    gate::tool("curl", "curl")?;
    let (v4, v6) = ("https://192.0.2.10/", "https://[2001:db8:1::10]/");
    let shell = |text: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    };
    let each = |options: &str, url: &str| {
        shell(&format!(
            "for n in $(seq 30); do curl -gsfk {options} -o /dev/null '{url}' || exit 1; done"
        ))
    };
    let resumed = |version: &str, address: &str| {
        shell(&format!(
            "for n in 1 2 3 4 5; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | {} s_client -quiet -ign_eof \
             -{version} -groups P-256 -sess_out /run/session \
             $(test -s /run/session && echo -sess_in /run/session) -connect {address}:443 \
             >/dev/null 2>&1; done; rm -f /run/session",
            openssl.display()
        ))
    };
    let loads = [
        ("TLS 1.2", each("--tls-max 1.2", v4), 30),
        ("TLS 1.3", each("--tlsv1.3 --curves P-256", v6), 30),
        ("TLS 1.3, second hello asked for", each("--tlsv1.3 --curves X25519:P-256", v4), 30),
        (
            "three requests each",
            shell(&format!("for n in 1 2 3 4; do curl -gsfk '{v6}' '{v6}' '{v6}' || exit 1; done")),
            4,
        ),
        ("kept connections", wrk(&client, v4, 16, 1)?, 16),
        ("kept connections, IPv6", wrk(&client, v6, 16, 1)?, 16),
        // A hello of four segments, of which the others look like anything.
        ("a long hello", long_hello(&openssl), 5),
        ("resumed, TLS 1.2", resumed("tls1_2", "192.0.2.10"), 5),
        ("resumed, TLS 1.3", resumed("tls1_3", "[2001:db8:1::10]"), 5),
    ];
    for (what, mut command, connections) in loads {
        let (before, start) = (firewall.counters()?, connected(&nginx)?);
        client.check(&mut command)?;
        sleep(Duration::from_millis(150));
        let since = firewall.counters()?.since(&before);
        let rule = since.rule("ingress", "https");
        let (handshakes, logged) = (rule.requests["handshakes"], connected(&nginx)? - start);
        eprintln!(
            "{what}: {logged} connections in the log, {handshakes} handshakes counted, difference {}; \
             {} suspect, {} packets",
            i128::from(handshakes) - i128::from(logged),
            rule.requests["suspects"],
            rule.packets,
        );
        assert_eq!((handshakes, logged), (connections, connections), "{what}: {since:?}");
    }
    Ok(())
}

/// Five connections that offer so many protocols that the hello fills segments.
fn long_hello(openssl: &Path) -> Command {
    let protocols: Vec<String> =
        (0..25).map(|number| format!("{}{number}", "x".repeat(200))).collect();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!(
            "for n in 1 2 3 4 5; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | {} s_client -quiet -ign_eof \
             -tls1_3 -alpn http/1.1,{} -groups P-256 -connect 192.0.2.10:443 >/dev/null 2>&1; done",
            openssl.display(),
            protocols.join(",")
        ),
    ]);
    command
}

/// Connections that have had an answer, by nginx's own numbers for them.
fn connected(nginx: &Nginx) -> Result<u64> {
    let log = std::fs::read_to_string(nginx.access_log()).context("no access log")?;
    let numbers: BTreeSet<&str> = log.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    Ok(numbers.len() as u64)
}
