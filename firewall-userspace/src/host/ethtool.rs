//! What an interface's driver is, and the few offloads that stand in the way of XDP, by
//! `SIOCETHTOOL`.

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

/// `ETHTOOL_GDRVINFO`.
const GET_DRIVER: u32 = 0x3;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct Driver {
    command: u32,
    name: [u8; 32],
    /// Versions, places and sizes.
    rest: [u8; 160],
}

/// Asks an interface; the kernel lets anybody ask.
pub(crate) fn offloads(name: &str) -> io::Result<Offloads> {
    let mut value = Value { command: GET_FLAGS, data: 0 };
    ask(name, (&raw mut value).cast())?;
    Ok(Offloads { large_receive: value.data & LRO != 0, vlan_strip: value.data & RX_VLAN != 0 })
}

/// Name of an interface's driver, as it calls itself.
pub(crate) fn driver(name: &str) -> io::Result<String> {
    let mut driver = Driver { command: GET_DRIVER, name: [0; 32], rest: [0; 160] };
    ask(name, (&raw mut driver).cast())?;
    let name = driver.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// One request; `value` is what its command asks for.
fn ask(name: &str, value: *mut libc::c_char) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| {
        std::net::UdpSocket::bind(("::1", 0)).or_else(|_| std::net::UdpSocket::bind(("0.0.0.0", 0)))
    })?;
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = value;
    // SAFETY: `request` and the value it points to outlive the call, and are
    // what this request reads and writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_answers_and_a_missing_device_does_not() {
        assert!(!offloads("lo").unwrap().large_receive);
        assert!(offloads("no-such-device").is_err());
        assert!(driver("no-such-device").is_err());
        assert!(offloads("a-name-that-is-far-too-long").is_err());
    }
}
