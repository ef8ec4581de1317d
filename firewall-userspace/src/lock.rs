//! One change of the policy at a time, whoever makes it.
//!
//! An advisory lock on a file that names its holder: it goes with the process,
//! however that ends. Which files there are, [`paths`](crate::paths) says.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
/// Whoever may read a file may lock it, and for ever: this is for root alone.
const MODE: u32 = 0o600;

/// The right to change the policy, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

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
        Self::take_within(PATIENCE, path, purpose)?.ok_or_else(|| {
            Failure::new(format!("links are kept by {}", holder(path)))
                .detail("nothing was changed")
                .help("it hangs: systemctl restart firewall, or kill that process")
                .into()
        })
    }

    /// Takes the lock of an agent; one that is told to end has a moment for that.
    ///
    /// # Errors
    /// If another agent runs.
    pub(crate) fn of_agent(path: &Path) -> Result<Self> {
        Self::take_within(PATIENCE, path, "agent")?.ok_or_else(|| {
            Failure::new(format!("another agent runs: {}", holder(path)))
                .help("firewall status    names its process")
                .into()
        })
    }

    fn take_within(time: Duration, path: &Path, purpose: &str) -> Result<Option<Self>> {
        let until = Instant::now() + time;
        loop {
            match Self::take_if_free(path, purpose)? {
                None if Instant::now() < until => thread::sleep(STEP),
                taken => return Ok(taken),
            }
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

impl Drop for Lock {
    /// Whoever takes it next without a word must not be taken for this process.
    fn drop(&mut self) {
        let _left = self.0.set_len(0);
    }
}

/// Who holds a lock, as it has written itself.
fn holder(path: &Path) -> String {
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let written = written.trim();
    let process = written.split_once("process ").and_then(|(_, rest)| rest.split(',').next());
    let lives = process.is_some_and(|process| Path::new("/proc").join(process).exists());
    // What was killed has left its name to a process that does not write one.
    if lives { written.to_owned() } else { "another process, which left no name".to_owned() }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
    // One that an earlier version made may be read by everybody.
    if file.metadata()?.permissions().mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
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

    #[test]
    fn only_the_owner_can_open_a_lock() {
        let path = std::env::temp_dir().join(format!("firewall-lock-mode-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for _ in 0..2 {
            drop(Lock::take(&path, "apply").unwrap());
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, MODE);
            std::fs::remove_file(&path).unwrap();
        }
        assert!(!path.exists());
    }

    #[test]
    fn what_has_ended_does_not_hold_a_lock() {
        let path = std::env::temp_dir().join(format!("firewall-lock-dead-{}", std::process::id()));
        drop(Lock::take(&path, "apply").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        std::fs::write(&path, "root (apply web.yaml, process 4194305, since today)\n").unwrap();
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        let refused = Lock::take(&path, "apply").unwrap_err().to_string();
        assert!(refused.contains("another process") && !refused.contains("4194305"), "{refused}");
        std::fs::remove_file(&path).unwrap();
    }
}
