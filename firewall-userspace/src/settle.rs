//! When judges take the place of roots in the links, see [`kernel::settle`](crate::kernel::settle).
//!
//! Only where that disturbs nobody: TC and generic XDP exchange a pointer, and so do the drivers
//! named here. Others stop their queues, or take the link down, for each program that is set:
//! there the root stays, as it is attached once.

use anyhow::Result;

use crate::host::ethtool;
use crate::kernel::attach::{Attachment, Hook};
use crate::kernel::store::{Store, interface_name};
use crate::lock::Lock;
use crate::paths;

/// Drivers whose `ndo_bpf` exchanges a pointer where a program is set already, by the kernels that
/// [`doctor`](crate::cli) asks for. `virtio_net` also pauses polling meanwhile, and loses nothing.
/// Not these: `bnxt_en`, `qede` and `mana` restart; `igc` and `gve` have done so until lately;
/// `hv_netvsc` and `bonding` ask others. Sources: `drivers/net/` of Linux, function `*_xdp_set*`.
const IN_PLACE: [&str; 16] = [
    "veth",
    "virtio_net",
    "ena",
    "mlx5_core",
    "mlx4_en",
    "ice",
    "i40e",
    "ixgbe",
    "igb",
    "vmxnet3",
    "tun",
    "nfp",
    "mvneta",
    "cpsw",
    "tsnep",
    "st_gmac",
];

/// Attaches the judges in force where roots are, unless somebody is changing the policy; how many
/// links have changed.
///
/// # Errors
/// If a pin cannot be read or the kernel refuses; enforcement is the same.
pub(crate) fn settle(store: &Store) -> Result<usize> {
    if !store.can_settle(is_undisturbed)? {
        return Ok(0);
    }
    match Lock::take_if_free(&paths::lock(), "agent, attaching judges")? {
        Some(_lock) => store.settle(is_undisturbed),
        None => Ok(0),
    }
}

/// Whether another program at an attachment disturbs no packet.
fn is_undisturbed(at: &Attachment) -> bool {
    at.hook != Hook::XdpNative
        || interface_name(at.ifindex)
            .and_then(|name| Ok(ethtool::driver(&name)?))
            .is_ok_and(|driver| IN_PLACE.contains(&driver.as_str()))
}
