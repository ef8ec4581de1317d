//! DNS over UDP and TCP, beside the resolver's own log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::pair::{Pair, SERVER};
use firewall_tests::servers::Dnsmasq;

const POLICY: &str = "\
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups: { admin: [198.51.100.5, \"2001:db8:2::5\"] }
services:
  ssh: { tcp: 22 }
  dns: { udp: 53, tcp: 53, count: dns }
failsafe: { ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ] }
ingress: { allow: [ { name: dns, from: any, service: dns } ] }
egress: { allow: [] }
";

/// Names that the resolver knows; each is asked for five times.
const NAMES: usize = 20;

/// dnsmasq behind the firewall, and `dig` in front of it.
pub(crate) struct Asked {
    resolver: Dnsmasq,
    firewall: Firewall,
    dig: PathBuf,
    pair: Pair,
}

impl Asked {
    pub(crate) fn of(pair: Pair) -> Result<Self> {
        let dig = gate::tool("dig", "bind9-dnsutils")?;
        let names: Vec<String> =
            (0..NAMES).map(|number| format!("host{number}.example.com")).collect();
        let known: Vec<(&str, IpAddr)> =
            names.iter().map(|name| (name.as_str(), SERVER[0])).collect();
        let resolver = Dnsmasq::start(&pair.server, &SERVER, &known)?;
        let firewall = Firewall::with_policy(&pair.server, POLICY)?;
        let batch: String = names.iter().map(|name| format!("{name}\n")).collect();
        pair.client.write("/run/names", batch.repeat(5))?;
        Ok(Self { resolver, firewall, dig, pair })
    }

    /// Asks for all names, one after the other. Returns how many queries were
    /// counted, how many the resolver has logged, and all of the request counters.
    pub(crate) fn by(
        &self,
        server: &str,
        options: &[&str],
    ) -> Result<(u64, u64, BTreeMap<String, u64>)> {
        let asked = || self.resolver.process().log().matches(" query[").count() as u64;
        let (before, start) = (self.firewall.counters()?, asked());
        let mut command = Command::new(&self.dig);
        command.args([server, "+tries=3", "+time=2"]).args(options).args(["-f", "/run/names"]);
        self.pair.client.check(&mut command)?;
        sleep(Duration::from_millis(100));
        let since = self.firewall.counters()?.since(&before);
        let requests = since.rule("ingress", "dns").requests;
        let (queries, logged) = (requests["dns_queries"], asked() - start);
        eprintln!(
            "dig {server} {options:?}: {logged} queries in the log, {queries} counted, difference \
             {}; {requests:?}",
            i128::from(queries) - i128::from(logged)
        );
        Ok((queries, logged, requests))
    }
}

#[test]
fn queries_are_counted_exactly_over_udp_and_tcp() -> Result<()> {
    let asked = Asked::of(Pair::new("dns")?)?;
    for server in ["@192.0.2.10", "@2001:db8:1::10"] {
        for options in
            [&["+notcp"][..], &["+tcp"], &["+tcp", "+keepopen"], &["+notcp", "+bufsize=4096"]]
        {
            let (queries, logged, requests) = asked.by(server, options)?;
            assert_eq!((queries, logged), (100, 100), "{server} {options:?}");
            assert_eq!((requests["gaps"], requests["resyncs"]), (0, 0), "{requests:?}");
        }
    }
    Ok(())
}
