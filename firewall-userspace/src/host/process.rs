//! What this process costs, from `/proc/self`, and what it may cost.

use crate::report::metrics::Process;
use crate::report::units::as_f64;

/// Kernel clock ticks per second in `/proc`; fixed at 100 on Linux since 2.6.
const TICKS: f64 = 100.0;

/// Bytes of a page in `statm`; every kernel this runs on is asked.
fn page_bytes() -> u64 {
    // SAFETY: reads a constant of the running kernel.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// Has freed memory kept for what is asked for next: for a process that reads a large
/// policy and ends, not for one that stays.
///
/// As it comes, glibc gives large pieces back at once and lets the memory of a thread grow
/// by a page at a time. The kernel then clears the same pages again and again.
pub(crate) fn hoard() {
    /// The largest that glibc takes, half of the memory that a thread begins with.
    #[cfg(target_env = "gnu")]
    const PIECE: i32 = 32 << 20;
    #[cfg(target_env = "gnu")]
    for (what, bytes) in [
        (libc::M_MMAP_THRESHOLD, PIECE),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        // Only set aside: a page that nobody touches takes nothing.
        (libc::M_TOP_PAD, PIECE + PIECE / 2),
    ] {
        // SAFETY: changes what later allocations do, and no memory.
        unsafe { libc::mallopt(what, bytes) };
    }
}

/// The cost of this process.
pub(crate) fn process() -> Process {
    let read = |name: &str| super::read(format!("/proc/self/{name}")).unwrap_or_default();
    let boot = super::read("/proc/stat").and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok())
    });
    let statm = read("statm");
    let mut pages = statm.split_whitespace().map(|field| field.parse::<u64>().unwrap_or_default());
    let mut bytes = || pages.next().unwrap_or_default() * page_bytes();
    let (virtual_bytes, resident_bytes) = (bytes(), bytes());
    let stat = read("stat");
    // The name in parentheses may hold spaces.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number =
        |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Process {
        cpu_seconds: as_f64(number(11) + number(12)) / TICKS,
        resident_bytes,
        virtual_bytes,
        open_fds: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_fds: max_fds(&read("limits")),
        threads: number(17),
        start_seconds: as_f64(boot.unwrap_or_default()) + as_f64(number(19)) / TICKS,
    }
}

fn max_fds(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let process = process();
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > process.resident_bytes);
        assert!(
            process.threads >= 1 && process.open_fds >= 3 && process.max_fds >= process.open_fds
        );
        assert!(process.start_seconds > 1e9);
    }
}
