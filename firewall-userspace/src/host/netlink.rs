//! One question to the kernel's routing netlink: what interfaces are, what they
//! stand on, and which XDP programs sit on them, ours or not.
//!
//! Unlike `/sys` it answers for the network namespace that asks.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};

/// Attributes of a link, `linux/if_link.h`.
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
/// What `IFLA_LINKINFO` holds.
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// What `IFLA_INFO_DATA` of a VLAN holds.
const IFLA_VLAN_ID: u16 = 1;
/// What `IFLA_XDP` holds.
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;
/// Lower bits of an attribute's type: the rest are flags.
const TYPE: u16 = 0x3fff;
/// Bytes of `nlmsghdr` and of `ifinfomsg`.
const HEADER: usize = 16;
const LINK: usize = 16;

/// An interface, as far as others concern it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its index.
    pub ifindex: u32,
    /// Whether its frames begin with an Ethernet header.
    pub is_ethernet: bool,
    /// `vlan`, `bond`, `veth`; empty for hardware.
    pub kind: String,
    /// The interface that it was made on: below a VLAN. None if that is in another
    /// network namespace.
    pub base: Option<u32>,
    /// The tag of a VLAN.
    pub vlan: Option<u16>,
    /// The bond or bridge that it is part of.
    pub master: Option<u32>,
    /// Ids of XDP programs on it.
    pub programs: Vec<u32>,
}

/// Every interface of this network namespace.
pub(crate) fn links() -> io::Result<Vec<Link>> {
    // SAFETY: makes a new descriptor; no memory is involved.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    let mut socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    socket.write_all(&request())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = socket.read(&mut buffer)?;
        if length == 0 || !messages(&buffer[..length], &mut found)? {
            return Ok(found);
        }
    }
}

/// `RTM_GETLINK` for every interface.
fn request() -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let mut bytes = Vec::with_capacity(HEADER + LINK);
    bytes.extend(32_u32.to_ne_bytes());
    bytes.extend(libc::RTM_GETLINK.to_ne_bytes());
    bytes.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    bytes.resize(HEADER + LINK, 0);
    bytes
}

/// Reads the messages of a datagram; false after the last one of the dump.
fn messages(mut bytes: &[u8], found: &mut Vec<Link>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(message) = bytes.get(HEADER..length) else { break };
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => {
                let code = u32_at(message, 0).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ if kind == libc::RTM_NEWLINK => found.extend(link(message)),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn link(message: &[u8]) -> Option<Link> {
    let is_ethernet = u16_at(message, 2)? == libc::ARPHRD_ETHER;
    let mut link = Link { ifindex: u32_at(message, 4)?, is_ethernet, ..Link::default() };
    let mut is_elsewhere = false;
    for (kind, value) in attributes_of(message.get(LINK..).unwrap_or_default()) {
        match kind {
            IFLA_LINK => link.base = u32_at(value, 0),
            IFLA_LINK_NETNSID => is_elsewhere = true,
            IFLA_MASTER => link.master = u32_at(value, 0),
            IFLA_LINKINFO => {
                link.kind = kind_of(value).unwrap_or_default();
                link.vlan = vlan_of(value).filter(|_| link.kind == "vlan");
            }
            IFLA_XDP => link.programs = programs(value),
            _ => {}
        }
    }
    link.base = link.base.filter(|base| *base != 0 && !is_elsewhere);
    Some(link)
}

fn kind_of(info: &[u8]) -> Option<String> {
    let (_, name) = attributes_of(info).find(|(kind, _)| *kind == IFLA_INFO_KIND)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The number of a VLAN; of other kinds the attribute means something else.
fn vlan_of(info: &[u8]) -> Option<u16> {
    let (_, data) = attributes_of(info).find(|(kind, _)| *kind == IFLA_INFO_DATA)?;
    let (_, number) = attributes_of(data).find(|(kind, _)| *kind == IFLA_VLAN_ID)?;
    u16_at(number, 0)
}

fn programs(xdp: &[u8]) -> Vec<u32> {
    let attached = attributes_of(xdp)
        .any(|(kind, value)| kind == IFLA_XDP_ATTACHED && value.first() != Some(&0));
    let ids = attributes_of(xdp).filter_map(|(kind, value)| {
        let is_id = matches!(
            kind,
            IFLA_XDP_PROG_ID | IFLA_XDP_DRV_PROG_ID | IFLA_XDP_SKB_PROG_ID | IFLA_XDP_HW_PROG_ID
        );
        u32_at(value, 0).filter(|id| is_id && attached && *id != 0)
    });
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Attributes: length with its header, type, value, padded to four bytes.
fn attributes_of(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16_at(bytes, 0)? as usize;
        let kind = u16_at(bytes, 2)? & TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_link_message_is_read() {
        let xdp = [
            attribute(IFLA_XDP_ATTACHED, &[1]),
            attribute(IFLA_XDP_PROG_ID, &214_u32.to_ne_bytes()),
        ];
        let mut body = vec![0; LINK];
        body[2] = 1;
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        body.extend(attribute(3, b"eth1\0"));
        body.extend(attribute(IFLA_LINK, &2_u32.to_ne_bytes()));
        body.extend(attribute(IFLA_MASTER, &5_u32.to_ne_bytes()));
        let number = attribute(IFLA_VLAN_ID, &7_u16.to_ne_bytes());
        let info = [attribute(IFLA_INFO_KIND, b"vlan\0"), attribute(IFLA_INFO_DATA, &number)];
        body.extend(attribute(IFLA_LINKINFO, &info.concat()));
        body.extend(attribute(IFLA_XDP, &xdp.concat()));
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(libc::RTM_NEWLINK.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        let mut found = Vec::new();
        assert!(messages(&message, &mut found).unwrap());
        let kind = "vlan".to_owned();
        let (base, vlan, master, programs) = (Some(2), Some(7), Some(5), vec![214]);
        let wanted = Link { ifindex: 7, is_ethernet: true, kind, base, vlan, master, programs };
        assert_eq!(found, [wanted]);
        for cut in 0..message.len() {
            let _ = messages(&message[..cut], &mut Vec::new());
        }
    }

    #[test]
    fn this_kernel_answers() {
        assert!(links().unwrap().iter().any(|link| link.ifindex == 1));
    }
}
