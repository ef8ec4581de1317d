//! The BPF file system, which holds every pin.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Where every distribution has it.
const PLACE: &CStr = c"/sys/fs/bpf";

/// Whoever may read a directory may lock it, and for ever: these are for root alone.
const MODE: u32 = 0o700;

/// Creates a directory for pins.
///
/// Mounts the BPF file system at its usual place if nobody has, as iproute2 and
/// bpftool do: systemd mounts it at boot, containers and small systems do not.
///
/// # Errors
/// If the path is not on a BPF file system, and none can be mounted there.
pub(super) fn create_directory(path: &Path) -> Result<()> {
    if Path::new(&*PLACE.to_string_lossy()).is_dir() && !is_mounted(PLACE) {
        mount().context("could not mount the BPF file system at /sys/fs/bpf")?;
    }
    // One that an earlier version made may be read by everybody.
    let private = || fs::set_permissions(path, Permissions::from_mode(MODE));
    create_whole(path).and_then(|()| private()).with_context(|| {
        format!(
            "could not create {}; is the BPF file system mounted? \
             (mount -t bpf -o mode=0700 bpf /sys/fs/bpf)",
            path.display()
        )
    })
}

/// Creates a directory and those above it, which another process removes while they are empty.
fn create_whole(path: &Path) -> io::Result<()> {
    const TRIES: u32 = 100;
    let mut directories = DirBuilder::new();
    directories.recursive(true).mode(MODE);
    for _ in 1..TRIES {
        match directories.create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    directories.create(path)
}

fn is_mounted(place: &CStr) -> bool {
    // SAFETY: all-zero is a valid value of this struct of integers.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `place` ends in NUL, and `found` has room for the answer.
    let failed = unsafe { libc::statfs(place.as_ptr(), &raw mut found) };
    failed == 0 && found.f_type == libc::BPF_FS_MAGIC
}

fn mount() -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let (kind, options) = (c"bpf", c"mode=0700");
    // SAFETY: all four strings end in NUL and outlive the call.
    let failed = unsafe {
        libc::mount(kind.as_ptr(), PLACE.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
    };
    // Another process may have been faster.
    if failed == 0 || is_mounted(PLACE) { Ok(()) } else { Err(io::Error::last_os_error()) }
}
