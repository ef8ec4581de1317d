//! Packets of the bench: one to be hot, and records that vary it.

use std::sync::OnceLock;

use firewall_common::abi::flow::FlowKey;
use firewall_common::packet::Address;

use crate::packet::{CLIENT4, Frame, Icmp, Ipv4, Ipv6, SERVER4, Tcp, flags};

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `IPPROTO_ICMP`.
const ICMP: u8 = 1;

/// Random numbers from a seed: the same on every run.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// From a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 32 bits.
    pub(super) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let [.., a, b, c, d] = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let scaled = (u64::from(self.next()) * u64::from(bound)) >> 32;
        u32::try_from(scaled).unwrap_or_default()
    }

    /// A port below `bound`, counted from `first`.
    pub(super) fn port(&mut self, first: u16, bound: u32) -> u16 {
        first + u16::try_from(self.below(bound)).unwrap_or_default()
    }

    /// An address that a packet may come from: 1.0.0.0 to 223.255.255.255, not
    /// 127.0.0.0/8.
    pub(super) fn address(&mut self) -> u32 {
        usable(self.next())
    }
}

/// A number as an address that may be a source: itself, or else one that is.
pub(super) fn usable(number: u32) -> u32 {
    let first = match number >> 24 {
        127 => 126,
        first @ 1..=223 => first,
        first => 1 + first % 100,
    };
    first << 24 | number & 0x00ff_ffff
}

/// Whether a packet may come from an address.
pub(super) fn is_usable(address: u32) -> bool {
    usable(address) == address
}

/// Whose flow it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Local {
    Sender,
    Receiver,
}

/// A TCP packet from outside, as a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) source_port: u16,
    pub(super) port: u16,
    pub(super) flags: u8,
}

impl Flow {
    /// From the client, to the server.
    pub(super) fn to(port: u16) -> Self {
        Self {
            source: CLIENT4.into(),
            destination: SERVER4.into(),
            source_port: 40_000,
            port,
            flags: flags::SYN,
        }
    }

    /// The frame: 60 bytes.
    pub(super) fn frame(&self) -> Vec<u8> {
        let header = Ipv4::between(self.source.into(), self.destination.into());
        let tcp = Tcp { flags: self.flags, ..Tcp::between(self.source_port, self.port) };
        Frame::ethernet().ipv4(header).tcp(tcp).padded()
    }

    /// Its flow, seen from its sender or from its receiver.
    pub(super) fn key(&self, local: Local) -> FlowKey {
        let from = (self.source, self.source_port);
        let to = (self.destination, self.port);
        let ((local, local_port), (remote, remote_port)) = match local {
            Local::Sender => (from, to),
            Local::Receiver => (to, from),
        };
        let address = |address| {
            let Address { hi, lo } = Address::from_v4(address);
            [hi, lo]
        };
        FlowKey {
            local: address(local),
            remote: address(remote),
            local_port,
            remote_port,
            protocol: TCP,
            family: 4,
            reserved: 0,
        }
    }

    /// The record that turns the frame of any flow into this one's: `Fields::V4`.
    pub(super) fn record(&self) -> [u32; 4] {
        let mut bytes = [0; 16];
        bytes[0..4].copy_from_slice(&self.source.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.destination.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.source_port.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.port.to_be_bytes());
        bytes[12] = TCP;
        bytes[13] = self.flags;
        bytes[14..16].copy_from_slice(&self.checksum().to_be_bytes());
        words(bytes)
    }

    /// Checksum of the IPv4 header (RFC 1071), of which only addresses vary.
    fn checksum(&self) -> u16 {
        let halves = |address: u32| (address >> 16) + (address & 0xffff);
        let mut sum = self.constant() + halves(self.source) + halves(self.destination);
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap_or_default()
    }

    /// Sum of the other half-words of the header.
    fn constant(&self) -> u32 {
        static CONSTANT: OnceLock<u32> = OnceLock::new();
        *CONSTANT.get_or_init(|| {
            let frame = self.frame();
            let halves = frame[14..24].chunks(2);
            halves.map(|half| u32::from(half[0]) << 8 | u32::from(half[1])).sum()
        })
    }
}

/// An echo request from outside, as a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    pub(super) source: u32,
}

impl Echo {
    /// Type and code.
    const REQUEST: u16 = 8 << 8;

    /// The frame: 60 bytes.
    pub(super) fn frame(self) -> Vec<u8> {
        let header = Ipv4::between(self.source.into(), SERVER4);
        Frame::ethernet().ipv4(header).icmp(Icmp::new(8, 0)).padded()
    }

    /// As [`Flow::record`]. Checksums stay those of another source: nobody here looks.
    pub(super) fn record(self) -> [u32; 4] {
        let flow =
            Flow { source: self.source, source_port: Self::REQUEST, flags: 0, ..Flow::to(0) };
        let mut record = flow.record();
        let mut bytes = record[3].to_ne_bytes();
        bytes[0] = ICMP;
        record[3] = u32::from_ne_bytes(bytes);
        record
    }
}

/// A packet over IPv6: the upper half of its source, and its ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow6 {
    pub(super) network: u64,
    pub(super) port: u16,
}

impl Flow6 {
    /// The frame: 74 bytes.
    pub(super) fn frame(&self) -> Vec<u8> {
        let source = u128::from(self.network) << 64 | 0x20;
        let header = Ipv6::between(source.into(), crate::packet::SERVER6);
        let tcp = Tcp { flags: flags::SYN, ..Tcp::between(40_000, self.port) };
        Frame::ethernet().ipv6(header).tcp(tcp).bytes()
    }

    /// `Fields::V6`.
    pub(super) fn record(&self) -> [u32; 4] {
        let mut bytes = [0; 16];
        bytes[0..8].copy_from_slice(&self.network.to_be_bytes());
        bytes[8..10].copy_from_slice(&40_000_u16.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.port.to_be_bytes());
        bytes[12..16].copy_from_slice(&0x20_u32.to_be_bytes());
        words(bytes)
    }
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    std::array::from_fn(|word| u32::from_ne_bytes(std::array::from_fn(|n| bytes[4 * word + n])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_cut_from_the_frame_it_makes() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            let flow = Flow { source: random.address(), ..Flow::to(random.port(1000, 60_000)) };
            let record: Vec<u8> =
                flow.record().iter().flat_map(|word| word.to_ne_bytes()).collect();
            let frame = flow.frame();
            assert_eq!(record[..12], frame[26..38], "addresses and ports");
            assert_eq!((record[12], record[13]), (frame[23], frame[47]), "protocol and flags");
            assert_eq!(record[14..], frame[24..26], "checksum");
        }
    }

    #[test]
    fn sources_are_addresses_that_exist() {
        assert_eq!([0, 0x7f00_0001, u32::MAX].map(|n| usable(n) >> 24), [1, 126, 56]);
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let source = random.address();
            assert!(matches!(source >> 24, 1..=126 | 128..=223));
            assert_eq!(usable(source), source);
        }
    }
}
