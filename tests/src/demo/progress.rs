//! Lines that say what is going on, with the time since the start.

use std::time::{Duration, Instant};

/// Says what is being done, on standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    start: Instant,
}

impl Progress {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    /// Says a line.
    pub(crate) fn say(self, line: &str) {
        eprintln!("{:6.1} s  {line}", self.elapsed().as_secs_f64());
    }
}
