//! The site's networks: hosts, switches, cables and routes.
//!
//! ```text
//! client  world  abuser      admin                  lb ─── eth1
//!      \    |    /             |                    | eth0   │
//!       internet ───────────  isp ═══ MTU 1400 ═══ router ───┤ 203.0.113.0/24, 10.0.1.0/24
//!                                                    ├ web   web1 web2             10.0.2.0/24
//!                                                    ├ app   app1 app2             10.0.3.0/24
//!                                                    ├ db    db-primary db-replica 10.0.4.0/24
//!                                                    └ mgmt  bastion prometheus services stranger
//! ```
//!
//! Routers forward everything, from anybody to anybody: only the servers' own
//! firewalls stand between.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;

use anyhow::{Context as _, Result};

use super::plan::{
    ABUSER, ADMIN, APP1, APP2, Addresses, BACKUP, BASTION, CLIENT, LB, METADATA, MIRROR, PRIMARY,
    PROMETHEUS, REPLICA, RESOLVER, STRANGER, TIME, VIP, WEB1, WEB2, WORLD,
};
use crate::host::Host;
use crate::lab::Lab;
use crate::network::{Port, Switch};

/// The narrow hop between the world and the site, bytes.
pub(crate) const NARROW: u32 = 1400;

const HOSTS: [&str; 17] = [
    "lb",
    "web1",
    "web2",
    "app1",
    "app2",
    "db-primary",
    "db-replica",
    "bastion",
    "prometheus",
    "services",
    "stranger",
    "client",
    "world",
    "abuser",
    "admin",
    "isp",
    "router",
];
const SWITCHES: [&str; 5] = ["internet", "web", "app", "db", "mgmt"];

/// The running networks.
#[derive(Debug)]
pub(crate) struct Network {
    lab: Lab,
    hosts: BTreeMap<String, Host>,
}

impl Network {
    /// Makes every host and lays every cable.
    pub(crate) fn build() -> Result<Self> {
        let lab = Lab::new("demo")?;
        let hosts = together(&HOSTS, |name| lab.host(name))?;
        let switches = together(&SWITCHES, |name| lab.switch(&format!("{name}-lan")))?;
        let hosts = HOSTS.map(str::to_owned).into_iter().zip(hosts).collect();
        let network = Self { lab, hosts };
        let switches: BTreeMap<_, _> = SWITCHES.into_iter().zip(switches).collect();
        network.cable(&switches)?;
        network.route()?;
        Ok(network)
    }

    /// The run of the lab.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A host by its name.
    pub(crate) fn host(&self, name: &str) -> &Host {
        &self.hosts[name]
    }

    /// A host by its name, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    fn port(&self, host: &str, interface: &str, at: Addresses, v4_bits: u8) -> Port {
        let (v4, v6) = (format!("{}/{v4_bits}", at.v4), format!("{}/64", at.v6));
        self.host(host).port(interface).address(&v4).address(&v6)
    }

    fn cable(&self, switches: &BTreeMap<&str, Switch>) -> Result<()> {
        for (switch, gateway, members) in [
            ("web", WEB1.at, &[("web1", WEB1.at), ("web2", WEB2.at)][..]),
            ("app", APP1.at, &[("app1", APP1.at), ("app2", APP2.at)]),
            ("db", PRIMARY.at, &[("db-primary", PRIMARY.at), ("db-replica", REPLICA.at)]),
            (
                "mgmt",
                BASTION.at,
                &[
                    ("bastion", BASTION.at),
                    ("prometheus", PROMETHEUS.at),
                    ("services", RESOLVER),
                    ("stranger", STRANGER),
                ],
            ),
        ] {
            switches[switch].plug(&self.port("router", switch, first_of(gateway), 24))?;
            for (host, at) in members {
                let mut port = self.port(host, "eth0", *at, 24);
                if *host == "services" {
                    for more in [TIME, MIRROR, BACKUP] {
                        port = port
                            .address(&format!("{}/24", more.v4))
                            .address(&format!("{}/64", more.v6));
                    }
                }
                switches[switch].plug(&port)?;
            }
        }
        self.lab.connect(
            &self.port("router", "public", first_of(VIP), 24),
            &self.port("lb", "eth0", VIP, 24),
        )?;
        self.lab.connect(
            &self.port("router", "inside", first_of(LB.at), 24),
            &self.port("lb", "eth1", LB.at, 24),
        )?;
        let internet = &switches["internet"];
        let isp = self.port("isp", "internet", gateway_of(CLIENT), 24);
        internet.plug(&isp.address("2001:db8:bad::fe/64"))?;
        internet.plug(&self.port("client", "eth0", CLIENT, 24))?;
        internet.plug(&self.port("world", "eth0", WORLD, 24))?;
        internet.plug(&self.host("abuser").port("eth0").address(&format!("{ABUSER}/64")))?;
        self.lab.connect(
            &self.port("isp", "admin", gateway_of(ADMIN), 28),
            &self.port("admin", "eth0", ADMIN, 28),
        )?;
        let narrow = |host: &str, n: u8| {
            let (v4, v6) = (format!("198.18.0.{n}/30"), format!("2001:db8:fff::{n}/64"));
            self.host(host).port("wan").address(&v4).address(&v6).mtu(NARROW)
        };
        self.lab.connect(&narrow("isp", 1), &narrow("router", 2))
    }

    fn route(&self) -> Result<()> {
        for router in ["isp", "router"] {
            let host = self.host(router);
            host.forward()?;
            // They know where everything is, and check nothing.
            for which in ["all", "default", "wan"] {
                host.sysctl(&format!("net.ipv4.conf.{which}.rp_filter"), "0")?;
            }
        }
        let router = self.host("router");
        router.ip(&["address", "add", &format!("{METADATA}/32"), "dev", "lo"])?;
        router.route("default", "198.18.0.1")?;
        router.route("default", "2001:db8:fff::1")?;
        let isp = self.host("isp");
        for network in ["10.0.0.0/8", "203.0.113.0/24"] {
            isp.route(network, "198.18.0.2")?;
        }
        for network in ["fd00:f00::/32", "2001:db8:f00::/48"] {
            isp.route(network, "2001:db8:fff::2")?;
        }
        for (host, at) in [
            ("web1", WEB1.at),
            ("web2", WEB2.at),
            ("app1", APP1.at),
            ("app2", APP2.at),
            ("db-primary", PRIMARY.at),
            ("db-replica", REPLICA.at),
            ("bastion", BASTION.at),
            ("prometheus", PROMETHEUS.at),
            ("services", RESOLVER),
            ("stranger", STRANGER),
        ] {
            self.default(host, first_of(at))?;
        }
        for (host, at) in [("client", CLIENT), ("world", WORLD), ("admin", ADMIN)] {
            self.default(host, gateway_of(at))?;
        }
        self.host("abuser").route("default", "2001:db8:bad::fe")?;
        self.default("lb", first_of(VIP))?;
        let inside = first_of(LB.at);
        self.host("lb").route("10.0.0.0/16", &inside.v4.to_string())?;
        self.host("lb").route("fd00:f00::/32", &inside.v6.to_string())
    }

    fn default(&self, host: &str, gateway: Addresses) -> Result<()> {
        self.host(host).route("default", &gateway.v4.to_string())?;
        self.host(host).route("default", &gateway.v6.to_string())
    }
}

/// The first address of the networks of `at`: the router's, inside the site.
fn first_of(at: Addresses) -> Addresses {
    let v4 = at.v4.to_bits() & !0xff | 1;
    let v6 = at.v6.to_bits() >> 80 << 80 | 1;
    Addresses { v4: Ipv4Addr::from_bits(v4), v6: Ipv6Addr::from_bits(v6) }
}

/// The provider's address in the networks of `at`.
fn gateway_of(at: Addresses) -> Addresses {
    let v6 = at.v6.to_bits() >> 80 << 80 | 0xfe;
    Addresses { v6: Ipv6Addr::from_bits(v6), ..first_of(at) }
}

/// Does the same for each of `names`, all at once.
fn together<T: Send>(names: &[&str], work: impl Fn(&str) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || work(name))).collect();
        threads
            .into_iter()
            .zip(names)
            .map(|(thread, name)| {
                thread.join().ok().with_context(|| format!("{name}: its thread failed"))?
            })
            .collect()
    })
}
