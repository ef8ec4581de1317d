//! Transport headers, and the packet embedded in an ICMP error.

use crate::frame::{Frame, Header as _};
use crate::packet::{Address, Family, Fragment, Packet, tcp};
use crate::service::proto;
use crate::verdict::Reason;

/// Reads the transport header at `offset`, of which `left` bytes belong to the
/// packet.
#[inline(always)]
pub(super) fn parse<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    offset: usize,
    left: u32,
) -> Result<(), Reason> {
    packet.transport_offset = u16::try_from(offset).unwrap_or(u16::MAX);
    if matches!(packet.fragment, Fragment::Later) {
        return Ok(());
    }
    match packet.protocol {
        proto::TCP => parse_tcp(frame, packet, offset, left),
        proto::UDP => parse_udp(frame, packet, offset, left),
        proto::ICMP | proto::ICMPV6 if packet.is_icmp() => parse_icmp(frame, packet, offset, left),
        proto::SCTP => parse_sctp(frame, packet, offset, left),
        _ => Ok(()),
    }
}

/// A first fragment that cuts the transport header is an attack of its own.
#[inline(always)]
fn truncated(packet: &Packet, reason: Reason) -> Reason {
    if matches!(packet.fragment, Fragment::First) { Reason::MalformedTinyFragment } else { reason }
}

/// Reads `N` bytes of header if the packet, not just the frame, holds them.
#[inline(always)]
fn header<F: Frame, const N: usize>(frame: &F, offset: usize, left: u32) -> Option<F::Header<N>> {
    if (left as usize) < N { None } else { frame.header(offset) }
}

#[inline(always)]
fn set_payload(packet: &mut Packet, offset: usize, header_len: u32, left: u32) {
    packet.payload_offset = u32::try_from(offset).unwrap_or(0) + header_len;
    packet.payload_len = left.saturating_sub(header_len);
}

#[inline(always)]
fn parse_tcp<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    offset: usize,
    left: u32,
) -> Result<(), Reason> {
    let bytes = header::<F, 20>(frame, offset, left)
        .ok_or_else(|| truncated(packet, Reason::MalformedTcpTruncated))?;
    packet.source_port = bytes.u16::<0>();
    packet.destination_port = bytes.u16::<2>();
    packet.seq = bytes.u32::<4>();
    packet.ack = bytes.u32::<8>();
    packet.tcp_flags = bytes.u8::<13>();
    let header_len = u32::from(bytes.u8::<12>() >> 4) << 2;
    if header_len < 20 || header_len > left {
        return Err(truncated(packet, Reason::MalformedTcpOffset));
    }
    if !possible_flags(packet.tcp_flags) {
        return Err(Reason::MalformedTcpFlags);
    }
    set_payload(packet, offset, header_len, left);
    no_port_zero(packet)
}

/// SYN with FIN or RST, FIN without ACK, or none of the six: port scanners send
/// them, stacks do not. ECN bits (RFC 3168), URG, data on a SYN (RFC 7413) and
/// RST without ACK are legal.
#[inline(always)]
#[must_use]
pub const fn possible_flags(flags: u8) -> bool {
    // Its sign: one comparison, where any other bit takes a mask as well.
    (POSSIBLE_FLAGS << (flags & 63)).cast_signed() < 0
}

/// The `n`th bit from above: the six flags of `n` may stand together.
const POSSIBLE_FLAGS: u64 = {
    let mut possible = 0;
    let mut flags: u8 = 0;
    while flags < 64 {
        let impossible = flags == 0
            || (flags & tcp::SYN != 0 && flags & (tcp::FIN | tcp::RST) != 0)
            || flags & (tcp::FIN | tcp::ACK) == tcp::FIN;
        if !impossible {
            possible |= 1 << (63 - flags);
        }
        flags += 1;
    }
    possible
};

#[inline(always)]
fn parse_udp<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    offset: usize,
    left: u32,
) -> Result<(), Reason> {
    let bytes = header::<F, 8>(frame, offset, left)
        .ok_or_else(|| truncated(packet, Reason::MalformedUdpTruncated))?;
    packet.source_port = bytes.u16::<0>();
    packet.destination_port = bytes.u16::<2>();
    let mut length = u32::from(bytes.u16::<4>());
    // RFC 2675 section 4; so does Linux what "BIG TCP" sends through a tunnel.
    if length == 0 && left > u32::from(u16::MAX) {
        length = left;
    }
    // The length field of a first fragment is that of the whole datagram.
    let whole = matches!(packet.fragment, Fragment::Whole);
    if length < 8 || (whole && length > left) {
        return Err(Reason::MalformedUdpLength);
    }
    set_payload(packet, offset, 8, if whole { length } else { left });
    no_port_zero(packet)
}

#[inline(always)]
fn parse_sctp<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    offset: usize,
    left: u32,
) -> Result<(), Reason> {
    let bytes = header::<F, 12>(frame, offset, left)
        .ok_or_else(|| truncated(packet, Reason::MalformedSctpTruncated))?;
    packet.source_port = bytes.u16::<0>();
    packet.destination_port = bytes.u16::<2>();
    set_payload(packet, offset, 12, left);
    no_port_zero(packet)
}

#[inline(always)]
fn no_port_zero(packet: &Packet) -> Result<(), Reason> {
    if packet.source_port == 0 || packet.destination_port == 0 {
        return Err(Reason::MalformedPortZero);
    }
    Ok(())
}

#[inline(always)]
fn parse_icmp<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    offset: usize,
    left: u32,
) -> Result<(), Reason> {
    let bytes = header::<F, 8>(frame, offset, left)
        .ok_or_else(|| truncated(packet, Reason::MalformedIcmpTruncated))?;
    packet.destination_port = u16::from(bytes.u8::<0>());
    packet.icmp_code = bytes.u8::<1>();
    packet.source_port = bytes.u16::<4>();
    set_payload(packet, offset, 8, left);
    Ok(())
}

/// The start of a packet, as an ICMP error carries it back (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Who sent the packet that the error is about.
    pub source: Address,
    /// Where it was going.
    pub destination: Address,
    /// Its source port; the identifier of an ICMP echo.
    pub source_port: u16,
    /// Its destination port; the type of an ICMP message.
    pub destination_port: u16,
    /// Its transport protocol.
    pub protocol: u8,
}

/// Reads the embedded packet of an ICMP error; `None` if it is cut before its
/// ports, has extension headers other than a fragment header, or is a later
/// fragment.
#[inline(always)]
pub fn embedded<F: Frame>(frame: &F, packet: &Packet) -> Option<Embedded> {
    let offset = packet.payload_offset as usize;
    let (mut inner, transport) = match packet.family {
        Family::V4 => {
            let header = frame.header::<20>(offset)?;
            let header_len = usize::from(header.u8::<0>() & 0xf) << 2;
            if header.u8::<0>() >> 4 != 4 || header_len < 20 || header.u16::<6>() & 0x1fff != 0 {
                return None;
            }
            let source = Address::from_v4(header.u32::<12>());
            let destination = Address::from_v4(header.u32::<16>());
            (start(source, destination, header.u8::<9>()), offset + header_len)
        }
        Family::V6 => {
            let header = frame.header::<40>(offset)?;
            if header.u8::<0>() >> 4 != 6 {
                return None;
            }
            let source = Address { hi: header.u64::<8>(), lo: header.u64::<16>() };
            let destination = Address { hi: header.u64::<24>(), lo: header.u64::<32>() };
            let mut inner = start(source, destination, header.u8::<6>());
            let mut transport = offset + 40;
            if inner.protocol == 44 {
                let fragment = frame.header::<8>(transport)?;
                if fragment.u16::<2>() & 0xfff8 != 0 {
                    return None;
                }
                inner.protocol = fragment.u8::<0>();
                transport += 8;
            }
            (inner, transport)
        }
    };
    let ports = frame.header::<8>(transport)?;
    match inner.protocol {
        proto::TCP | proto::UDP | proto::SCTP => {
            inner.source_port = ports.u16::<0>();
            inner.destination_port = ports.u16::<2>();
        }
        proto::ICMP | proto::ICMPV6 => {
            inner.source_port = ports.u16::<4>();
            inner.destination_port = u16::from(ports.u8::<0>());
        }
        _ => {}
    }
    Some(inner)
}

#[inline(always)]
const fn start(source: Address, destination: Address, protocol: u8) -> Embedded {
    Embedded { source, destination, source_port: 0, destination_port: 0, protocol }
}
