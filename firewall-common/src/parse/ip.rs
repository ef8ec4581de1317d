//! IPv4 and IPv6 headers, extension headers and fragments.

use super::transport;
use crate::frame::{Frame, Header as _};
use crate::packet::{Address, Family, Fragment, Packet};
use crate::service::proto;
use crate::verdict::Reason;

/// Extension headers that are followed. RFC 8200 section 4.1 recommends at most
/// seven in a packet.
const MAX_EXTENSIONS: usize = 8;

/// Bytes from the frame's start by which they must have ended: of a frame in several
/// buffers, no more than the first can be read in place.
const EXTENSIONS_END: usize = 2048;

/// IPv6 extension headers, by next-header number.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// The frame says how long an IP packet is only if its length field cannot: a
/// super-packet above 65,535 bytes ("BIG TCP") carries 0 there.
#[inline(always)]
fn big<F: Frame>(frame: &F, offset: usize) -> Option<u32> {
    let longest = u32::from(u16::MAX);
    let end = u32::try_from(frame.length().saturating_sub(offset)).unwrap_or(0);
    if end > longest { Some(end) } else { None }
}

#[inline(always)]
pub(super) fn parse_v4<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    offset: usize,
) -> Result<(), Reason> {
    let header = frame.header::<20>(offset).ok_or(Reason::MalformedIpv4Truncated)?;
    let header_len = u32::from(header.u8::<0>() & 0xf) << 2;
    if header.u8::<0>() >> 4 != 4 || header_len < 20 {
        return Err(Reason::MalformedIpv4Header);
    }
    let mut total = u32::from(header.u16::<2>());
    if total == 0 {
        total = big(frame, offset).ok_or(Reason::MalformedIpv4Length)?;
    }
    if total < header_len || !frame.reaches(offset + total as usize) {
        return Err(Reason::MalformedIpv4Length);
    }
    packet.family = Family::V4;
    packet.source = Address::from_v4(header.u32::<12>());
    packet.destination = Address::from_v4(header.u32::<16>());
    packet.protocol = header.u8::<9>();
    packet.hop_limit = header.u8::<8>();
    packet.length = link_length(offset) + total;
    let payload = total - header_len;
    let flags = header.u16::<6>();
    if flags & !DONT_FRAGMENT != 0 {
        let fragment_offset = u32::from(flags & 0x1fff) << 3;
        packet.fragment_id = u32::from(header.u16::<4>());
        packet.fragment = fragment(fragment_offset, flags & MORE_FRAGMENTS != 0);
        check_fragment(packet, fragment_offset, payload)?;
    }
    transport::parse(frame, packet, offset + header_len as usize, payload)
}

/// IPv4 flags, RFC 791.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Parses the IPv6 packet whose header starts at `offset`.
///
/// # Errors
/// The malformed [`Reason`].
#[inline(always)]
pub fn parse_v6<F: Frame>(frame: &F, packet: &mut Packet, offset: usize) -> Result<(), Reason> {
    let header = frame.header::<40>(offset).ok_or(Reason::MalformedIpv6Header)?;
    if header.u8::<0>() >> 4 != 6 {
        return Err(Reason::MalformedIpv6Header);
    }
    let mut payload = u32::from(header.u16::<4>());
    if payload == 0 && header.u8::<6>() != NO_NEXT_HEADER {
        payload = big(frame, offset + 40).unwrap_or(0);
    }
    if !frame.reaches(offset + 40 + payload as usize) {
        return Err(Reason::MalformedIpv6Length);
    }
    packet.family = Family::V6;
    packet.source = Address { hi: header.u64::<8>(), lo: header.u64::<16>() };
    packet.destination = Address { hi: header.u64::<24>(), lo: header.u64::<32>() };
    packet.protocol = header.u8::<6>();
    packet.hop_limit = header.u8::<7>();
    packet.length = link_length(offset) + 40 + payload;
    let (start, left) = extensions(frame, packet, offset + 40, payload)?;
    transport::parse(frame, packet, start, left)
}

/// "Nothing follows", RFC 8200 section 4.7.
const NO_NEXT_HEADER: u8 = 59;

/// Follows the extension headers; returns where the transport header starts and
/// how many bytes are left there.
#[inline(always)]
fn extensions<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    mut offset: usize,
    mut left: u32,
) -> Result<(usize, u32), Reason> {
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(packet.protocol) {
            return Ok((offset, left));
        }
        let header = frame.header::<8>(offset).ok_or(Reason::MalformedIpv6Extension)?;
        let length = match packet.protocol {
            extension::FRAGMENT => 8,
            extension::AUTHENTICATION => (u32::from(header.u8::<1>()) + 2) << 2,
            _ => (u32::from(header.u8::<1>()) + 1) << 3,
        };
        if length > left {
            return Err(Reason::MalformedIpv6Extension);
        }
        if packet.protocol == extension::ROUTING && header.u8::<2>() == 0 {
            return Err(Reason::Ipv6RoutingHeader0);
        }
        // Eight headers end before 0x8000 whatever they say; so the verifier follows one
        // range instead of one per way through the chain.
        offset = frame.offset(offset + length as usize);
        if offset > EXTENSIONS_END {
            return Err(Reason::Ipv6ChainTooLong);
        }
        left -= length;
        if packet.protocol == extension::FRAGMENT {
            let field = header.u16::<2>();
            let fragment_offset = u32::from(field & 0xfff8);
            packet.protocol = header.u8::<0>();
            packet.fragment_id = header.u32::<4>();
            packet.fragment = fragment(fragment_offset, field & 1 != 0);
            check_fragment(packet, fragment_offset, left)?;
            if matches!(packet.fragment, Fragment::Later) {
                return Ok((offset, left));
            }
        } else {
            packet.protocol = header.u8::<0>();
        }
    }
    if is_extension(packet.protocol) { Err(Reason::Ipv6ChainTooLong) } else { Ok((offset, left)) }
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::FRAGMENT
            | extension::AUTHENTICATION
            | extension::DESTINATION
    )
}

/// Bytes before the network header; frames have no header above a few tags.
#[inline(always)]
fn link_length(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(0)
}

#[inline(always)]
const fn fragment(offset: u32, more: bool) -> Fragment {
    if offset != 0 {
        Fragment::Later
    } else if more {
        Fragment::First
    } else {
        Fragment::Whole
    }
}

/// RFC 1858 and RFC 3128: what no honest fragmentation makes.
#[inline(always)]
fn check_fragment(packet: &Packet, offset: u32, payload: u32) -> Result<(), Reason> {
    if offset != 0 && offset + payload > u32::from(u16::MAX) {
        return Err(Reason::MalformedFragmentLength);
    }
    if offset == 8 && packet.protocol == proto::TCP {
        return Err(Reason::MalformedFragmentOverlap);
    }
    Ok(())
}

/// RFC 6890: sources and destinations that never are on a wire. `0.0.0.0` is the
/// source of a host that asks for its address, and of IGMP queriers.
#[inline(always)]
pub(super) fn sane_v4(packet: &Packet) -> Result<(), Reason> {
    let source = packet.source.v4();
    let asks = packet.protocol == proto::IGMP
        || (packet.protocol == proto::UDP && packet.source_port == 68);
    match source >> 24 {
        0 if source != 0 || !asks => return Err(Reason::MalformedSource),
        127 | 224..=239 => return Err(Reason::MalformedSource),
        255 if source == u32::MAX => return Err(Reason::MalformedSource),
        _ => {}
    }
    match packet.destination.v4() >> 24 {
        0 | 127 => Err(Reason::MalformedDestination),
        _ => Ok(()),
    }
}

/// RFC 4291: `::` is the source of duplicate address detection only.
#[inline(always)]
pub(super) fn sane_v6(packet: &Packet) -> Result<(), Reason> {
    let loopback = Address { hi: 0, lo: 1 };
    let source = packet.source;
    if source.hi >> 56 == 0xff
        || source == loopback
        || (source == Address::UNSPECIFIED && packet.protocol != proto::ICMPV6)
    {
        return Err(Reason::MalformedSource);
    }
    if packet.destination == loopback || packet.destination == Address::UNSPECIFIED {
        return Err(Reason::MalformedDestination);
    }
    Ok(())
}
