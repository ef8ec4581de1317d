//! Probes as Ethernet frames, with right lengths and checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::packet::tcp;
use firewall_common::service::proto;
use firewall_policy::ir;

use super::Probe;

/// Locally administered addresses.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
/// Identification of fragments and echoes.
const IDENTIFIER: u16 = 0x4657;
/// Next header of an IPv6 fragment, RFC 8200.
const FRAGMENT_HEADER: u8 = 44;
/// Offset of a later fragment, in units of eight bytes.
const LATER: u16 = 185;
/// Hop limit of packets that a router may forward, and of neighbour discovery,
/// which none may (RFC 4861).
const HOPS: u8 = 64;
const NEAR: u8 = 255;

/// The frame of a probe. The source decides the family.
pub(super) fn build(probe: &Probe) -> Vec<u8> {
    let mut frame = MACS.to_vec();
    if let Some(vlan) = probe.vlan {
        frame.extend(0x8100_u16.to_be_bytes());
        frame.extend((vlan & 0xfff).to_be_bytes());
    }
    match (probe.from, probe.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend(0x0800_u16.to_be_bytes());
            frame.extend(v4(probe, from, to));
        }
        (from, to) => {
            frame.extend(0x86dd_u16.to_be_bytes());
            frame.extend(v6(probe, wide(from), wide(to)));
        }
    }
    frame
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn v4(probe: &Probe, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let pseudo = [from.octets(), to.octets()].concat();
    let payload = payload(probe, &pseudo);
    let mut header = vec![0x45, 0];
    header.extend(length(payload.len() + 20));
    header.extend(IDENTIFIER.to_be_bytes());
    header.extend(if probe.fragment { LATER } else { 0x4000 }.to_be_bytes());
    header.extend([HOPS, protocol(probe), 0, 0]);
    header.extend(pseudo);
    let sum = checksum(&header);
    header.splice(10..12, sum.to_be_bytes());
    header.extend(payload);
    header
}

fn v6(probe: &Probe, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let pseudo = [from.octets(), to.octets()].concat();
    let mut payload = payload(probe, &pseudo);
    let mut next = protocol(probe);
    if probe.fragment {
        let mut header = vec![next, 0];
        header.extend((LATER << 3).to_be_bytes());
        header.extend(u32::from(IDENTIFIER).to_be_bytes());
        header.extend(payload);
        payload = header;
        next = FRAGMENT_HEADER;
    }
    let near = matches!(probe.transport, ir::Probe::Icmpv6(133..=137 | 141 | 142));
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length(payload.len()));
    packet.extend([next, if near { NEAR } else { HOPS }]);
    packet.extend(pseudo);
    packet.extend(payload);
    packet
}

const fn protocol(probe: &Probe) -> u8 {
    match probe.transport {
        ir::Probe::Tcp(..) => proto::TCP,
        ir::Probe::Udp(..) => proto::UDP,
        ir::Probe::Icmp(_) => proto::ICMP,
        ir::Probe::Icmpv6(_) => proto::ICMPV6,
        ir::Probe::Proto(number) => number,
    }
}

/// Transport header, or the inside of a datagram for a later fragment.
fn payload(probe: &Probe, pseudo: &[u8]) -> Vec<u8> {
    if probe.fragment {
        return vec![0; 16];
    }
    let (mut bytes, at) = match probe.transport {
        ir::Probe::Tcp(source, destination) => {
            let flags = if probe.established { tcp::ACK } else { tcp::SYN };
            let acknowledged = u32::from(probe.established);
            let mut header = ports(source, destination);
            header.extend(1_u32.to_be_bytes());
            header.extend(acknowledged.to_be_bytes());
            header.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            (header, 16)
        }
        ir::Probe::Udp(source, destination) => {
            let mut header = ports(source, destination);
            header.extend([0, 8, 0, 0]);
            (header, 6)
        }
        ir::Probe::Icmp(kind) | ir::Probe::Icmpv6(kind) => {
            let mut header = vec![kind, 0, 0, 0];
            header.extend(IDENTIFIER.to_be_bytes());
            header.extend([0, 1]);
            // Neighbour solicitation and advertisement carry a target.
            header.resize(if matches!(kind, 135 | 136) { 24 } else { 8 }, 0);
            (header, 2)
        }
        ir::Probe::Proto(_) => return vec![0; 16],
    };
    let mut summed =
        if matches!(probe.transport, ir::Probe::Icmp(_)) { Vec::new() } else { pseudo.to_vec() };
    if !summed.is_empty() {
        summed.extend([0, protocol(probe)]);
        summed.extend(length(bytes.len()));
    }
    summed.extend(&bytes);
    bytes.splice(at..at + 2, checksum(&summed).to_be_bytes());
    bytes
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// The Internet checksum, RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        let mut both = [0; 2];
        for (to, from) in both.iter_mut().zip(pair) {
            *to = *from;
        }
        u64::from(u16::from_be_bytes(both))
    };
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use firewall_common::packet::{Fragment, Packet};
    use firewall_common::parse;
    use firewall_common::policy::Context;
    use firewall_policy::ir::Direction;

    use super::*;

    fn probe(from: &str, to: &str, transport: ir::Probe) -> Probe {
        Probe {
            direction: Direction::Ingress,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            transport,
            established: false,
            vlan: None,
            fragment: false,
        }
    }

    fn parsed(probe: &Probe) -> Packet {
        let frame = probe.frame();
        let mut packet = Packet::EMPTY;
        parse::parse(&frame.as_slice(), Context::UNTAGGED, &mut packet).unwrap();
        packet
    }

    #[test]
    fn the_datapath_reads_what_was_meant() {
        let transports =
            [ir::Probe::Tcp(40_000, 80), ir::Probe::Udp(40_000, 53), ir::Probe::Proto(112)];
        for transport in transports {
            for (from, to) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
                for established in [false, true] {
                    let probe = Probe { established, vlan: Some(42), ..probe(from, to, transport) };
                    let packet = parsed(&probe);
                    assert_eq!(packet.protocol, protocol(&probe));
                    assert_eq!(packet.vlan, 42);
                    if let ir::Probe::Tcp(source, destination) = transport {
                        assert_eq!(
                            (packet.source_port, packet.destination_port),
                            (source, destination)
                        );
                        assert_eq!(packet.opens_tcp(), !established);
                    }
                }
            }
        }
        let echo = parsed(&probe("192.0.2.1", "192.0.2.2", ir::Probe::Icmp(8)));
        assert_eq!((echo.destination_port, echo.source_port), (8, IDENTIFIER));
        let neighbor = parsed(&probe("fe80::1", "fe80::2", ir::Probe::Icmpv6(135)));
        assert_eq!((neighbor.destination_port, neighbor.hop_limit), (135, 255));
    }

    #[test]
    fn later_fragments_have_no_ports() {
        for (from, to) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            let probe = Probe { fragment: true, ..probe(from, to, ir::Probe::Udp(1, 53)) };
            assert_eq!(parsed(&probe).fragment, Fragment::Later);
        }
    }

    #[test]
    fn checksums_are_right() {
        let probe = probe("192.0.2.1", "192.0.2.2", ir::Probe::Tcp(40_000, 80));
        let frame = probe.frame();
        assert_eq!(checksum(&frame[14..34]), 0);
        let mut summed = frame[26..34].to_vec();
        summed.extend([0, 6, 0, 20]);
        summed.extend(&frame[34..]);
        assert_eq!(checksum(&summed), 0);
    }
}
