//! The lock of the one who writes a table of bans: the directory where it is pinned.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::failure::Failure;

/// How long [`lock`] waits: several times what the largest import takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether it is free.
const STEP: Duration = Duration::from_millis(5);

/// Takes a table of bans for the lifetime of what it gives.
///
/// # Errors
/// If somebody holds it for longer than anybody needs it.
pub(super) fn lock(directory: &Path) -> Result<Option<File>> {
    // Tests do without pins: nobody else knows their maps.
    let file = match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("could not open {}", directory.display()))?,
    };
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(STEP),
            Err(TryLockError::WouldBlock) => return Err(locked(directory).into()),
            Err(TryLockError::Error(error)) => {
                return Err(error).context("could not lock the table of bans");
            }
        }
    }
}

fn locked(directory: &Path) -> Failure {
    let (place, patience) = (directory.display(), PATIENCE.as_secs());
    Failure::new(format!("another process keeps the table of bans locked for {patience} s now"))
        .detail("nothing was changed")
        .help(format!("fuser -v {place}    names it: end it, then chmod 0700 {place}"))
}
