//! Waiting until no packet is under way in programs that were in force before.

use std::io;
use std::thread::{self, JoinHandle};

/// A wait that has begun.
///
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` returns after an RCU grace period, some 8 to 24 ms:
/// programs of all hooks run in RCU readers, so those that had begun before have ended.
/// See `kernel/sched/membarrier.c` and `Documentation/RCU/Design/Requirements`.
#[derive(Debug)]
pub struct Grace(JoinHandle<io::Result<()>>);

impl Grace {
    /// Begins to wait, on a thread of its own.
    #[must_use]
    pub fn begin() -> Self {
        Self(thread::spawn(|| {
            // SAFETY: a system call on numbers.
            match unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) }
            {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }))
    }

    /// Waits until it is over. False if it never will be known: the kernel refuses on
    /// machines with `nohz_full`.
    #[must_use]
    pub fn over(self) -> bool {
        self.0.join().is_ok_and(|waited| waited.is_ok())
    }
}
