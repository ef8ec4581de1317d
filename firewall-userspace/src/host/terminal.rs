//! The terminal that somebody looks at.

use std::io;
use std::os::fd::AsRawFd as _;

/// Columns of the terminal that is standard output; `None` if it is none.
pub(crate) fn columns() -> Option<usize> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: `size` outlives the call and is what this request writes.
    let result = unsafe { libc::ioctl(io::stdout().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then(|| size.ws_col.into())
}
