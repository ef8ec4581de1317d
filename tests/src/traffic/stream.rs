//! Conversations that go on in threads of their own, until they are asked how
//! they fared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::conversation::Conversation;

/// A running exchange: one question after the other, as fast as answers come.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<Fared>>,
}

/// How an exchange went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fared {
    /// Questions that were answered.
    pub answered: u64,
    /// Whether one was not.
    pub broken: bool,
    /// The longest that an answer took.
    pub slowest: Duration,
}

impl Stream {
    /// Starts one that asks for `length` bytes at a time and gives up on an answer
    /// after `limit`.
    #[must_use]
    pub fn start(mut conversation: Conversation, length: usize, limit: Duration) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (its_stop, its_answered) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            let mut fared = Fared::default();
            while !its_stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                fared.broken = !conversation.asks_within(length, limit);
                if fared.broken {
                    break;
                }
                fared.answered += 1;
                its_answered.store(fared.answered, Ordering::Relaxed);
                fared.slowest = fared.slowest.max(start.elapsed());
            }
            fared
        });
        Self { stop, answered, thread: Some(thread) }
    }

    /// Questions answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it and tells how it went.
    #[must_use]
    pub fn end(mut self) -> Fared {
        self.stop.store(true, Ordering::Relaxed);
        let broken = Fared { broken: true, ..Fared::default() };
        self.thread.take().map_or(broken, |thread| thread.join().unwrap_or(broken))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
