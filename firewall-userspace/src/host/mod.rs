//! Facts about this host, read from `/proc` and `/sys`; nothing is changed.

pub(crate) mod addresses;
pub(crate) mod arrival;
pub(crate) mod clock;
pub(crate) mod containers;
pub(crate) mod ethtool;
pub(crate) mod interfaces;
pub(crate) mod kernel;
pub(crate) mod netlink;
pub(crate) mod process;
pub(crate) mod selection;
pub(crate) mod session;
pub(crate) mod sockets;
pub(crate) mod terminal;
pub(crate) mod users;
pub(crate) mod vrrp;

use std::path::Path;

/// A small file of the kernel's, trimmed; `None` if it is not there.
pub(crate) fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// This host's name.
pub(crate) fn name() -> String {
    read("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".to_owned())
}
