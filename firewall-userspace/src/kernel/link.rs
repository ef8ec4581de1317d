//! `bpf(2)` calls about links: which program one has, and another in its place.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_cmd, bpf_link_info};

use super::sys::{self, attr, bpf};

/// Number of the program that a link has.
///
/// # Errors
/// If the kernel does not tell.
pub(super) fn program(link: BorrowedFd<'_>) -> Result<u32> {
    let info: bpf_link_info = sys::info(link).context("could not ask what a link is")?;
    Ok(info.prog_id)
}

/// Puts a program in the place of the one that a link has: a packet meets one of the two.
/// False if the link's interface is gone.
///
/// At XDP it mostly waits until no packet is in the old one, some 8 ms; at TC it does not. The
/// program must be of the same type.
///
/// # Errors
/// The kernel's, or the driver's; the link has what it had.
pub(super) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<bool> {
    let mut attr = attr();
    // SAFETY: writing fields of a zeroed union whose fields are plain data.
    let update = unsafe { &mut attr.link_update };
    update.link_fd = u32::try_from(link.as_raw_fd())?;
    update.__bindgen_anon_1.new_prog_fd = u32::try_from(program.as_raw_fd())?;
    match bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr) {
        Err(error) if is_gone(&error) => Ok(false),
        result => Ok(result.map(|_| true)?),
    }
}

/// What the kernel says of a link whose interface is gone.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOLINK)
}
