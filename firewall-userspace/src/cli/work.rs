//! Work that may take long: how long its parts take, and a word of it for whoever
//! waits at a terminal.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::out::Out;

/// Nobody wonders before.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is being done.
pub(super) struct Work {
    out: Out,
    said: Arc<Mutex<Said>>,
    /// Gone once the work is done: nothing is said then.
    _done: Option<Sender<()>>,
}

#[derive(Default)]
struct Said {
    /// In words.
    part: &'static str,
    /// It has taken so long that every part is named.
    is_long: bool,
}

impl Work {
    /// Begins.
    pub(super) fn new(out: Out) -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let done = out.is_watched().then(|| watch(out, said.clone()));
        Self { out, said, _done: done }
    }

    /// Does a part, and tells how many microseconds it took.
    pub(super) fn part<T>(&self, words: &'static str, part: impl FnOnce() -> T) -> (T, u64) {
        let start = Instant::now();
        {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.part = words;
            if said.is_long {
                self.out.note(&format!("{words} ..."));
            }
        }
        let done = part();
        (done, micros(start.elapsed()))
    }
}

/// Names the part that is being done when patience ends.
fn watch(out: Out, said: Arc<Mutex<Said>>) -> Sender<()> {
    let (done, wait) = channel();
    thread::spawn(move || {
        if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.is_long = true;
            out.note(&format!("{} ...", said.part));
        }
    });
    done
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
