//! DNS over UDP and TCP, beside the resolver's own log.

use std::net::IpAddr;
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

#[test]
fn queries_are_counted_exactly_over_udp_and_tcp() -> Result<()> {
    let dig = gate::tool("dig", "bind9-dnsutils")?;
    let Pair { server, client, lab: _lab } = Pair::new("dns")?;
    let address: IpAddr = SERVER[0];
    let names: Vec<String> = (0..20).map(|number| format!("host{number}.example.com")).collect();
    let known: Vec<(&str, IpAddr)> = names.iter().map(|name| (name.as_str(), address)).collect();
    let resolver = Dnsmasq::start(&server, &SERVER, &known)?;
    let firewall = Firewall::with_policy(&server, POLICY)?;
    let asked = || resolver.process().log().matches(" query[").count() as u64;
    // One dig asks for all of them; with +keepopen over one connection.
    let batch: String = names.iter().map(|name| format!("{name}\n")).collect();
    client.write("/run/names", batch.repeat(5))?;
    for server in ["@192.0.2.10", "@2001:db8:1::10"] {
        for options in
            [&["+notcp"][..], &["+tcp"], &["+tcp", "+keepopen"], &["+notcp", "+bufsize=4096"]]
        {
            let (before, start) = (firewall.counters()?, asked());
            let mut command = Command::new(&dig);
            command.args([server, "+tries=1", "+time=5"]).args(options).args(["-f", "/run/names"]);
            client.check(&mut command)?;
            sleep(Duration::from_millis(100));
            let since = firewall.counters()?.since(&before);
            let requests = since.rule("ingress", "dns").requests;
            let (queries, logged) = (requests["dns_queries"], asked() - start);
            eprintln!(
                "dig {server} {options:?}: {logged} queries in the log, {queries} counted, difference \
                 {}; {requests:?}",
                i128::from(queries) - i128::from(logged)
            );
            assert_eq!((queries, logged), (100, 100), "{server} {options:?}");
            assert_eq!((requests["gaps"], requests["resyncs"]), (0, 0), "{requests:?}");
        }
    }
    Ok(())
}
