//! Counters of the firewall and of the kernel at the same moment.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::demo::agents::Agents;
use crate::demo::plan::LB;
use crate::demo::site::Site;
use crate::firewall::{Counters, Firewall};
use crate::host::Host;
use crate::traffic::truth::{Link, Snmp};

/// How often a reading is made again, until no packet has come between.
const TRIES: usize = 40;

/// One server at one moment, or what was added between two.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// The firewall's counters.
    pub(super) counters: Counters,
    /// `ip -s link`, by interface.
    pub(super) links: BTreeMap<String, Link>,
    /// Packets that the kernel's protocols have sent.
    pub(super) sent: u64,
    /// First packets of TCP connections that were sent again, SYN or SYN-ACK.
    pub(super) syn_again: u64,
    /// No packet came between the readings of firewall and kernel.
    pub(super) steady: bool,
}

/// All servers.
#[derive(Debug)]
pub(super) struct Moments(BTreeMap<&'static str, Moment>);

impl Moments {
    /// Reads every server.
    pub(super) fn read(site: &Site, agents: &Agents) -> Result<Self> {
        agents.each(|firewall| Moment::read(site.host(firewall.host().name()), firewall)).map(Self)
    }

    /// What was added since `before`.
    pub(super) fn since(self, before: &Self) -> Self {
        let added = |(name, now): (&'static str, Moment)| match before.0.get(name) {
            Some(old) => (name, now.since(old)),
            None => (name, now),
        };
        Self(self.0.into_iter().map(added).collect())
    }

    /// A server's.
    pub(super) fn of(&self, server: &str) -> &Moment {
        &self.0[server]
    }
}

impl Moment {
    fn read(host: &Host, firewall: &Firewall) -> Result<Self> {
        let interfaces: &[&str] =
            if host.name() == LB.name { &["eth0", "eth1"] } else { &["eth0"] };
        let links = || -> Result<BTreeMap<String, Link>> {
            interfaces.iter().map(|name| Ok(((*name).to_owned(), Link::of(host, name)?))).collect()
        };
        let mut tries = 0;
        loop {
            let before = links()?;
            let counters = firewall.counters()?;
            let snmp = Snmp::of(host)?;
            let links = links()?;
            tries += 1;
            let steady = before == links;
            if steady || tries == TRIES {
                let (sent, syn_again) = (sent(&snmp), snmp.get("TcpExt.TCPSynRetrans"));
                return Ok(Self { counters, links, sent, syn_again, steady });
            }
        }
    }

    fn since(&self, before: &Self) -> Self {
        let link = |(name, now): (&String, &Link)| {
            let old = before.links.get(name).copied().unwrap_or_default();
            (name.clone(), now.since(&old))
        };
        Self {
            counters: self.counters.since(&before.counters),
            links: self.links.iter().map(link).collect(),
            sent: self.sent - before.sent,
            syn_again: self.syn_again - before.syn_again,
            steady: self.steady && before.steady,
        }
    }
}

/// Packets that the kernel has made: TCP segments as they go on the wire, however
/// many of them one super-packet holds, and those sent again, which are counted
/// apart; datagrams, and ICMP of both families. ARP is not among them.
fn sent(snmp: &Snmp) -> u64 {
    let all = [
        "Tcp.OutSegs",
        "Tcp.RetransSegs",
        "Udp.OutDatagrams",
        "Udp6OutDatagrams",
        "Icmp.OutMsgs",
        "Icmp6OutMsgs",
    ];
    all.iter().map(|name| snmp.get(name)).sum()
}
