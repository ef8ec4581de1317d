//! Frame to [`Packet`], or the reason why it cannot be one.
//!
//! Lengths are believed only as far as both the frame and the header before
//! them agree. Checksums are not verified: the card and the stack do that.

mod ip;
mod transport;

use crate::frame::{Frame, Header as _};
use crate::packet::{Family, Network, Packet};
use crate::policy::Context;
use crate::verdict::Reason;

pub use ip::parse_v6;
pub use transport::possible_flags;
pub use transport::{Embedded, embedded};

/// EtherTypes that the datapath treats by name (IEEE 802 numbers).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Below this, the field is an 802.3 length.
    pub const FIRST: u16 = 0x0600;
    /// 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// Tags that are followed: a service tag and a customer tag.
const MAX_TAGS: usize = 2;

/// Parses a frame into `packet`.
///
/// `tag` is a VLAN tag that was taken off the frame before it got here (TC keeps
/// it beside the packet), or [`Context::UNTAGGED`].
///
/// # Errors
/// The malformed [`Reason`] to drop and count the frame with; what `packet` then
/// holds is as far as the parser got.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, tag: u16, packet: &mut Packet) -> Result<Network, Reason> {
    let header = frame.header::<14>(0).ok_or(Reason::MalformedEthernet)?;
    packet.ethertype = header.u16::<12>();
    packet.vlan = tag;
    let mut offset = 14;
    if is_tag(packet.ethertype) {
        offset = tags(frame, packet)?;
    }
    match packet.ethertype {
        ethertype::IPV4 => ip::parse_v4(frame, packet, offset)?,
        ethertype::IPV6 => frame.parse_v6(packet, offset)?,
        _ => return Ok(Network::Other),
    }
    sane(packet)?;
    Ok(Network::Ip)
}

/// Follows VLAN tags; returns where the network header starts. One that was taken
/// off the frame before is one of the [`MAX_TAGS`].
#[inline(always)]
fn tags<F: Frame>(frame: &F, packet: &mut Packet) -> Result<usize, Reason> {
    let last = 14 + 4 * if packet.vlan == Context::UNTAGGED { MAX_TAGS } else { MAX_TAGS - 1 };
    let mut offset = 14;
    for _ in 0..MAX_TAGS {
        if !is_tag(packet.ethertype) {
            break;
        }
        let tag = frame.header::<4>(offset).ok_or(Reason::MalformedEthernet)?;
        if packet.vlan == Context::UNTAGGED {
            packet.vlan = tag.u16::<0>() & 0xfff;
        }
        packet.ethertype = tag.u16::<2>();
        offset += 4;
    }
    if is_tag(packet.ethertype) || offset > last {
        return Err(Reason::MalformedVlan);
    }
    Ok(offset)
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::SERVICE_VLAN)
}

/// Refuses addresses that no packet on a wire can have.
#[inline(always)]
fn sane(packet: &Packet) -> Result<(), Reason> {
    if packet.source == packet.destination {
        return Err(Reason::MalformedLand);
    }
    match packet.family {
        Family::V4 => ip::sane_v4(packet),
        Family::V6 => ip::sane_v6(packet),
    }
}
