//! Totals over time, from which rates are read.
//!
//! Three rings of rows, one row per moment and one column per series: each
//! second for a minute, each ten seconds for a quarter of an hour, each minute
//! for an hour. Pure: time is passed in.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::units::as_f64;

/// Most series kept; a new one beyond is not recorded, and shows as not measured.
pub const SERIES_MAX: usize = 1_024;

/// Rows of each ring and the time between them.
const RINGS: [(usize, Duration); 3] =
    [(62, Duration::from_secs(1)), (92, Duration::from_secs(10)), (62, Duration::from_mins(1))];

/// A column that did not exist yet when the row was written.
const ABSENT: u64 = u64::MAX;

/// A time over which a rate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last second.
    Second,
    /// The last ten.
    TenSeconds,
    /// The last minute.
    Minute,
    /// The last quarter of an hour.
    QuarterHour,
}

impl Window {
    /// How long it is.
    #[must_use]
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::QuarterHour => 900,
        })
    }

    const fn ring(self) -> usize {
        match self {
            Self::Second | Self::TenSeconds | Self::Minute => 0,
            Self::QuarterHour => 1,
        }
    }
}

struct Row {
    at: Duration,
    totals: Vec<u64>,
}

/// What was counted, by series.
pub struct History<K> {
    columns: HashMap<K, usize>,
    newest: Option<Row>,
    rings: [VecDeque<Row>; 3],
}

impl<K> Default for History<K> {
    fn default() -> Self {
        Self { columns: HashMap::new(), newest: None, rings: Default::default() }
    }
}

impl<K: Eq + Hash> History<K> {
    /// Notes the totals of a moment; moments must not go back.
    pub fn record(&mut self, at: Duration, totals: impl IntoIterator<Item = (K, u64)>) {
        let mut row = vec![ABSENT; self.columns.len()];
        for (key, total) in totals {
            let free = self.columns.len();
            let column = match self.columns.get(&key) {
                Some(column) => *column,
                None if free < SERIES_MAX => *self.columns.entry(key).or_insert(free),
                None => continue,
            };
            row.resize(row.len().max(column + 1), ABSENT);
            row[column] = total;
        }
        for ((rows, every), ring) in RINGS.iter().zip(&mut self.rings) {
            // A second has come 0.95 s after the last one: timers wander.
            let due = ring.back().is_none_or(|last| at >= last.at + every.mul_f32(0.95));
            if due {
                if ring.len() == *rows {
                    ring.pop_front();
                }
                ring.push_back(Row { at, totals: row.clone() });
            }
        }
        self.newest = Some(Row { at, totals: row });
    }

    /// Forgets the series that `wanted` does not name; the others keep theirs.
    pub fn retain(&mut self, wanted: impl Fn(&K) -> bool) {
        let mut kept: Vec<usize> = Vec::new();
        let mut columns: Vec<(K, usize)> = self.columns.drain().collect();
        columns.sort_by_key(|(_, column)| *column);
        for (key, column) in columns {
            if wanted(&key) {
                self.columns.insert(key, kept.len());
                kept.push(column);
            }
        }
        let rows = self.rings.iter_mut().flatten().chain(&mut self.newest);
        for row in rows {
            let total = |column: &usize| row.totals.get(*column).copied().unwrap_or(ABSENT);
            row.totals = kept.iter().map(total).collect();
        }
    }

    /// What was added per second over a window that ends now; `None` if the
    /// window has not been watched for as long.
    #[must_use]
    pub fn rate(&self, key: &K, window: Window) -> Option<f64> {
        let (added, time) = self.added(key, window)?;
        Some(as_f64(added) / time.as_secs_f64())
    }

    /// What was added over a window that ends now, and how long it really was.
    #[must_use]
    pub fn added(&self, key: &K, window: Window) -> Option<(u64, Duration)> {
        let column = *self.columns.get(key)?;
        let newest = self.newest.as_ref()?;
        let total = present(newest, column)?;
        // The row nearest to the window's start, at most half a step late.
        let (_, step) = RINGS[window.ring()];
        let limit = (newest.at + step / 2).checked_sub(window.length())?;
        let start = self.rings[window.ring()].iter().rev().find(|row| row.at <= limit)?;
        let time = newest.at.checked_sub(start.at).filter(|time| !time.is_zero())?;
        Some((grown(present(start, column)?, total), time))
    }

    /// What was added since the series is known, but over a time at most, and how
    /// long that really was; for times up to a minute.
    #[must_use]
    pub fn latest(&self, key: &K, at_most: Duration) -> Option<(u64, Duration)> {
        let column = *self.columns.get(key)?;
        let newest = self.newest.as_ref()?;
        let total = present(newest, column)?;
        let limit = newest.at.saturating_sub(at_most + RINGS[0].1 / 2);
        let known = |row: &&Row| row.at >= limit && present(row, column).is_some();
        let start = self.rings[0].iter().find(known)?;
        let time = newest.at.checked_sub(start.at).filter(|time| !time.is_zero())?;
        Some((grown(present(start, column)?, total), time))
    }

    /// How long has been watched, at most; `None` before the second moment.
    #[must_use]
    pub fn watched(&self, at_most: Duration) -> Option<Duration> {
        let newest = self.newest.as_ref()?.at;
        let first = self.rings.iter().filter_map(|ring| ring.front()).map(|row| row.at).min()?;
        newest.checked_sub(first).filter(|time| !time.is_zero()).map(|time| time.min(at_most))
    }

    /// The median of the rates of the minutes of the last hour; `None` with less
    /// than a quarter of an hour of them.
    #[must_use]
    pub fn hour_median(&self, key: &K) -> Option<f64> {
        let column = *self.columns.get(key)?;
        let rows = &self.rings[2];
        let mut rates: Vec<f64> = rows
            .iter()
            .zip(rows.iter().skip(1))
            .filter_map(|(from, to)| {
                let added = grown(present(from, column)?, present(to, column)?);
                Some(as_f64(added) / to.at.checked_sub(from.at)?.as_secs_f64())
            })
            .collect();
        if rates.len() < 15 {
            return None;
        }
        rates.sort_by(f64::total_cmp);
        Some(rates[rates.len() / 2])
    }
}

fn present(row: &Row, column: usize) -> Option<u64> {
    row.totals.get(column).copied().filter(|total| *total != ABSENT)
}

/// Counters only grow; one that is lower than before has begun anew.
const fn grown(before: u64, after: u64) -> u64 {
    if after >= before { after - before } else { after }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    fn steady(seconds: u64, per_second: u64) -> History<&'static str> {
        let mut history = History::default();
        for second in 0..=seconds {
            history.record(at(second), [("a", second * per_second)]);
        }
        history
    }

    fn close(rate: Option<f64>, wanted: f64) -> bool {
        rate.is_some_and(|rate| (rate - wanted).abs() < 1e-9)
    }

    #[test]
    fn a_steady_series_has_one_rate_in_every_window() {
        let history = steady(4_000, 7);
        for window in [Window::Second, Window::TenSeconds, Window::Minute, Window::QuarterHour] {
            assert!(close(history.rate(&"a", window), 7.0), "{window:?}");
        }
        assert!(close(history.hour_median(&"a"), 7.0));
    }

    #[test]
    fn a_window_that_was_not_watched_is_not_measured() {
        let history = steady(30, 7);
        assert!(close(history.rate(&"a", Window::TenSeconds), 7.0));
        assert_eq!(history.rate(&"a", Window::Minute), None);
        assert_eq!(history.hour_median(&"a"), None);
        assert_eq!(history.rate(&"b", Window::Second), None);
    }

    #[test]
    fn the_latest_is_as_much_as_was_watched() {
        let history = steady(30, 7);
        let minute = Window::Minute.length();
        assert_eq!(history.latest(&"a", minute), Some((210, Duration::from_secs(30))));
        assert_eq!(history.watched(minute), Some(Duration::from_secs(30)));
        let history = steady(300, 7);
        assert_eq!(history.latest(&"a", minute), Some((420, minute)));
        assert_eq!(history.watched(minute), Some(minute));
        assert_eq!(History::<u8>::default().watched(minute), None);
    }

    #[test]
    fn a_late_timer_is_divided_by_the_time_that_passed() {
        let mut history = History::default();
        history.record(at(0), [("a", 0)]);
        history.record(at(4), [("a", 40)]);
        assert!(close(history.rate(&"a", Window::Second), 10.0));
    }

    #[test]
    fn a_counter_that_began_anew_counts_from_zero() {
        let mut history = History::default();
        history.record(at(0), [("a", 100)]);
        history.record(at(1), [("a", 3)]);
        assert!(close(history.rate(&"a", Window::Second), 3.0));
    }

    #[test]
    fn a_series_that_came_later_has_no_past() {
        let mut history = steady(20, 1);
        history.record(at(21), [("a", 21), ("b", 5)]);
        assert_eq!(history.rate(&"b", Window::Second), None);
        history.record(at(22), [("a", 22), ("b", 9)]);
        assert!(close(history.rate(&"b", Window::Second), 4.0));
        assert_eq!(history.rate(&"b", Window::TenSeconds), None);
    }

    #[test]
    fn what_is_retained_keeps_its_past() {
        let mut history = History::default();
        for second in 0..=70 {
            history.record(at(second), [("a", second), ("b", second * 2), ("c", second * 3)]);
        }
        history.retain(|key| *key != "b");
        assert!(close(history.rate(&"c", Window::Minute), 3.0));
        assert_eq!(history.rate(&"b", Window::Minute), None);
        history.record(at(71), [("a", 71), ("c", 213), ("b", 0)]);
        assert!(close(history.rate(&"a", Window::Second), 1.0));
        assert!(close(history.rate(&"c", Window::Minute), 3.0));
    }

    #[test]
    fn more_series_than_there_is_room_for_are_left_out() {
        let mut history = History::default();
        for second in 0..2 {
            let many = (0..SERIES_MAX + 10).map(|number| (number, second));
            history.record(at(second), many);
        }
        assert_eq!(history.rate(&(SERIES_MAX + 1), Window::Second), None);
        assert!(close(history.rate(&0, Window::Second), 1.0));
    }
}
