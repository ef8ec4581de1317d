//! A visitor who loads a page again and again, and notices when it fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::site::{self, Site};

/// Between two pages.
const PAUSE: Duration = Duration::from_millis(50);

/// What a visitor has seen so far; outlives the visit.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    stop: AtomicBool,
    pages: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// A visit that goes on in a thread of its own, until this is dropped.
pub(crate) struct Visit<'scope, 'env> {
    seen: &'env Seen,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl Drop for Visit<'_, '_> {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// Starts to visit, over both families in turn.
    pub(crate) fn visit<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        site: &'env Site,
    ) -> Visit<'scope, 'env> {
        let thread = scope.spawn(|| {
            for family in ["-4", "-6"].into_iter().cycle() {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                match site::page(site, family, "/") {
                    Ok(_) => self.pages.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        let mut failures =
                            self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push(format!("{error:#}"));
                        0
                    }
                };
                thread::sleep(PAUSE);
            }
        });
        Visit { seen: self, thread: Some(thread) }
    }
}

impl Visit<'_, '_> {
    /// Pages so far.
    pub(crate) fn pages(&self) -> u64 {
        self.seen.pages.load(Ordering::Relaxed)
    }

    /// Waits until so many more pages have come.
    pub(crate) fn wait_for(&self, more: u64, limit: Duration) -> Result<()> {
        let (goal, step) = (self.pages() + more, Duration::from_millis(20));
        let mut waited = Duration::ZERO;
        while self.pages() < goal {
            ensure!(waited < limit, "{} pages after {limit:?}", self.pages());
            thread::sleep(step);
            waited += step;
        }
        Ok(())
    }

    /// Ends the visit: every page must have come.
    pub(crate) fn end(mut self) -> Result<u64> {
        self.seen.stop.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(ScopedJoinHandle::join);
        let failures = self.seen.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = self.seen.pages.load(Ordering::Relaxed);
        if let Some(first) = failures.first() {
            anyhow::bail!("{} of {} pages failed, first: {first}", failures.len(), pages);
        }
        Ok(pages)
    }
}
