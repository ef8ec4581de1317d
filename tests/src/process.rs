//! A program that keeps running on a host, and ends with it.

use std::fmt::Debug;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::host::{self, Host, SharedChild, Socket, lock};
use crate::namespace;

/// Time between SIGTERM and SIGKILL when a program is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    host: Host,
    pid: u32,
    child: SharedChild,
    log: PathBuf,
}

impl Process {
    /// Starts a program; standard output and error go to `NAME.log`.
    pub(crate) fn start(host: &Host, name: &str, command: &mut Command) -> Result<Self> {
        let log = host.directory().join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = host.start_shared(command)?;
        let pid = lock(&child).id();
        Ok(Self { name: name.to_owned(), host: host.clone(), pid, child, log })
    }

    /// Number of the process, as the machine sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(lock(&self.child).try_wait()?)
    }

    /// Waits until all of `sockets` are there.
    ///
    /// # Errors
    ///
    /// If the program ends, or `limit` passes; the message holds the end of its log.
    pub fn wait_listening(&self, sockets: &[Socket], limit: Duration) -> Result<()> {
        let host = self.host.clone();
        self.wait_until(&format!("listening on {sockets:?}"), limit, || {
            sockets.iter().all(|socket| host.listens(*socket))
        })
    }

    /// Waits until `ready` is true, looking every few milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Process::wait_listening`].
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.ended()? {
                bail!(
                    "{}: ended before it was {what} ({status})\n{}",
                    self.full_name(),
                    self.tail()
                );
            }
            if start.elapsed() > limit {
                bail!("{}: not {what} after {limit:?}\n{}", self.full_name(), self.tail());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If it still runs after `limit`.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        self.wait_for(limit)?
            .with_context(|| format!("{}: still running after {limit:?}", self.full_name()))
    }

    /// Sends a signal, by number.
    ///
    /// # Errors
    ///
    /// If the program has ended.
    pub fn signal(&self, signal: i32) -> Result<()> {
        namespace::signal(self.pid(), signal)
            .with_context(|| format!("{}: cannot send signal {signal}", self.full_name()))
    }

    /// Ends it in order: SIGTERM, and SIGKILL if that does not help in ten seconds.
    ///
    /// # Errors
    ///
    /// If it does not end even so.
    pub fn stop(self) -> Result<ExitStatus> {
        // An error means that it has ended, which `wait` then tells.
        let _ = namespace::signal(self.pid(), libc::SIGTERM);
        match self.wait_for(STOP_LIMIT)? {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// Ends it at once, as a crash would: SIGKILL.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    pub fn kill(self) -> Result<ExitStatus> {
        lock(&self.child).kill()?;
        self.wait(STOP_LIMIT)
    }

    fn wait_for(&self, limit: Duration) -> Result<Option<ExitStatus>> {
        host::wait(&mut lock(&self.child), limit)
    }

    fn full_name(&self) -> String {
        format!("{} on {}", self.name, self.host.name())
    }

    /// The last lines of its log.
    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.host.is_kept() {
            let _ = lock(&self.child).kill();
            let _ = self.wait_for(STOP_LIMIT);
        }
    }
}
