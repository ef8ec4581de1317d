//! One server of the lab.
//!
//! A host is four kernel namespaces: its own network; its own mounts, with
//! `/etc`, `/var` and `/run` of its own and a bpffs of its own, so that pinned
//! BPF objects end with it; its own processes; its own name. They live as long
//! as the host's first process (`setup.sh`), which lives as long as ours.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::namespace::{self, Target};
use crate::network::Port;
use crate::process::Process;

/// Longest time that [`Host::run`] and [`Host::sh`] give a program.
pub const RUN_LIMIT: Duration = Duration::from_mins(1);
/// Longest time that a host's processes may take to be gone once killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A server of the lab. Clones are the same server, which ends with the last one.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    directory: PathBuf,
    pid: u32,
    target: Target,
    anchor: Mutex<Child>,
    programs: Mutex<Vec<SharedChild>>,
    kept: AtomicBool,
}

/// What a program that ended left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Host {
    /// Starts a host. `process_name` is how its first process shows in `ps`.
    pub(crate) fn start(name: &str, process_name: &str, directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let (script, log) = (directory.join("setup.sh"), directory.join("setup.log"));
        std::fs::write(&script, include_str!("setup.sh"))?;
        let mut command = Command::new("/bin/sh");
        command
            .arg0(process_name)
            .arg(&script)
            .arg(name)
            .arg(&directory)
            .env("LAB_HOST", process_name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .process_group(0);
        let mut anchor = namespace::create(|| command.spawn())
            .with_context(|| format!("host {name}: cannot create its namespaces"))?
            .with_context(|| format!("host {name}: cannot start /bin/sh"))?;
        let ready = wait_ready(anchor.stdout.take());
        let target = Target::open(anchor.id());
        if !ready {
            let _ = anchor.kill();
            let _ = anchor.wait();
            let why = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("host {name}: its set-up failed: {}", why.trim());
        }
        let target = target.with_context(|| format!("host {name} ended at once"))?;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            directory,
            pid: anchor.id(),
            target,
            anchor: Mutex::new(anchor),
            programs: Mutex::default(),
            kept: AtomicBool::new(false),
        })))
    }

    /// Its name, also its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Directory of its logs and servers' files, under `target/lab`; the same
    /// path inside and outside.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Number of its first process, as the machine sees it: for
    /// `nsenter --target PID --all`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// A file of the host as the machine reaches it: `/run/x` of the host is
    /// `/proc/PID/root/run/x` outside.
    #[must_use]
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.0.pid));
        let inside = inside.as_ref();
        root.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Writes a file of the host, with the directories above it.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, inside: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
        let (inside, content) = (inside.as_ref(), content.as_ref());
        // Inside, so that absolute links mean the host's files.
        self.enter(|| {
            std::fs::create_dir_all(inside.parent().unwrap_or(inside))?;
            std::fs::write(inside, content)
        })?
        .with_context(|| format!("{}: cannot write {}", self.name(), inside.display()))
    }

    /// Runs Rust code on a thread that sees the host's network, mounts and name:
    /// its sockets, its `/run`, its pinned maps.
    ///
    /// # Errors
    ///
    /// If the host cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.0.target.enter(work).with_context(|| format!("cannot enter host {}", self.name()))
    }

    /// Runs a program on the host, for at most [`RUN_LIMIT`], and returns what it
    /// left, however it ended. Its working directory is `/`.
    ///
    /// # Errors
    ///
    /// If it cannot start, or takes too long.
    pub fn run(&self, command: &mut Command) -> Result<Output> {
        let text = format!("{}: {command:?}", self.name());
        let (mut stdout, mut stderr) = (namespace::anonymous_file()?, namespace::anonymous_file()?);
        command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let mut child = self.start_program(command)?;
        let status = wait(&mut child, RUN_LIMIT)?;
        let output = |file: &mut File| -> Result<String> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (stdout, stderr) = (output(&mut stdout)?, output(&mut stderr)?);
        let Some(status) = status else {
            child.kill()?;
            child.wait()?;
            bail!("{text}: still running after {RUN_LIMIT:?}\n{stdout}{stderr}");
        };
        Ok(Output { status, stdout, stderr })
    }

    /// As [`Host::run`], for a program that must succeed; returns its standard output.
    ///
    /// # Errors
    ///
    /// Also if it does not exit with 0; the message holds what it printed.
    pub fn check(&self, command: &mut Command) -> Result<String> {
        let output = self.run(command)?;
        if !output.status.success() {
            bail!(
                "{}: {command:?} failed ({})\n{}{}",
                self.name(),
                output.status,
                output.stdout,
                output.stderr
            );
        }
        Ok(output.stdout)
    }

    /// A line of shell on the host that must succeed.
    ///
    /// # Errors
    ///
    /// As [`Host::check`].
    pub fn sh(&self, script: &str) -> Result<String> {
        self.check(Command::new("sh").args(["-c", script]))
    }

    /// Starts a program that keeps running. Its output goes to `NAME.log` in the
    /// host's directory.
    ///
    /// # Errors
    ///
    /// If it cannot start.
    pub fn spawn(&self, name: &str, command: &mut Command) -> Result<Process> {
        Process::start(self, name, command)
    }

    /// Starts a program in all of the host's namespaces, away from the terminal's
    /// process group: a Ctrl-C ends the lab, and the lab ends the program.
    pub(crate) fn start_program(&self, command: &mut Command) -> Result<Child> {
        let text = format!("{command:?}");
        command.process_group(0);
        self.0
            .target
            .spawn(|| command.spawn())
            .with_context(|| format!("cannot enter host {}", self.name()))?
            .with_context(|| format!("{}: cannot start {text}", self.name()))
    }

    /// Runs `ip` with these arguments on the host's network.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        self.ip_batch(&arguments.join(" "))
    }

    /// Runs several `ip` commands, one per line, in one process. Process numbers
    /// in them are the machine's.
    pub(crate) fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let output = self
            .0
            .target
            .enter_network(|| {
                let mut child = command.spawn()?;
                if let Some(mut input) = child.stdin.take() {
                    input.write_all(lines.as_bytes())?;
                }
                child.wait_with_output()
            })
            .with_context(|| format!("cannot enter host {}", self.name()))?
            .context("cannot run `ip`")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("{}: ip: {}\n{lines}", self.name(), why.trim());
        }
        Ok(())
    }

    /// Adds a route: `default` or a network, by way of a gateway's address.
    ///
    /// # Errors
    ///
    /// If `ip` refuses it.
    pub fn route(&self, network: &str, gateway: &str) -> Result<()> {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        self.check(Command::new("ip").args([family, "route", "add", network, "via", gateway]))?;
        Ok(())
    }

    /// Sets a kernel setting of the host's network, such as `net.ipv4.ip_forward`.
    ///
    /// # Errors
    ///
    /// If there is no such setting, or the value is refused.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        self.enter(|| std::fs::write(&path, value))?
            .with_context(|| format!("{}: cannot set {name} = {value}", self.name()))
    }

    /// Makes the host a router of both families.
    ///
    /// # Errors
    ///
    /// As [`Host::sysctl`].
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net.ipv4.ip_forward", "1")?;
        self.sysctl("net.ipv6.conf.all.forwarding", "1")
    }

    /// Adds names for an address to the host's `/etc/hosts`.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn name_address(&self, address: &str, names: &str) -> Result<()> {
        self.enter(|| {
            let mut file = std::fs::OpenOptions::new().append(true).open("/etc/hosts")?;
            writeln!(file, "{address} {names}")
        })?
        .with_context(|| format!("{}: cannot write /etc/hosts", self.name()))
    }

    /// An end of a cable on this host.
    #[must_use]
    pub fn port(&self, interface: &str) -> Port {
        Port::new(self, interface)
    }

    /// Whether something listens on this TCP port, or is bound to this UDP port.
    #[must_use]
    pub fn listens(&self, socket: Socket) -> bool {
        let table =
            |name: &str| std::fs::read_to_string(format!("/proc/{}/net/{name}", self.0.pid));
        match socket {
            Socket::Tcp(port) => ["tcp", "tcp6"]
                .iter()
                .any(|name| table(name).is_ok_and(|table| has_socket(&table, port, Some("0A")))),
            Socket::Udp(port) => ["udp", "udp6"]
                .iter()
                .any(|name| table(name).is_ok_and(|table| has_socket(&table, port, None))),
            Socket::Unix(path) => self.path(path).exists(),
        }
    }

    /// As [`Host::start_program`], for one whose end the host waits for.
    pub(crate) fn start_shared(&self, command: &mut Command) -> Result<SharedChild> {
        let child = Arc::new(Mutex::new(self.start_program(command)?));
        let mut programs = lock(&self.0.programs);
        programs.retain(|program| Arc::strong_count(program) > 1);
        programs.push(Arc::clone(&child));
        Ok(child)
    }

    /// Ends the host and everything that runs on it.
    pub(crate) fn end(&self) {
        self.0.end();
    }

    /// Lets the host live on when the lab's process ends.
    pub(crate) fn keep(&self) -> Result<()> {
        let mut anchor = lock(&self.0.anchor);
        if let Some(mut input) = anchor.stdin.take() {
            input.write_all(b"keep\n").with_context(|| format!("host {}", self.name()))?;
        }
        self.0.kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether [`Host::keep`] was called.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.kept.load(Ordering::Relaxed)
    }
}

/// Where a server can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// A listening TCP port, of any address.
    Tcp(u16),
    /// A bound UDP port, of any address.
    Udp(u16),
    /// A Unix socket, by its path on the host.
    Unix(&'static str),
}

/// A program that its [`Process`] and its host both wait for.
pub(crate) type SharedChild = Arc<Mutex<Child>>;

/// Locks, also after a panic elsewhere: what is behind the lock is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Kills the first process; the kernel then kills every other of the
    /// namespace. The first one is gone only when all are, and those that we
    /// started only when we have waited for them.
    fn end(&self) {
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        let mut anchor = lock(&self.anchor);
        let _ = anchor.kill();
        for program in lock(&self.programs).iter() {
            let _ = wait(&mut lock(program), END_LIMIT);
        }
        if !matches!(wait(&mut anchor, END_LIMIT), Ok(Some(_))) {
            eprintln!("lab: host {} still has processes after {END_LIMIT:?}", self.name);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

fn wait_ready(output: Option<ChildStdout>) -> bool {
    let Some(output) = output else { return false };
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).is_ok() && line == "ready\n"
}

/// Waits for a child for at most `limit`; `None` if it still runs.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        namespace::Target::open(child.id())?.await_end(left)?;
        // Its end is seen a moment before it can be waited for.
        thread::yield_now();
    }
}

/// Whether `/proc/net/tcp` or `udp` holds a socket of this local port and state.
fn has_socket(table: &str, port: u16, state: Option<&str>) -> bool {
    let port = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, found) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&port)) && (state.is_none() || found == state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
        1: 0A0200C0:0050 140200C0:9C40 01 00000000:00000000\n";

    #[test]
    fn a_listening_socket_is_told_from_a_connection() {
        assert!(has_socket(TABLE, 8080, Some("0A")));
        assert!(!has_socket(TABLE, 80, Some("0A")));
        assert!(has_socket(TABLE, 80, None));
        assert!(!has_socket(TABLE, 0x9c40, None), "a remote port is no local one");
        assert!(!has_socket("", 80, None));
    }
}
