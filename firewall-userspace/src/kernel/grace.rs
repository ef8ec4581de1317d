//! Waiting until no packet is under way in programs that were in force before.

use std::io;
use std::path::Path;
use std::thread::{self, JoinHandle};

/// A wait that has begun.
///
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` returns after an RCU grace period, some 8 to 24 ms:
/// programs of all hooks run in RCU readers, so those that had begun before have ended.
/// On a single CPU it returns at once: whoever runs there has no program below him, as
/// they run with bottom halves off, unless the kernel is `PREEMPT_RT`. See
/// `kernel/sched/membarrier.c`.
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

    /// Waits until it is over. False if that cannot be known: the kernel refuses on
    /// machines with `nohz_full`, and preempts programs where it is a real-time one.
    #[must_use]
    pub fn over(self) -> bool {
        !Path::new("/sys/kernel/realtime").exists() && self.0.join().is_ok_and(|it| it.is_ok())
    }
}
