//! A run of the lab, and its end.
//!
//! Nothing of a lab outlives its process, however that ends: each host waits on
//! a pipe from it and ends with it (see [`crate::host`]). Namespaces have no
//! names that could be left over. What stays is the directory of logs; old ones
//! are swept when the next lab starts. Only a lab that was told to stay
//! ([`Lab::keep`]) stays, until [`stop_kept`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::gate;
use crate::host::Host;
use crate::namespace;
use crate::network::{self, Port, Switch};

/// How many directories of ended runs stay for people to read.
const OLD_RUNS: usize = 20;
/// In a run's directory: the hosts that were kept, a line each with the first
/// process's number and name.
const KEPT: &str = "kept";

/// A run of the lab. Dropping it ends everything on it.
#[derive(Debug)]
pub struct Lab {
    name: String,
    directory: PathBuf,
    hosts: Mutex<Vec<Host>>,
}

impl Lab {
    /// Starts a lab without hosts. `name` is for people: `demo`, a test's name.
    ///
    /// # Errors
    ///
    /// If the machine lacks something ([`gate::lab`]).
    pub fn new(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        gate::lab()?;
        let base = base_directory();
        sweep(&base);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = base.join(format!("{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        Ok(Self { name: name.to_owned(), directory, hosts: Mutex::default() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its hosts keep their logs: `target/lab/PID-NUMBER-NAME`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds a host. Its name becomes part of interface names on switches, so it
    /// has at most 15 characters.
    ///
    /// # Errors
    ///
    /// If the name is taken or no name, or the kernel refuses.
    pub fn host(&self, name: &str) -> Result<Host> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 15 || !name.chars().all(plain) {
            bail!("`{name}` is no host name: 1 to 15 of a-z, 0-9 and -");
        }
        if self.hosts().iter().any(|host| host.name() == name) {
            bail!("the lab has a host {name} already");
        }
        let process = format!("fw-{}-{name}", std::process::id());
        let host = Host::start(name, &process, self.directory.join(name))?;
        self.with_hosts(|hosts| hosts.push(host.clone()));
        Ok(host)
    }

    /// Adds a switch.
    ///
    /// # Errors
    ///
    /// As [`Lab::host`].
    pub fn switch(&self, name: &str) -> Result<Switch> {
        Switch::new(self.host(name)?)
    }

    /// Lays a cable between two hosts.
    ///
    /// # Errors
    ///
    /// If `ip` refuses, or the cable does not come up.
    pub fn connect(&self, a: &Port, b: &Port) -> Result<()> {
        network::connect(a, b)
    }

    /// The hosts and switches, in order of creation.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        self.with_hosts(|hosts| hosts.clone())
    }

    /// Lets the lab live on when this process ends, with all that runs on it, and
    /// returns for each host the command that opens a shell there. [`stop_kept`]
    /// ends it.
    ///
    /// # Errors
    ///
    /// If it cannot be recorded, so that it could not be ended later.
    pub fn keep(&self) -> Result<Vec<(String, String)>> {
        let hosts = self.hosts();
        let mut record = String::new();
        for host in &hosts {
            let _ = writeln!(record, "{} fw-{}-{}", host.pid(), std::process::id(), host.name());
        }
        std::fs::write(self.directory.join(KEPT), record).context("cannot record the lab")?;
        hosts
            .iter()
            .map(|host| {
                host.keep()?;
                let shell = format!("nsenter --target {} --all bash", host.pid());
                Ok((host.name().to_owned(), shell))
            })
            .collect()
    }

    fn with_hosts<T>(&self, work: impl FnOnce(&mut Vec<Host>) -> T) -> T {
        work(&mut self.hosts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.hosts().iter().for_each(Host::end);
    }
}

/// Ends every lab that was kept, and returns how many hosts that were.
///
/// # Errors
///
/// If a host cannot be ended.
pub fn stop_kept() -> Result<usize> {
    let mut stopped = 0;
    for run in runs(&base_directory()) {
        let record = run.join(KEPT);
        let Ok(text) = std::fs::read_to_string(&record) else { continue };
        for (pid, name) in kept_hosts(&text) {
            // The number may mean another process by now; the name tells.
            if is_process(pid, name) {
                namespace::signal(pid, libc::SIGKILL)
                    .with_context(|| format!("cannot end {name}"))?;
                stopped += 1;
            }
        }
        std::fs::remove_file(&record)?;
    }
    Ok(stopped)
}

/// The `firewall` binary under test: `FIREWALL_BINARY`, or the debug build
/// beside the running program.
///
/// # Errors
///
/// If it has not been built.
pub fn firewall_binary() -> Result<PathBuf> {
    match std::env::var_os("FIREWALL_BINARY") {
        Some(path) => existing(Path::new(&path)),
        None => beside("firewall"),
    }
}

/// A program of this workspace, built beside the running one.
///
/// # Errors
///
/// If it has not been built.
pub fn beside(name: &str) -> Result<PathBuf> {
    existing(&profile_directory()?.join(name))
}

fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("{} is not there; build it: cargo xtask build", path.display()))
}

/// `target/debug`: test programs are in its `deps`, others directly in it.
fn profile_directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let above = directory.parent().unwrap_or(directory);
    Ok(if directory.ends_with("deps") { above } else { directory }.to_path_buf())
}

/// Where all runs keep their logs.
pub(crate) fn base_directory() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("target/lab")
}

/// The directories of runs, oldest first.
fn runs(base: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
    let mut runs: Vec<_> = entries
        .flatten()
        .filter(|entry| run_process(&entry.path()).is_some())
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    runs.sort();
    runs.into_iter().map(|(_, path)| path).collect()
}

/// The process that a run's directory is named after.
fn run_process(directory: &Path) -> Option<u32> {
    directory.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// Removes the directories of all but the newest ended runs.
fn sweep(base: &Path) {
    let mut ended = runs(base);
    ended.retain(|run| {
        let runs_still =
            run_process(run).is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
        let kept = std::fs::read_to_string(run.join(KEPT)).unwrap_or_default();
        !runs_still && !kept_hosts(&kept).any(|(pid, name)| is_process(pid, name))
    });
    for run in &ended[..ended.len().saturating_sub(OLD_RUNS)] {
        // Another process may sweep at the same time.
        let _ = std::fs::remove_dir_all(run);
    }
}

fn kept_hosts(record: &str) -> impl Iterator<Item = (u32, &str)> {
    record.lines().filter_map(|line| {
        let (pid, name) = line.split_once(' ')?;
        Some((pid.parse().ok()?, name))
    })
}

/// Whether `pid` is a host's first process of this name; asked of its environment,
/// which nobody else has by chance.
fn is_process(pid: u32, name: &str) -> bool {
    let wanted = format!("LAB_HOST={name}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_runs_of_dead_processes_are_swept() {
        let base = std::env::temp_dir().join(format!("lab-sweep-{}", std::process::id()));
        // Above the kernel's largest process number.
        let dead = |n: usize| base.join(format!("{}-0-test", 4_200_000 + n));
        for n in 0..OLD_RUNS + 3 {
            std::fs::create_dir_all(dead(n)).unwrap();
        }
        let own = base.join(format!("{}-0-test", std::process::id()));
        let cache = base.join("cache");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&cache).unwrap();
        sweep(&base);
        assert!(own.is_dir() && cache.is_dir());
        let left = (0..OLD_RUNS + 3).filter(|n| dead(*n).is_dir()).count();
        assert_eq!(left, OLD_RUNS);
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_record_of_kept_hosts_is_read_back() {
        let hosts: Vec<_> = kept_hosts("12 fw-1-web\nnonsense\n13 fw-1-db\n").collect();
        assert_eq!(hosts, [(12, "fw-1-web"), (13, "fw-1-db")]);
    }

    #[test]
    fn a_process_without_the_name_is_not_a_host() {
        assert!(!is_process(std::process::id(), "fw-1-web"));
    }
}
