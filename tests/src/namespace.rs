//! Entering and making kernel namespaces. Everything `unsafe` of the lab is here.
//!
//! Both change the calling thread only, so both happen on a thread that lives
//! for one call ([`on_thread`]): what it spawns inherits its namespaces, and the
//! rest of the process never leaves its own.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

/// A process whose namespaces can be entered, held by a descriptor: its number
/// may be reused, the descriptor never means another process.
#[derive(Debug)]
pub(crate) struct Target(OwnedFd);

impl Target {
    /// The process `pid`.
    ///
    /// # Errors
    ///
    /// If there is no such process, or too many files are open.
    pub(crate) fn open(pid: u32) -> Result<Self> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0) };
        let fd = RawFd::try_from(fd).map_err(Error::other)?;
        check(fd)?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Waits until it has ended, for at most `limit`: to the moment, since some are timed.
    ///
    /// # Errors
    ///
    /// If the wait is interrupted.
    pub(crate) fn await_end(&self, limit: Duration) -> Result<()> {
        let mut end = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: one descriptor, as it says.
        check(unsafe { libc::poll(&raw mut end, 1, limit) })
    }

    /// Runs `work` on a thread with this process's network, mounts and host name.
    ///
    /// # Errors
    ///
    /// If the namespaces cannot be entered: no root, or the process is gone.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_thread(|| {
            self.join(libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS)?;
            Ok(work())
        })
    }

    /// As [`Target::enter`], and what `work` starts is also in the process
    /// namespace, so that it ends with it. `work` itself cannot start threads.
    ///
    /// # Errors
    ///
    /// As [`Target::enter`].
    pub(crate) fn spawn<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.enter(|| {
            self.join(libc::CLONE_NEWPID)?;
            Ok(work())
        })?
    }

    /// Runs `work` on a thread with this process's network only: programs it
    /// starts see our mounts and our process numbers.
    ///
    /// # Errors
    ///
    /// As [`Target::enter`].
    pub(crate) fn enter_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_thread(|| {
            self.join(libc::CLONE_NEWNET)?;
            Ok(work())
        })
    }

    fn join(&self, namespaces: libc::c_int) -> Result<()> {
        if namespaces & libc::CLONE_NEWNS != 0 {
            // Mounts belong to a root directory, which threads share until told.
            unshare(libc::CLONE_FS)?;
        }
        // SAFETY: setns takes a descriptor that we own and an integer.
        check(unsafe { libc::setns(self.0.as_raw_fd(), namespaces) })
    }
}

/// Runs `work` on a thread with a new network, new mounts and a new host name;
/// the first program it starts is the first process of a new process namespace.
///
/// # Errors
///
/// If the kernel refuses: no root, or namespaces are disabled.
pub(crate) fn create<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    on_thread(|| {
        unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWPID)?;
        Ok(work())
    })
}

/// Sends `signal` to the process `pid`, through a descriptor of it.
///
/// # Errors
///
/// If there is no such process, or it is not ours to signal.
pub(crate) fn signal(pid: u32, signal: i32) -> Result<()> {
    let target = Target::open(pid)?;
    let (fd, signal) = (libc::c_long::from(target.0.as_raw_fd()), libc::c_long::from(signal));
    // SAFETY: the third argument, a siginfo, may be null; the others are integers.
    let status = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, 0, 0) };
    if status == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// A file without a name, for the output of a short program.
///
/// # Errors
///
/// If too many files are open.
pub(crate) fn anonymous_file() -> Result<File> {
    // SAFETY: the name is a constant with a terminating zero.
    let fd = unsafe { libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) };
    check(fd)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn unshare(namespaces: libc::c_int) -> Result<()> {
    // SAFETY: unshare takes an integer and changes this thread only.
    check(unsafe { libc::unshare(namespaces) })
}

fn check(status: libc::c_int) -> Result<()> {
    if status < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Runs `work` on a thread of its own; a panic goes on in the caller.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}
