//! Random frames, most of them about what a policy tells apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::service::{ServiceIndex, proto};
use firewall_common::verdict::Direction;
use firewall_tests::packet::{
    Arp, Ethernet, Extension, Fragment, Frame, Icmp, Ipv4, Ipv6, Layer, Tcp, Udp, Vlan, flags,
};

use crate::policies::Places;
use crate::rng::Rng;

/// A conversation: what both directions of a flow have in common.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    remote: IpAddr,
    local: IpAddr,
    protocol: u8,
    /// The port or type that the one who opened it asks for, and his own port.
    service: u16,
    other: u16,
    /// Who opened it: the host that the firewall protects.
    ours: bool,
}

impl Default for Talk {
    fn default() -> Self {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { remote: nobody, local: nobody, protocol: 6, service: 80, other: 40_000, ours: false }
    }
}

/// Makes frames for one policy.
pub(crate) struct Frames {
    places: Places,
    recent: Vec<Talk>,
}

impl Frames {
    pub(crate) fn new(places: Places) -> Self {
        Self { places, recent: Vec::new() }
    }

    /// The next frame, and which way it goes.
    pub(crate) fn next(&mut self, rng: &mut Rng) -> (Direction, Vec<u8>) {
        let ingress = rng.once_in(2);
        let direction = if ingress { Direction::Ingress } else { Direction::Egress };
        if rng.once_in(40) {
            return (direction, other(rng));
        }
        // Many frames belong to conversations that others have begun.
        let talk = if rng.once_in(2) { rng.pick(&self.recent) } else { self.talk(rng) };
        if self.recent.len() < 8 {
            self.recent.push(talk.clone());
        } else {
            let place = rng.below(8);
            self.recent[place] = talk.clone();
        }
        let link = link(rng);
        let mut bytes = packet(rng, link, &talk, direction, true).bytes();
        mutate(rng, &mut bytes);
        (direction, bytes)
    }

    fn talk(&self, rng: &mut Rng) -> Talk {
        let family = rng.below(2);
        let (protocol, service) = self.service(rng, family);
        let icmp = matches!(protocol, proto::ICMP | proto::ICMPV6);
        Talk {
            remote: address(rng, family, &self.places.remotes[family]),
            local: address(rng, family, &self.places.locals[family]),
            protocol,
            service,
            other: if icmp {
                rng.pick(&[1, 2])
            } else {
                rng.pick(&[40_000, 40_001, 53, 67, 68, 546, 547, 1024, 0])
            },
            ours: rng.once_in(2),
        }
    }

    fn service(&self, rng: &mut Rng, family: usize) -> (u8, u16) {
        let low = |index: u32| u16::try_from(index & 0xffff).unwrap_or(0);
        if rng.once_in(3) || self.places.services.is_empty() {
            let icmp = if family == 0 { proto::ICMP } else { proto::ICMPV6 };
            let common = [
                (proto::TCP, 80),
                (proto::TCP, 443),
                (proto::TCP, 3306),
                (proto::TCP, 53),
                (proto::UDP, 53),
                (proto::UDP, 67),
                (proto::UDP, 68),
                (proto::UDP, 546),
                (proto::UDP, 547),
                (icmp, 8),
                (icmp, 128),
                (icmp, 3),
                (icmp, 2),
                (icmp, 11),
                (icmp, 135),
                (icmp, 134),
                (icmp, 143),
                (proto::IGMP, 0),
                (proto::SCTP, 3868),
                (47, 0),
                (50, 0),
                (4, 0),
                (41, 0),
                (59, 0),
                (255, 0),
                (icmp, 0),
                (icmp, 129),
            ];
            return rng.pick(&common);
        }
        match rng.pick(&self.places.services) {
            index if index < ServiceIndex::UDP => (proto::TCP, low(index)),
            index if index < ServiceIndex::ICMP => (proto::UDP, low(index)),
            index if index < ServiceIndex::ICMPV6 => (proto::ICMP, low(index) & 0xff),
            index if index < ServiceIndex::OTHER => (proto::ICMPV6, low(index) & 0xff),
            index if index < ServiceIndex::SCTP => (low(index).to_le_bytes()[0], 0),
            index => (proto::SCTP, low(index - ServiceIndex::SCTP)),
        }
    }
}

/// The port of one who asks.
fn port(rng: &mut Rng) -> u16 {
    if rng.once_in(60) {
        0
    } else {
        rng.pick(&[40_000, 40_000, 40_001, 53, 67, 68, 546, 547, 1024])
    }
}

fn address(rng: &mut Rng, family: usize, places: &[u128]) -> IpAddr {
    let odd4 =
        [0_u32, 0x7f00_0001, 0xffff_ffff, 0xe000_0001, 0xe000_00fb, 0xf000_0001, 0xa9fe_a9fe];
    let odd6: [u128; 6] =
        [0, 1, 0xff02 << 112 | 1, 0xfe80 << 112 | 5, 0xff02 << 112 | 0x1_0002, 0xfc00 << 112];
    let random = u128::from(rng.bits()) << 64 | u128::from(rng.bits());
    let chosen = match rng.below(40) {
        0 if family == 0 => rng.pick(&odd4).into(),
        0 => rng.pick(&odd6),
        1 => random,
        _ => rng.pick(places),
    };
    match family {
        0 => IpAddr::V4(Ipv4Addr::from(u32::try_from(chosen & 0xffff_ffff).unwrap_or(0))),
        _ => IpAddr::V6(Ipv6Addr::from(chosen)),
    }
}

/// The link layer: mostly none or one tag.
fn link(rng: &mut Rng) -> Frame {
    let mut frame = Frame::ethernet();
    let tags = if rng.once_in(40) { 3 } else { rng.pick(&[0, 0, 0, 0, 0, 1, 1, 2]) };
    for _ in 0..tags {
        let protocol = if rng.once_in(3) { 0x88a8 } else { 0x8100 };
        let id = rng.pick(&[0, 5, 6, 4095]);
        frame = frame.with(Layer::Vlan(Vlan {
            protocol,
            id,
            priority: rng.byte() & 7,
            ethertype: None,
        }));
    }
    frame
}

/// A packet of a conversation.
fn packet(rng: &mut Rng, link: Frame, talk: &Talk, direction: Direction, outer: bool) -> Frame {
    let leaves = direction == Direction::Egress;
    let (source, destination) =
        if leaves { (talk.local, talk.remote) } else { (talk.remote, talk.local) };
    let fragment = if rng.once_in(12) {
        rng.pick(&[(0, true), (8, true), (16, false), (64, true), (65_528, false)])
    } else {
        (0, false)
    };
    let frame = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let options = if rng.once_in(10) { vec![1; 4 * rng.below(11)] } else { Vec::new() };
            let header = Ipv4 {
                ttl: rng.pick(&[64, 255, 1]),
                id: rng.pick(&[1, 1, 2]),
                dont_fragment: rng.once_in(2),
                fragment_offset: fragment.0,
                more_fragments: fragment.1,
                options,
                protocol: Some(talk.protocol),
                ..Ipv4::between(source, destination)
            };
            link.ipv4(header)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let hop_limit = rng.pick(&[255, 255, 254, 1]);
            let mut frame = link.ipv6(Ipv6 { hop_limit, ..Ipv6::between(source, destination) });
            let chain = if rng.once_in(20) {
                rng.pick(&[7, 8, 9])
            } else {
                rng.pick(&[0, 0, 0, 0, 0, 1, 1, 2])
            };
            for _ in 0..chain {
                frame = frame.extension(extension(rng));
            }
            if fragment != (0, false) || rng.once_in(20) {
                let id = rng.pick(&[1, 1, 2]);
                frame = frame.fragment(Fragment {
                    offset: fragment.0,
                    more: fragment.1,
                    id,
                    next_header: Some(talk.protocol),
                });
            }
            frame
        }
        _ => link,
    };
    transport(rng, frame, talk, leaves, outer)
}

fn extension(rng: &mut Rng) -> Extension {
    let header = rng.pick(&[0, 60, 43, 51, 60, 0]);
    let mut extension = Extension::new(header);
    if header == Extension::ROUTING {
        let kind = if rng.once_in(12) { 0 } else { 4 };
        extension.body = vec![kind, 0, 0, 0, 0, 0];
    } else if rng.once_in(4) {
        extension.body.resize(6 + 8 * rng.below(4), 1);
    }
    if rng.once_in(60) {
        extension.length = Some(rng.byte());
    }
    extension
}

fn transport(rng: &mut Rng, frame: Frame, talk: &Talk, leaves: bool, outer: bool) -> Frame {
    // Whoever opened the conversation sends to the service.
    let asks = leaves == talk.ours;
    let (source, destination) =
        if asks { (talk.other, talk.service) } else { (talk.service, talk.other) };
    let port = |bytes: u16| bytes.to_be_bytes();
    match talk.protocol {
        proto::TCP => {
            use flags::{ACK, FIN, PSH, RST, SYN, URG};
            let first = if asks { SYN } else { SYN | ACK };
            let flags = rng.pick(&[
                first,
                first,
                ACK,
                ACK | PSH,
                FIN | ACK,
                RST,
                RST | ACK,
                ACK | URG,
                PSH,
                SYN,
                SYN | FIN,
                0,
                FIN,
            ]);
            let header = Tcp {
                flags,
                sequence: rng.pick(&[1, 2, 1000]),
                acknowledgment: rng.pick(&[1, 2, 3000]),
                options: if rng.once_in(4) { vec![1; 4 * rng.below(11)] } else { Vec::new() },
                header_words: rng.once_in(40).then(|| rng.byte() & 15),
                ..Tcp::between(source, destination)
            };
            let data = data(rng, leaves);
            frame.tcp(header).payload(data)
        }
        proto::UDP => {
            let length = rng.once_in(40).then(|| u16::from(rng.byte()));
            let data = data(rng, leaves);
            frame.udp(Udp { length, ..Udp::between(source, destination) }).payload(data)
        }
        proto::ICMP | proto::ICMPV6 => {
            let kind = icmp_type(talk, asks);
            let [high, low] = port(talk.other);
            let message =
                Icmp { kind, code: rng.byte() & 3, rest: [high, low, 0, 1], checksum: None };
            let frame = if talk.protocol == proto::ICMP {
                frame.icmp(message)
            } else {
                frame.icmpv6(message)
            };
            if !outer {
                return frame;
            }
            let quoted = quote(rng, talk);
            frame.payload(quoted)
        }
        proto::SCTP => {
            let ports = [port(source), port(destination)].concat();
            frame.payload([ports, vec![0; 8], rng.bytes(30)].concat())
        }
        _ => frame.payload(rng.bytes(60)),
    }
}

/// An echo is answered by its reply.
fn icmp_type(talk: &Talk, asks: bool) -> u8 {
    match (talk.service.to_le_bytes()[0], asks) {
        (8, false) => 0,
        (128, false) => 129,
        (kind, _) => kind,
    }
}

/// What an ICMP error carries back: a packet of some conversation on the same
/// addresses, either way, sometimes cut short.
fn quote(rng: &mut Rng, talk: &Talk) -> Vec<u8> {
    let (protocol, service) = rng.pick(&[
        (proto::TCP, 80),
        (proto::UDP, 53),
        (proto::TCP, 443),
        (proto::ICMP, 8),
        (47, 0),
    ]);
    let about = Talk {
        protocol,
        service,
        other: rng.pick(&[40_000, 40_001, 1]),
        ours: rng.once_in(2),
        ..talk.clone()
    };
    let direction = if rng.once_in(2) { Direction::Ingress } else { Direction::Egress };
    let mut bytes = packet(rng, Frame::bare(), &about, direction, false).bytes();
    let most = rng.pick(&[8, 20, 27, 28, 48, 56, 1000]);
    bytes.truncate(most);
    bytes
}

/// What a segment or datagram carries. Only XDP takes more than a page in a test
/// run, and then in several buffers.
fn data(rng: &mut Rng, leaves: bool) -> Vec<u8> {
    let known: [&[u8]; 7] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PO",
        &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
        b"\x09\0\0\0\x03SELECT 1",
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
        b"\0\x13\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
    ];
    match rng.below(10) {
        0 => rng.bytes(200),
        1 => rng.bytes(1400),
        2 if !leaves && rng.once_in(5) => vec![rng.byte(); rng.below(60_000)],
        number => known.get(number % known.len()).copied().unwrap_or_default().to_vec(),
    }
}

/// A frame that is not IP, or says it is not.
fn other(rng: &mut Rng) -> Vec<u8> {
    if rng.once_in(3) {
        return link(rng).arp(Arp::default()).bytes();
    }
    let ethertype =
        rng.pick(&[0x88cc, 0x8809, 0x0026, 0x8863, 0x88b5, 0x9000, 0x0600, 0x05ff, 0x0800, 0x86dd]);
    let header = Ethernet { ethertype: Some(ethertype), ..Ethernet::default() };
    let mut bytes = Frame::ethernet_with(header).payload(rng.bytes(80)).bytes();
    bytes.resize(bytes.len().max(15), 0);
    bytes
}

/// Damages one frame in three: bytes flipped, the end cut off or made longer.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    match rng.below(9) {
        0 | 1 => {
            for _ in 0..=rng.below(3) {
                let place = 12 + rng.below(bytes.len().min(100).saturating_sub(12));
                let mask = if rng.once_in(2) { 1 << rng.below(8) } else { rng.byte() };
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= mask;
                }
            }
        }
        2 => {
            let length = 14 + rng.below(bytes.len().saturating_sub(14));
            bytes.truncate(length);
        }
        3 => bytes.extend(rng.bytes(64)),
        _ => {}
    }
}
