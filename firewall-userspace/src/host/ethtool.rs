//! The few offloads that stand in the way of XDP, by `SIOCETHTOOL`.

use std::io;
use std::os::fd::AsRawFd as _;

/// `ETHTOOL_GFLAGS` of `linux/ethtool.h`: offloads as a set of bits.
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_RXVLAN`.
const RX_VLAN: u32 = 1 << 8;
/// `ETH_FLAG_LRO`.
const LRO: u32 = 1 << 15;

/// Offloads of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offloads {
    /// Segments are merged by the NIC: native XDP is refused.
    pub large_receive: bool,
    /// VLAN tags are taken off before XDP sees the frame.
    pub vlan_strip: bool,
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Asks an interface; the kernel lets anybody ask.
pub(crate) fn offloads(name: &str) -> io::Result<Offloads> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| {
        std::net::UdpSocket::bind(("::1", 0)).or_else(|_| std::net::UdpSocket::bind(("0.0.0.0", 0)))
    })?;
    let mut value = Value { command: GET_FLAGS, data: 0 };
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` and the `value` it points to outlive the call, and are
    // what this request reads and writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Offloads { large_receive: value.data & LRO != 0, vlan_strip: value.data & RX_VLAN != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_answers_and_a_missing_device_does_not() {
        assert!(!offloads("lo").unwrap().large_receive);
        assert!(offloads("no-such-device").is_err());
        assert!(offloads("a-name-that-is-far-too-long").is_err());
    }
}
