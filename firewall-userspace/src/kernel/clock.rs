//! The clock that the datapath uses.

use std::time::Duration;

/// Nanoseconds of `CLOCK_MONOTONIC_COARSE`, which is what
/// `bpf_ktime_get_coarse_ns` returns.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// A time so much later, in nanoseconds: the end of all times if that is past it.
#[must_use]
pub fn after(time_ns: u64, span: Duration) -> u64 {
    time_ns.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
