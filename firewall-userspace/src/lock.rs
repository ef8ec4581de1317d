//! One change of the policy at a time, whoever makes it.
//!
//! An advisory lock on a file that names its holder: it goes with the process,
//! however that ends. Which files there are, [`paths`](crate::paths) says.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::failure::Failure;
use crate::host::{clock, users};

/// How long [`Lock::wait`] does: many times what one link takes.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at who holds it.
const STEP: Duration = Duration::from_millis(5);

/// The right to change the policy, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// If somebody else holds it: who, and since when.
    pub(crate) fn take(path: &Path, purpose: &str) -> Result<Self> {
        match Self::take_if_free(path, purpose)? {
            Some(lock) => Ok(lock),
            None => Err(Failure::new(format!("the policy is being changed by {}", holder(path)))
                .help("wait until that has ended, then look at `firewall status`")
                .into()),
        }
    }

    /// Takes a lock that nobody holds for long, as soon as it is free.
    ///
    /// # Errors
    /// If somebody holds it all the same: who, and since when.
    pub(crate) fn wait(path: &Path, purpose: &str) -> Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = Self::take_if_free(path, purpose)? {
                return Ok(lock);
            }
            if Instant::now() >= until {
                return Err(Failure::new(format!("links are kept by {}", holder(path)))
                    .detail("nothing was changed")
                    .help("it hangs: systemctl restart firewall, or kill that process")
                    .into());
            }
            thread::sleep(STEP);
        }
    }

    /// Takes the lock; `None` if somebody else holds it.
    ///
    /// # Errors
    /// If there can be none.
    pub(crate) fn take_if_free(path: &Path, purpose: &str) -> Result<Option<Self>> {
        let mut file = open(path).map_err(|error| {
            Failure::new(format!("could not take the lock {}: {error}", path.display()))
                .detail("nothing was changed")
                .help("make /run writable: mount -o remount,rw /run")
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("could not lock {}", path.display()));
            }
        }
        let since = clock::Local::of(clock::unix_ms()).date_and_time();
        let process = std::process::id();
        let text = format!("{} ({purpose}, process {process}, since {since})\n", users::who());
        file.rewind()?;
        file.set_len(0)?;
        // It is held where the disk has no room for that, too.
        let _nameless = file.write_all(text.as_bytes());
        Ok(Some(Self(file)))
    }
}

/// Who holds a lock, as it has written itself.
fn holder(path: &Path) -> String {
    match std::fs::read_to_string(path).unwrap_or_default().trim() {
        "" => "another process".to_owned(),
        holder => holder.to_owned(),
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let path = std::env::temp_dir().join(format!("firewall-lock-{}", std::process::id()));
        let first = Lock::take(&path, "apply web.yaml").unwrap();
        let refused = Lock::take(&path, "apply").unwrap_err().to_string();
        assert!(refused.contains("apply web.yaml, process"), "{refused}");
        drop(first);
        Lock::take(&path, "apply").unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
