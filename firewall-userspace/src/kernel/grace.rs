//! Waiting until no packet is under way that had begun before.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;

/// Waits until every run of a program that had begun has ended. False if that cannot be
/// known.
///
/// Programs of all hooks run with bottom halves off, which nothing preempts: a thread that
/// runs on a CPU has none below it. So one visits each CPU, some 50 us a CPU. Where it may
/// not, `membarrier(MEMBARRIER_CMD_GLOBAL)` waits for an RCU grace period, 8 to 24 ms; with
/// `nohz_full` there is none. A `PREEMPT_RT` kernel preempts programs, too.
#[must_use]
pub fn wait() -> bool {
    if Path::new("/sys/kernel/realtime").exists() {
        return false;
    }
    // On a thread of its own: the place of others stays as it is.
    let visit = || visit_all() || membarrier();
    thread::scope(|scope| scope.spawn(visit).join()).unwrap_or(false)
}

/// Runs on each CPU that is online, one after the other.
fn visit_all() -> bool {
    hurry();
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let Some(cpus) = listed(online.trim()) else { return false };
    cpus.into_iter().all(|cpu| visit(cpu).is_ok())
}

/// Lets this thread run before whatever keeps a CPU busy, where that is allowed.
fn hurry() {
    let first = libc::sched_param { sched_priority: 50 };
    // SAFETY: the structure that the call asks for.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) };
}

/// The numbers of a list such as `0-3,8`; none if it is something else.
fn listed(text: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(all)
}

/// Moves this thread to a CPU: the call returns there.
fn visit(cpu: usize) -> io::Result<()> {
    // A bit per CPU, as many as the largest kernels have.
    let mut set = [0_u64; 128];
    let word = set.get_mut(cpu / 64).ok_or(io::ErrorKind::Unsupported)?;
    *word = 1 << (cpu % 64);
    // SAFETY: the kernel reads as many bytes as the set has.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for an RCU grace period, if there is more than one CPU.
fn membarrier() -> bool {
    // SAFETY: a system call on numbers.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_is_visited() {
        assert_eq!(listed("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!((listed(""), listed("0-x")), (None, None));
        let visited = || (visit_all(), membarrier());
        // One of the two works wherever tests run.
        let (visited, waited) = thread::scope(|scope| scope.spawn(visited).join()).unwrap();
        assert!(visited || waited);
        assert!(visit(usize::MAX).is_err());
    }
}
