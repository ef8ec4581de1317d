//! The smallest lab: a server and one who wants something of it.
//!
//! The two are on one cable, in networks of their own, with the addresses of
//! [`packet`](crate::packet), so that a frame built there arrives here. The
//! client has further addresses, for those who are treated otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;

use crate::host::Host;
use crate::lab::Lab;
use crate::network::Port;
use crate::packet::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use crate::traffic::cable::{Cable, Faults};

/// An administrator, also on the client.
pub const ADMIN4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
/// As [`ADMIN4`].
pub const ADMIN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 5);
/// Somebody whom no group names, also on the client.
pub const STRANGER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
/// As [`STRANGER4`], in a network of its own.
pub const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0x66, 0, 0, 0, 0x66);

/// Both addresses of the client.
pub const CLIENT: [IpAddr; 2] = [IpAddr::V4(CLIENT4), IpAddr::V6(CLIENT6)];
/// Both addresses of the server.
pub const SERVER: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];
/// Both addresses of the administrator.
pub const ADMIN: [IpAddr; 2] = [IpAddr::V4(ADMIN4), IpAddr::V6(ADMIN6)];
/// Both addresses of the stranger.
pub const STRANGER: [IpAddr; 2] = [IpAddr::V4(STRANGER4), IpAddr::V6(STRANGER6)];

/// A server and a client on a cable, `eth0` at both ends.
#[derive(Debug)]
pub struct Pair {
    /// The server: the firewall goes here.
    pub server: Host,
    /// The client: has no firewall, unless a test gives it one.
    pub client: Host,
    /// Holds both.
    pub lab: Lab,
}

impl Pair {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// If the machine cannot hold a lab.
    pub fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (server, client) = (lab.host("server")?, lab.host("client")?);
        lab.connect(&server_port(&server), &client_port(&client))?;
        Self { server, client, lab }.routed()
    }

    /// Starts them with a bad cable between them.
    ///
    /// # Errors
    ///
    /// As [`Pair::new`].
    pub fn over(name: &str, faults: Faults) -> Result<(Self, Cable)> {
        let lab = Lab::new(name)?;
        let (server, client) = (lab.host("server")?, lab.host("client")?);
        let middle = lab.host("middle")?;
        middle.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        middle.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        lab.connect(&server_port(&server), &middle.port("left"))?;
        lab.connect(&client_port(&client), &middle.port("right"))?;
        // Each frame is to have a fate of its own.
        for host in [&server, &client] {
            host.ip(&["link", "set", "dev", "eth0", "gso_max_segs", "1"])?;
        }
        let cable = Cable::between(&middle, ["left", "right"], faults)?;
        Ok((Self { server, client, lab }.routed()?, cable))
    }

    fn routed(self) -> Result<Self> {
        for network in ["198.51.100.0/24", "2001:db8:2::/48"] {
            self.server.ip(&["route", "add", network, "dev", "eth0"])?;
        }
        let (v4, v6) = (CLIENT4.to_string(), CLIENT6.to_string());
        for (network, source) in [("192.0.2.0/24", v4), ("2001:db8:1::/64", v6)] {
            self.client.ip(&["route", "add", network, "dev", "eth0", "src", &source])?;
        }
        Ok(self)
    }
}

fn server_port(server: &Host) -> Port {
    server
        .port("eth0")
        .mac("02:00:5e:10:00:10")
        .address(&format!("{SERVER4}/24"))
        .address(&format!("{SERVER6}/64"))
}

fn client_port(client: &Host) -> Port {
    client
        .port("eth0")
        .mac("02:00:5e:10:00:20")
        .address(&format!("{CLIENT4}/24"))
        .address(&format!("{ADMIN4}/24"))
        .address(&format!("{STRANGER4}/24"))
        .address(&format!("{CLIENT6}/64"))
        .address(&format!("{ADMIN6}/64"))
        .address(&format!("{STRANGER6}/64"))
}

/// A port of the server, at both of its addresses.
#[must_use]
pub fn server(port: u16) -> [SocketAddr; 2] {
    SERVER.map(|address| SocketAddr::new(address, port))
}

/// A port of the client, at both of its addresses.
#[must_use]
pub fn client(port: u16) -> [SocketAddr; 2] {
    CLIENT.map(|address| SocketAddr::new(address, port))
}
