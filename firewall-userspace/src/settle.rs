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

/// Drivers whose `ndo_bpf` exchanges a pointer where a program is set already, in the kernels that
/// [`doctor`](crate::cli) asks for. Not these: `virtio_net` stops polling meanwhile; `bnxt_en`, `qede`
/// and `mana` restart; `igc` and `gve` have done so until lately; `hv_netvsc` and `bonding` ask
/// others. Sources: `drivers/net/` of Linux, function `*_xdp_set*`.
const IN_PLACE: [&str; 15] = [
    "veth",
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

/// Links that are changed at one go: each takes some 8 ms, and `apply` waits meanwhile.
const AT_ONCE: usize = 4;

/// Attaches the judges in force where roots are; how many links have changed. Those that have
/// refused are left alone.
///
/// # Errors
/// If a pin cannot be read, or the kernel refuses one: enforcement is the same.
pub(crate) fn settle(store: &Store, refused: &mut Vec<Attachment>) -> Result<usize> {
    let open = store.unsettled(|at| !refused.contains(at) && is_undisturbed(at))?;
    if open.is_empty() {
        return Ok(0);
    }
    let Some(_lock) = Lock::take_if_free(&paths::links_lock(), "agent")? else { return Ok(0) };
    let mut changed = 0;
    for at in open.into_iter().take(AT_ONCE) {
        match store.settle(&at) {
            Ok(is_changed) => changed += usize::from(is_changed),
            Err(error) => {
                refused.push(at);
                return Err(error);
            }
        }
    }
    Ok(changed)
}

/// Whether another program at an attachment disturbs no packet.
fn is_undisturbed(at: &Attachment) -> bool {
    at.hook != Hook::XdpNative
        || interface_name(at.ifindex)
            .and_then(|name| Ok(ethtool::driver(&name)?))
            .is_ok_and(|driver| IN_PLACE.contains(&driver.as_str()))
}
