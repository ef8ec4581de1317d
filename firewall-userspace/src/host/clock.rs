//! Clocks: wall time for people, monotonic time as the kernel stamps events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `CLOCK_MONOTONIC`, the clock of everything the datapath writes.
pub(crate) fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct we own; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

/// Wall time, milliseconds since 1970, of a monotonic moment near now.
pub(crate) fn wall_ms(monotonic_ns: u64) -> u64 {
    let (wall, now) = (unix_ms(), u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX));
    if monotonic_ns >= now {
        wall.saturating_add((monotonic_ns - now) / 1_000_000)
    } else {
        wall.saturating_sub((now - monotonic_ns) / 1_000_000)
    }
}

/// A moment in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    year: i32,
    month: i32,
    day: i32,
    hour: i32,
    minute: i32,
    second: i32,
    milli: u64,
}

impl Local {
    /// From milliseconds since 1970, by this host's time zone.
    pub(crate) fn of(unix_ms: u64) -> Self {
        let seconds = libc::time_t::try_from(unix_ms / 1000).unwrap_or(libc::time_t::MAX);
        // SAFETY: all-zero is a valid value of this plain struct.
        let mut parts: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to values we own, and live through the call.
        unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
        Self {
            year: parts.tm_year + 1900,
            month: parts.tm_mon + 1,
            day: parts.tm_mday,
            hour: parts.tm_hour,
            minute: parts.tm_min,
            second: parts.tm_sec,
            milli: unix_ms % 1000,
        }
    }

    /// `14:05:01.114`.
    pub(crate) fn time_of_day(&self) -> String {
        let Self { hour, minute, second, milli, .. } = self;
        format!("{hour:02}:{minute:02}:{second:02}.{milli:03}")
    }

    /// `14:05:01.114` if it is on the day of now, else `2026-07-12 14:05:01`.
    pub(crate) fn as_of(&self, now_ms: u64) -> String {
        let today = Self::of(now_ms);
        if (self.year, self.month, self.day) == (today.year, today.month, today.day) {
            self.time_of_day()
        } else {
            self.date_and_time()
        }
    }

    /// `2026-07-12 14:05:01`.
    pub(crate) fn date_and_time(&self) -> String {
        let Self { year, month, day, hour, minute, second, .. } = self;
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_moments_become_wall_time() {
        let (wall, now) = (unix_ms(), u64::try_from(monotonic().as_nanos()).unwrap());
        assert!(wall_ms(now - 5_000_000_000).abs_diff(wall - 5_000) < 100);
        assert!(wall_ms(now + 5_000_000_000).abs_diff(wall + 5_000) < 100);
    }

    #[test]
    fn another_day_is_named() {
        let now = 1_790_000_000_114;
        assert_eq!(Local::of(now).as_of(now), Local::of(now).time_of_day());
        let tomorrow = now + 24 * 3_600_000;
        assert_eq!(Local::of(tomorrow).as_of(now), Local::of(tomorrow).date_and_time());
    }

    #[test]
    fn times_are_written_in_full() {
        let text = Local::of(1_790_000_000_114).date_and_time();
        assert_eq!(text.len(), "2026-07-12 14:05:01".len());
        assert!(Local::of(1_790_000_000_114).time_of_day().ends_with(".114"));
    }
}
