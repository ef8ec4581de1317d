//! Two cores are better than one, once there is enough to do.
//!
//! Where the system refuses a thread, the work is done without.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does both; at the same time if that is worth a thread.
pub fn both<A: Send, B>(
    is_worth_it: bool,
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B,
) -> (A, B) {
    if !is_worth_it {
        return (first(), second());
    }
    let first = Job::new(first);
    thread::scope(|scope| {
        let started = first.start(scope);
        let second = second();
        (first.finish(started), second)
    })
}

/// Does all of them, each on a thread of its own, and gives what they gave in
/// their order.
pub fn all<T: Send, R: Send>(parts: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if parts.len() < 2 {
        return parts.into_iter().map(work).collect();
    }
    let work = &work;
    let jobs: Vec<_> = parts.into_iter().map(|part| Job::new(move || work(part))).collect();
    thread::scope(|scope| {
        let started: Vec<_> = jobs.iter().map(|job| job.start(scope)).collect();
        jobs.iter().zip(started).map(|(job, started)| job.finish(started)).collect()
    })
}

/// Does each of them, on a thread per core as long as each has something `worth` it, and gives
/// what they gave in their order. Who is done takes the next, as nobody knows beforehand how
/// long one takes; from the end, where roles stand, behind what they include.
pub(crate) fn each<T: Send, R: Send>(
    parts: Vec<T>,
    size: impl Fn(&T) -> usize,
    worth: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let whole: usize = parts.iter().map(size).sum();
    let threads = threads(whole, worth).min(parts.len());
    let parts = Mutex::new(parts.into_iter().enumerate());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next_back();
    let some = |()| {
        let mut done = Vec::new();
        while let Some((place, part)) = next() {
            done.push((place, work(part)));
        }
        done
    };
    let mut done: Vec<_> = all(vec![(); threads], some).into_iter().flatten().collect();
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, given)| given).collect()
}

/// Threads for so much work, if each is to have something `worth` it: one per core at
/// most.
#[must_use]
pub fn threads(work: usize, worth: usize) -> usize {
    /// More than there are large parts in any policy, or than memory is quick enough for.
    const MOST: usize = 8;
    // Not asked for nothing: the answer takes a look at several files.
    if work / worth < 2 {
        return 1;
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    (work / worth).min(cores).min(MOST)
}

/// Gives memory back; aside if that is worth a thread, since nobody waits for it.
pub(crate) fn discard<T: Send + 'static>(is_worth_it: bool, whole: T) {
    if is_worth_it {
        // Without a thread to be had, it is dropped all the same.
        let _aside = thread::Builder::new().spawn(move || drop(whole));
    }
}

/// Divides work, all parts of which are alike, among one thread per core, as long as each has
/// something `worth` it.
pub(crate) fn shares<T: Clone>(work: &[T], worth: usize) -> Vec<Vec<T>> {
    let share = work.len().div_ceil(threads(work.len(), worth)).max(1);
    work.chunks(share).map(<[T]>::to_vec).collect()
}

/// Work that is done once, by whoever comes first.
struct Job<F>(Mutex<Option<F>>);

impl<F: FnOnce() -> R + Send, R: Send> Job<F> {
    fn new(work: F) -> Self {
        Self(Mutex::new(Some(work)))
    }

    /// Starts it on a thread; `None` if there is none to be had.
    fn start<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
    ) -> Option<thread::ScopedJoinHandle<'scope, R>>
    where
        R: 'scope,
    {
        thread::Builder::new().spawn_scoped(scope, || self.run()).ok()
    }

    /// Waits for it, or does it here.
    fn finish(&self, started: Option<thread::ScopedJoinHandle<'_, R>>) -> R {
        match started {
            Some(started) => started.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None => self.run(),
        }
    }

    fn run(&self) -> R {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match work {
            Some(work) => work(),
            None => unreachable!("a job is started or finished, not both"),
        }
    }
}
