//! DNS over UDP and TCP, beside the resolver's own log.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::pair::{self, Pair, SERVER};
use firewall_tests::servers::Dnsmasq;
use firewall_tests::traffic::PATIENCE;

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
        let mut command = Command::new(&self.dig);
        command.args([server, "+tries=3", "+time=2"]).args(options).args(["-f", "/run/names"]);
        self.during(&format!("dig {server} {options:?}"), || {
            self.pair.client.check(&mut command).map(drop)
        })
    }

    /// What was counted and logged while a load ran.
    fn during(
        &self,
        what: &str,
        load: impl FnOnce() -> Result<()>,
    ) -> Result<(u64, u64, BTreeMap<String, u64>)> {
        let asked = || self.resolver.process().log().matches(" query[").count() as u64;
        let (before, start) = (self.firewall.counters()?, asked());
        load()?;
        sleep(Duration::from_millis(100));
        let since = self.firewall.counters()?.since(&before);
        let requests = since.rule("ingress", "dns").requests;
        let (queries, logged) = (requests["dns_queries"], asked() - start);
        eprintln!(
            "{what}: {logged} queries in the log, {queries} counted, difference \
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

#[test]
fn queries_sent_at_once_or_byte_by_byte_are_counted_exactly() -> Result<()> {
    let asked = Asked::of(Pair::new("dns-stream")?)?;
    let query = |number: usize| {
        let name = format!("host{number}");
        let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(name.len())?];
        message.extend(name.bytes());
        message.extend(b"\x07example\x03com\0\0\x01\0\x01");
        let mut framed = u16::try_from(message.len())?.to_be_bytes().to_vec();
        framed.extend(message);
        anyhow::Ok(framed)
    };
    for to in pair::server(53) {
        let (queries, logged, requests) =
            asked.during(&format!("40 in one segment, 2 byte by byte, {to}"), || {
                let client = &asked.pair.client;
                let mut stream = client.enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let all: Vec<Vec<u8>> =
                    (0..40).map(|number| query(number % NAMES)).collect::<Result<_>>()?;
                stream.write_all(&all.concat())?;
                (0..40).try_for_each(|_| hear(&mut stream))?;
                for _ in 0..2 {
                    for byte in query(1)? {
                        stream.write_all(&[byte])?;
                        sleep(Duration::from_millis(1));
                    }
                    hear(&mut stream)?;
                }
                Ok(())
            })?;
        assert_eq!((queries, logged), (42, 42));
        assert_eq!((requests["gaps"], requests["resyncs"]), (0, 0), "{requests:?}");
    }
    Ok(())
}

/// Reads one answer.
fn hear(stream: &mut TcpStream) -> Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    stream.read_exact(&mut vec![0; u16::from_be_bytes(length).into()])?;
    Ok(())
}
