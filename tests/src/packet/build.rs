//! Layers to bytes, from the inside out: each header is made when what follows
//! it is known.

use std::net::IpAddr;

use super::layers::{Arp, Ethernet, Extension, Fragment, Icmp, Ipv4, Ipv6, Layer, Tcp, Udp, Vlan};

/// Numbers of protocols and types that name the layer that follows.
mod number {
    pub(super) const LOCAL_EXPERIMENT: u16 = 0x88b5;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const ICMP: u8 = 1;
    pub(super) const IPV4_IN_IP: u8 = 4;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const IPV6_IN_IP: u8 = 41;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const NO_NEXT: u8 = 59;
    pub(super) const EXPERIMENT: u8 = 253;
}

/// The bytes of a list of layers.
pub(super) fn bytes(layers: &[Layer]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, layer) in layers.iter().enumerate().rev() {
        let (outer, next) = (&layers[..place], layers.get(place + 1));
        bytes = match layer {
            Layer::Ethernet(header) => ethernet(header, next, &bytes),
            Layer::Vlan(header) => vlan(header, next, &bytes),
            Layer::Arp(message) => arp(message, &bytes),
            Layer::Ipv4(header) => ipv4(header, next, &bytes),
            Layer::Ipv6(header) => ipv6(header, next, &bytes),
            Layer::Extension(header) => extension(header, next, &bytes),
            Layer::Fragment(header) => fragment(header, next, &bytes),
            Layer::Tcp(header) => tcp(header, outer, &bytes),
            Layer::Udp(header) => udp(header, outer, &bytes),
            Layer::Icmp(message) => icmp(message, &[], &bytes),
            Layer::Icmpv6(message) => icmpv6(message, outer, &bytes),
            Layer::Raw(raw) => [raw.as_slice(), &bytes].concat(),
        };
    }
    bytes
}

/// The layers of each fragment: what comes before the cut, and a piece.
pub(super) fn fragments(layers: &[Layer], size: usize) -> Vec<Vec<Layer>> {
    let is_head =
        |layer: &Layer| matches!(layer, Layer::Ipv4(_) | Layer::Ipv6(_) | Layer::Extension(_));
    let Some(ip) = layers.iter().position(is_head) else { return vec![layers.to_vec()] };
    let rest = &layers[ip..];
    let cut = ip + rest.iter().position(|layer| !is_head(layer)).unwrap_or(rest.len());
    let payload = bytes_of_rest(layers, cut);
    let next = protocol(layers.get(cut));
    let size = (size / 8).max(1) * 8;
    let count = payload.chunks(size).count();
    let piece = |(index, chunk): (usize, &[u8])| {
        let (offset, more) = (length(index * size), index + 1 < count);
        let mut pieces = layers[..cut].to_vec();
        if let Some(Layer::Ipv4(header)) = pieces.last_mut() {
            header.fragment_offset = offset;
            header.more_fragments = more;
            header.protocol = header.protocol.or(Some(next));
        } else {
            let next_header = Some(next);
            pieces.push(Layer::Fragment(Fragment { offset, more, id: 1, next_header }));
        }
        pieces.push(Layer::Raw(chunk.to_vec()));
        pieces
    };
    payload.chunks(size).enumerate().map(piece).collect()
}

/// The bytes from layer `cut` on, with the checksums they have in the whole.
fn bytes_of_rest(layers: &[Layer], cut: usize) -> Vec<u8> {
    let whole = bytes(layers);
    let after: usize = whole.len() - inner_length(layers, cut);
    whole[after..].to_vec()
}

fn inner_length(layers: &[Layer], cut: usize) -> usize {
    bytes(&layers[cut..]).len()
}

/// The `EtherType` of a layer.
fn ethertype(next: Option<&Layer>) -> u16 {
    match next {
        Some(Layer::Vlan(tag)) => tag.protocol,
        Some(Layer::Arp(_)) => number::ARP,
        Some(Layer::Ipv4(_)) => number::IPV4,
        Some(Layer::Ipv6(_)) => number::IPV6,
        _ => number::LOCAL_EXPERIMENT,
    }
}

/// The protocol number of a layer.
fn protocol(next: Option<&Layer>) -> u8 {
    match next {
        Some(Layer::Ipv4(_)) => number::IPV4_IN_IP,
        Some(Layer::Ipv6(_)) => number::IPV6_IN_IP,
        Some(Layer::Extension(extension)) => extension.header,
        Some(Layer::Fragment(_)) => number::FRAGMENT,
        Some(Layer::Tcp(_)) => number::TCP,
        Some(Layer::Udp(_)) => number::UDP,
        Some(Layer::Icmp(_)) => number::ICMP,
        Some(Layer::Icmpv6(_)) => number::ICMPV6,
        Some(_) => number::EXPERIMENT,
        None => number::NO_NEXT,
    }
}

fn ethernet(header: &Ethernet, next: Option<&Layer>, inner: &[u8]) -> Vec<u8> {
    let ethertype = header.ethertype.unwrap_or_else(|| ethertype(next));
    [&header.destination[..], &header.source, &ethertype.to_be_bytes(), inner].concat()
}

fn vlan(header: &Vlan, next: Option<&Layer>, inner: &[u8]) -> Vec<u8> {
    let tag = u16::from(header.priority & 7) << 13 | (header.id & 0xfff);
    let ethertype = header.ethertype.unwrap_or_else(|| ethertype(next));
    [&tag.to_be_bytes()[..], &ethertype.to_be_bytes(), inner].concat()
}

fn arp(message: &Arp, inner: &[u8]) -> Vec<u8> {
    [
        &[0, 1, 8, 0, 6, 4][..],
        &message.operation.to_be_bytes(),
        &message.sender_mac,
        &message.sender.octets(),
        &message.target_mac,
        &message.target.octets(),
        inner,
    ]
    .concat()
}

fn ipv4(header: &Ipv4, next: Option<&Layer>, inner: &[u8]) -> Vec<u8> {
    let options = padded(&header.options, 4);
    let words = header.header_words.unwrap_or_else(|| low(5 + options.len() / 4));
    let total = header.total_length.unwrap_or_else(|| length(20 + options.len() + inner.len()));
    let fragment = u16::from(header.dont_fragment) << 14
        | u16::from(header.more_fragments) << 13
        | (header.fragment_offset / 8);
    let protocol = header.protocol.unwrap_or_else(|| protocol(next));
    let mut bytes = vec![header.version << 4 | (words & 0xf), header.tos];
    bytes.extend(total.to_be_bytes());
    bytes.extend(header.id.to_be_bytes());
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([header.ttl, protocol, 0, 0]);
    bytes.extend(header.source.octets());
    bytes.extend(header.destination.octets());
    bytes.extend(options);
    let sum = header.checksum.unwrap_or_else(|| checksum(&bytes));
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(inner);
    bytes
}

fn ipv6(header: &Ipv6, next: Option<&Layer>, inner: &[u8]) -> Vec<u8> {
    let first = u32::from(header.version) << 28
        | u32::from(header.traffic_class) << 20
        | (header.flow_label & 0xf_ffff);
    let payload = header.payload_length.unwrap_or_else(|| length(inner.len()));
    let next = header.next_header.unwrap_or_else(|| protocol(next));
    let mut bytes = first.to_be_bytes().to_vec();
    bytes.extend(payload.to_be_bytes());
    bytes.extend([next, header.hop_limit]);
    bytes.extend(header.source.octets());
    bytes.extend(header.destination.octets());
    bytes.extend(inner);
    bytes
}

fn extension(header: &Extension, next: Option<&Layer>, inner: &[u8]) -> Vec<u8> {
    let next = header.next_header.unwrap_or_else(|| protocol(next));
    let unit = if header.header == number::AUTHENTICATION { 4 } else { 8 };
    let mut bytes = padded(&[&[next, 0], header.body.as_slice()].concat(), unit);
    // RFC 8200 counts units of 8 bytes after the first, RFC 4302 words after two.
    let right = if unit == 4 { bytes.len() / 4 - 2 } else { bytes.len() / 8 - 1 };
    bytes[1] = header.length.unwrap_or_else(|| low(right));
    bytes.extend(inner);
    bytes
}

fn fragment(header: &Fragment, next: Option<&Layer>, inner: &[u8]) -> Vec<u8> {
    let next = header.next_header.unwrap_or_else(|| protocol(next));
    let place = (header.offset & !7) | u16::from(header.more);
    [&[next, 0][..], &place.to_be_bytes(), &header.id.to_be_bytes(), inner].concat()
}

fn tcp(header: &Tcp, outer: &[Layer], inner: &[u8]) -> Vec<u8> {
    let options = padded(&header.options, 4);
    let words = header.header_words.unwrap_or_else(|| low(5 + options.len() / 4));
    let mut bytes = Vec::new();
    bytes.extend(header.source.to_be_bytes());
    bytes.extend(header.destination.to_be_bytes());
    bytes.extend(header.sequence.to_be_bytes());
    bytes.extend(header.acknowledgment.to_be_bytes());
    bytes.extend([words << 4, header.flags]);
    bytes.extend(header.window.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(header.urgent.to_be_bytes());
    bytes.extend(options);
    bytes.extend(inner);
    let sum = header.checksum.unwrap_or_else(|| transport_checksum(number::TCP, outer, &bytes));
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn udp(header: &Udp, outer: &[Layer], inner: &[u8]) -> Vec<u8> {
    let size = header.length.unwrap_or_else(|| length(8 + inner.len()));
    let mut bytes = Vec::new();
    bytes.extend(header.source.to_be_bytes());
    bytes.extend(header.destination.to_be_bytes());
    bytes.extend(size.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(inner);
    // Zero would mean "no checksum".
    let right = || match transport_checksum(number::UDP, outer, &bytes) {
        0 => 0xffff,
        sum => sum,
    };
    let sum = header.checksum.unwrap_or_else(right);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn icmp(message: &Icmp, pseudo_header: &[u8], inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![message.kind, message.code, 0, 0];
    bytes.extend(message.rest);
    bytes.extend(inner);
    let right = || checksum(&[pseudo_header, &bytes].concat());
    let sum = message.checksum.unwrap_or_else(right);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn icmpv6(message: &Icmp, outer: &[Layer], inner: &[u8]) -> Vec<u8> {
    let pseudo = pseudo_header(number::ICMPV6, outer, 8 + inner.len());
    icmp(message, &pseudo, inner)
}

fn transport_checksum(protocol: u8, outer: &[Layer], bytes: &[u8]) -> u16 {
    checksum(&[pseudo_header(protocol, outer, bytes.len()).as_slice(), bytes].concat())
}

/// What a checksum covers besides the message: addresses, protocol and length.
/// In IPv6's form for both families: the sum is the same.
fn pseudo_header(protocol: u8, outer: &[Layer], size: usize) -> Vec<u8> {
    let addresses = outer.iter().rev().find_map(|layer| match layer {
        Layer::Ipv4(ip) => Some((IpAddr::V4(ip.source), IpAddr::V4(ip.destination))),
        Layer::Ipv6(ip) => Some((IpAddr::V6(ip.source), IpAddr::V6(ip.destination))),
        _ => None,
    });
    let mut bytes = Vec::new();
    for address in addresses.iter().flat_map(|(source, destination)| [source, destination]) {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// The Internet checksum, RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u64 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn padded(bytes: &[u8], unit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(unit), 0);
    bytes
}

/// A length as a header can say it; what does not fit is cut to the largest.
fn length(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn low(value: usize) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{CLIENT4, CLIENT6, Frame, SERVER4, SERVER6, flags};
    use std::net::Ipv4Addr;

    /// The sum over a checked area, its checksum included, is all ones.
    fn verifies(bytes: &[u8]) -> bool {
        checksum(bytes) == 0
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn the_checksum_is_that_of_rfc_1071_and_of_a_known_header() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let header = Ipv4 {
            source: Ipv4Addr::new(192, 168, 0, 1),
            destination: Ipv4Addr::new(192, 168, 0, 199),
            id: 0,
            dont_fragment: true,
            total_length: Some(0x73),
            protocol: Some(17),
            ..Ipv4::default()
        };
        let bytes = Frame::bare().ipv4(header).bytes();
        assert_eq!(bytes, hex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7"));
    }

    #[test]
    fn a_syn_is_right_to_the_byte() {
        let bytes = Frame::ethernet().ipv4(Ipv4::default()).tcp(Tcp::between(40_000, 443)).bytes();
        // As tcpdump shows it, with "cksum 0x2aa3 (correct)".
        let expected = "02005e100010 02005e100020 0800 \
             4500 0028 0001 0000 4006 8e7d c6336414 c000020a \
             9c40 01bb 00000001 00000000 5002 faf0 2aa3 0000";
        assert_eq!(bytes, hex(expected));
    }

    fn pseudo4(protocol: u8, size: u8) -> Vec<u8> {
        [&CLIENT4.octets()[..], &SERVER4.octets(), &[0, protocol, 0, size]].concat()
    }

    fn pseudo6(protocol: u8, size: u8) -> Vec<u8> {
        [&CLIENT6.octets()[..], &SERVER6.octets(), &[0, 0, 0, size, 0, 0, 0, protocol]].concat()
    }

    #[test]
    fn transport_checksums_verify_in_both_families_and_with_odd_lengths() {
        for payload in [&b""[..], b"odd", b"even"] {
            let size = 8 + low(payload.len());
            let four = Frame::bare().ipv4(Ipv4::default()).udp(Udp::default()).payload(payload);
            assert!(verifies(&[&pseudo4(17, size)[..], &four.bytes()[20..]].concat()));
            let six = Frame::bare().ipv6(Ipv6::default()).udp(Udp::default()).payload(payload);
            assert!(verifies(&[&pseudo6(17, size)[..], &six.bytes()[40..]].concat()));
            let ping =
                Frame::bare().ipv6(Ipv6::default()).icmpv6(Icmp::new(128, 0)).payload(payload);
            assert!(verifies(&[&pseudo6(58, size)[..], &ping.bytes()[40..]].concat()));
            let ping = Frame::bare().ipv4(Ipv4::default()).icmp(Icmp::new(8, 0)).payload(payload);
            assert!(verifies(&ping.bytes()[20..]));
        }
    }

    #[test]
    fn two_tags_name_each_other_and_what_follows() {
        let outer = Layer::Vlan(Vlan { protocol: 0x88a8, id: 7, priority: 5, ethertype: None });
        let bytes = Frame::ethernet().with(outer).vlan(10).arp(Arp::default()).bytes();
        assert_eq!(bytes[12..22], hex("88a8 a007 8100 000a 0806"));
        assert_eq!(bytes.len(), 14 + 8 + 28);
    }

    #[test]
    fn extension_headers_chain_and_count_their_own_length() {
        let bytes = Frame::bare()
            .ipv6(Ipv6::default())
            .extension(Extension::new(Extension::HOP_BY_HOP))
            .extension(Extension { body: vec![0; 7], ..Extension::new(Extension::DESTINATION) })
            .extension(Extension::new(Extension::AUTHENTICATION))
            .fragment(Fragment { offset: 16, more: true, id: 9, next_header: None })
            .tcp(Tcp::default())
            .bytes();
        assert_eq!(bytes[6], 0);
        assert_eq!(bytes[40..42], [60, 0]);
        assert_eq!(bytes[48..50], [51, 1]);
        assert_eq!(bytes[64..66], [44, 1]);
        assert_eq!(bytes[76..84], [6, 0, 0, 17, 0, 0, 0, 9]);
        assert_eq!(bytes[4..6], length(bytes.len() - 40).to_be_bytes());
    }

    #[test]
    fn options_are_padded_and_counted() {
        let ip = Ipv4 { options: vec![1, 1, 1, 1, 1], ..Ipv4::default() };
        let tcp = Tcp { options: vec![2, 4, 5, 180], flags: flags::SYN, ..Tcp::default() };
        let bytes = Frame::bare().ipv4(ip).tcp(tcp).bytes();
        assert_eq!((bytes[0], bytes[28 + 12]), (0x47, 0x60));
        assert_eq!(bytes.len(), 28 + 24);
        assert!(verifies(&bytes[..28]));
    }

    #[test]
    fn every_field_can_lie() {
        let ip = Ipv4 {
            header_words: Some(15),
            total_length: Some(9),
            protocol: Some(99),
            checksum: Some(0xdead),
            ..Ipv4::default()
        };
        let udp = Udp { length: Some(4), checksum: Some(0), ..Udp::default() };
        let bytes = Frame::bare().ipv4(ip).udp(udp).bytes();
        assert_eq!((bytes[0], bytes[9]), (0x4f, 99));
        assert_eq!(bytes[2..4], [0, 9]);
        assert_eq!(bytes[10..12], [0xde, 0xad]);
        assert_eq!(bytes[24..28], [0, 4, 0, 0]);
    }

    #[test]
    fn fragments_put_together_are_the_packet() {
        let payload: Vec<u8> = (0..=99).collect();
        let four = Frame::bare().ipv4(Ipv4::default()).udp(Udp::default()).payload(&payload);
        let six = Frame::bare()
            .ipv6(Ipv6::default())
            .extension(Extension::new(Extension::HOP_BY_HOP))
            .udp(Udp::default())
            .payload(&payload);
        for (frame, header, whole_header) in [(four, 20, 20), (six, 56, 48)] {
            let pieces: Vec<_> = frame.fragments(45).iter().map(Frame::bytes).collect();
            assert_eq!(pieces.len(), 3);
            let joined: Vec<u8> =
                pieces.iter().flat_map(|piece| &piece[header..]).copied().collect();
            assert_eq!(joined, frame.bytes()[whole_header..]);
        }
    }

    #[test]
    fn fragments_say_their_place_and_the_first_protocol() {
        let frame = Frame::bare().ipv4(Ipv4::default()).tcp(Tcp::default()).payload([0; 20]);
        let places: Vec<_> =
            frame.fragments(16).iter().map(|f| (f.bytes()[6..8].to_vec(), f.bytes()[9])).collect();
        assert_eq!(places, [(vec![0x20, 0], 6), (vec![0x20, 2], 6), (vec![0, 4], 6)]);
        let frame = Frame::bare().ipv6(Ipv6::default()).tcp(Tcp::default()).payload([0; 20]);
        let headers: Vec<_> =
            frame.fragments(32).iter().map(|f| f.bytes()[40..44].to_vec()).collect();
        assert_eq!(headers, [vec![6, 0, 0, 1], vec![6, 0, 0, 32]]);
    }

    #[test]
    fn an_error_quotes_a_bare_packet() {
        let quoted =
            Frame::bare().ipv4(Ipv4::between(SERVER4, CLIENT4)).tcp(Tcp::between(80, 40_000));
        let error = Frame::ethernet()
            .ipv4(Ipv4::default())
            .icmp(Icmp { rest: [0, 0, 0x05, 0x78], ..Icmp::new(3, 4) })
            .payload(&quoted.bytes()[..28]);
        assert_eq!(error.bytes().len(), 14 + 20 + 8 + 28);
        assert!(verifies(&error.bytes()[34..]));
    }
}
