//! Flows that were open before the first enforcement.
//!
//! Without them the replies to running outbound connections would be dropped the
//! moment the policy starts. Inbound connections need none: their packets are
//! judged one by one.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::abi::flow::{Flow, FlowKey};
use firewall_common::abi::tables::Cell;
use firewall_common::packet::Address;
use firewall_common::service::proto;
use procfs::net::TcpState;

use super::flows::{Flows, Idle};
use super::maps::Maps;

/// Writes an entry for every open socket that this host opened; returns how
/// many.
///
/// A connection counts as opened here unless a socket listens on its local
/// port: `accept` leaves the local port that of the listener.
///
/// # Errors
/// If the sockets cannot be listed or the table refuses an entry.
pub fn seed(maps: &Maps, idle: Idle) -> Result<usize> {
    let mut flows = Flows::open(maps, idle)?;
    let keys = open_flows()?;
    for key in &keys {
        flows
            .write(key, Flow::SEEDED | Flow::REPLIED, Cell::NO_SLOT, Duration::ZERO)
            .context("could not seed a flow")?;
    }
    Ok(keys.len())
}

fn open_flows() -> Result<Vec<FlowKey>> {
    let mut tcp = procfs::net::tcp().context("could not list TCP sockets")?;
    // A kernel without IPv6 has no such file.
    tcp.extend(procfs::net::tcp6().unwrap_or_default());
    let listening: HashSet<u16> = tcp
        .iter()
        .filter(|socket| socket.state == TcpState::Listen)
        .map(|socket| socket.local_address.port())
        .collect();
    let tcp = tcp
        .iter()
        .filter(|socket| !matches!(socket.state, TcpState::Listen | TcpState::Close))
        .filter(|socket| !listening.contains(&socket.local_address.port()))
        .map(|socket| (proto::TCP, socket.local_address, socket.remote_address));
    let mut udp = procfs::net::udp().context("could not list UDP sockets")?;
    udp.extend(procfs::net::udp6().unwrap_or_default());
    let udp = udp.iter().map(|socket| (proto::UDP, socket.local_address, socket.remote_address));
    Ok(tcp
        .chain(udp)
        .filter(|(_, _, remote)| remote.port() != 0)
        .filter_map(|(protocol, local, remote)| key(protocol, local, remote))
        .collect())
}

/// The flow of a socket; `None` for one that never leaves the host.
fn key(protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<FlowKey> {
    let (local_ip, remote_ip) = (local.ip().to_canonical(), remote.ip().to_canonical());
    if remote_ip.is_loopback() {
        return None;
    }
    let halves = |ip| {
        let (address, _) = Address::of(ip);
        [address.hi, address.lo]
    };
    Some(FlowKey {
        local: halves(local_ip),
        remote: halves(remote_ip),
        local_port: local.port(),
        remote_port: remote.port(),
        protocol,
        family: if local_ip.is_ipv4() { 4 } else { 6 },
        reserved: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_becomes_ipv4() {
        let key = key(
            proto::TCP,
            "[::ffff:192.0.2.1]:40000".parse().unwrap(),
            "[::ffff:192.0.2.2]:443".parse().unwrap(),
        )
        .unwrap();
        assert_eq!((key.family, key.remote[0] >> 32), (4, 0xc000_0202));
    }

    #[test]
    fn loopback_is_no_flow() {
        assert!(key(6, "127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()).is_none());
    }
}
