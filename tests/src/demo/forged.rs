//! Packets that no stack would send: stolen source addresses, answers to
//! questions nobody asked, flags that cannot be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::agents::{Agents, added};
use super::attempts::Stop;
use super::book::{Book, Part};
use super::plan::{APP1, APP2, CLIENT, PRIMARY, RESOLVER, Tier, VIP, WEB1, WORLD};
use super::site::Site;
use crate::firewall::{Counters, Outcome, Way};
use crate::packet::{Ethernet, Frame, Tcp, Udp, flags};
use crate::traffic::raw::Raw;

/// How often each is sent.
const TIMES: u64 = 5;
/// Time for the last of them to arrive.
const ARRIVAL: Duration = Duration::from_millis(300);

/// A forged packet.
struct Forged {
    what: &'static str,
    /// Who sends it, by way of whose interface.
    from: &'static str,
    gateway: (&'static str, &'static str),
    addresses: (IpAddr, IpAddr),
    segment: Segment,
    stop: Stop,
    tier: Tier,
}

enum Segment {
    Tcp(Tcp),
    Udp(Udp),
}

/// All of them.
fn all() -> Vec<Forged> {
    let tcp = |source, destination, flags| {
        Segment::Tcp(Tcp { flags, acknowledgment: 1, ..Tcp::between(source, destination) })
    };
    let from_world = ("isp", "internet");
    let arriving = |at, by| Stop { at, way: "ingress", by };
    let answer = flags::ACK | flags::PSH;
    vec![
        Forged {
            what: "an answer of the primary's that comes from the world",
            from: "client",
            gateway: from_world,
            addresses: (PRIMARY.at.v4.into(), APP1.at.v4.into()),
            segment: tcp(3306, 50_000, answer),
            stop: arriving("app1", "tcp-no-flow"),
            tier: Tier::App,
        },
        Forged {
            what: "the same over IPv6",
            from: "client",
            gateway: from_world,
            addresses: (PRIMARY.at.v6.into(), APP2.at.v6.into()),
            segment: tcp(3306, 50_000, answer),
            stop: arriving("app2", "tcp-no-flow"),
            tier: Tier::App,
        },
        Forged {
            what: "SYN-ACK for a connection that nobody opened",
            from: "world",
            gateway: from_world,
            addresses: (WORLD.v4.into(), WEB1.at.v4.into()),
            segment: tcp(443, 50_000, flags::SYN | flags::ACK),
            stop: arriving("web1", "default-in"),
            tier: Tier::Web,
        },
        Forged {
            what: "a DNS answer that nobody asked for, from the resolver's address",
            from: "client",
            gateway: from_world,
            addresses: (RESOLVER.v4.into(), PRIMARY.at.v4.into()),
            segment: Segment::Udp(Udp::between(53, 50_000)),
            stop: arriving("db-primary", "default-in"),
            tier: Tier::Database,
        },
        Forged {
            what: "a segment without any flag, to the open port 443",
            from: "client",
            gateway: from_world,
            addresses: (CLIENT.v4.into(), VIP.v4.into()),
            segment: tcp(50_000, 443, 0),
            stop: arriving("lb", "malformed-tcp-flags"),
            tier: Tier::LoadBalancer,
        },
        Forged {
            what: "a segment from the site's own address to itself (LAND)",
            from: "client",
            gateway: from_world,
            addresses: (VIP.v6.into(), VIP.v6.into()),
            segment: tcp(443, 443, flags::SYN),
            stop: arriving("lb", "malformed-land"),
            tier: Tier::LoadBalancer,
        },
        Forged {
            what: "an answer from nginx's port to somebody who may not ask",
            from: "web1",
            gateway: ("router", "web"),
            addresses: (WEB1.at.v4.into(), WORLD.v4.into()),
            segment: tcp(80, 50_000, answer),
            stop: Stop { at: "web1", way: "egress", by: "default-out" },
            tier: Tier::Web,
        },
    ]
}

/// Sends them; each must be on the counter that stands for it.
pub(crate) fn check(site: &Site, agents: &Agents, book: &mut Book) -> Result<()> {
    let all: Vec<Forged> = all().into_iter().filter(|one| book.wants(&[one.tier])).collect();
    let before = agents.read()?;
    for forged in &all {
        forged.send(site).with_context(|| forged.what.to_owned())?;
    }
    thread::sleep(ARRIVAL);
    let drops = added(&before, &agents.read()?);
    let mut wanted: BTreeMap<Stop, u64> = BTreeMap::new();
    for forged in &all {
        *wanted.entry(forged.stop).or_default() += TIMES;
    }
    for forged in &all {
        let (sent, dropped) = (wanted[&forged.stop], forged.stop.count(&drops[forged.stop.at]));
        let look = || {
            ensure!(
                dropped == sent,
                "{sent} sent, {dropped} dropped by {}; drops there: {}",
                forged.stop.text(),
                reasons(&drops[forged.stop.at])
            );
            Ok(forged.stop.text())
        };
        book.note(Part::Blocked, forged.what, look());
    }
    Ok(())
}

/// What a server has dropped, by reason.
fn reasons(drops: &Counters) -> String {
    let dropped = drops.outcomes.iter().filter(|(_, one)| !one.passed && one.packets > 0);
    let text = |((_, way, reason), one): (&(String, Way, String), &Outcome)| {
        format!("{reason} ({way}) {}", one.packets)
    };
    dropped.map(text).collect::<Vec<_>>().join(", ")
}

impl Forged {
    fn send(&self, site: &Site) -> Result<()> {
        let mac = |host: &str, interface: &str| {
            let path = format!("/sys/class/net/{interface}/address");
            hardware_address(&site.host(host).enter(|| std::fs::read_to_string(path))??)
        };
        let link = Ethernet {
            source: mac(self.from, "eth0")?,
            destination: mac(self.gateway.0, self.gateway.1)?,
            ..Ethernet::default()
        };
        let frame = Frame::ethernet_with(link).ip(self.addresses.0, self.addresses.1);
        let frame = match &self.segment {
            Segment::Tcp(tcp) => frame.tcp(tcp.clone()),
            Segment::Udp(udp) => frame.udp(udp.clone()),
        };
        let wire = Raw::on(site.host(self.from), "eth0")?;
        (0..TIMES).try_for_each(|_| wire.offer(&frame.clone().payload(b"forged")).map(|_taken| ()))
    }
}

/// `02:00:5e:10:00:01` as bytes.
fn hardware_address(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .with_context(|| format!("no hardware address: {text}"))?;
    bytes.first_chunk().copied().with_context(|| format!("no hardware address: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read() {
        assert_eq!(hardware_address("02:00:5e:10:00:1f\n").unwrap(), [2, 0, 0x5e, 0x10, 0, 0x1f]);
        assert!(hardware_address("02:00").is_err() && hardware_address("x").is_err());
    }
}
