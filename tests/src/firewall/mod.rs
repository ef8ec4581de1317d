//! The firewall on a lab host: the real binary, its files, its agent.
//!
//! A policy is given as the text of a role file without its first two lines, so
//! that a test shows what it is about and no more.

mod counters;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use firewall_userspace::kernel::store::Store;

pub use counters::{Counters, Outcome, Rule, Way};

use crate::gate;
use crate::host::{Host, Output, Socket};
use crate::lab::firewall_binary;
use crate::process::Process;

/// Longest time an agent may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);
/// A directory without an agent's socket: what reads there asks the kernel.
const NO_AGENT: &str = "/run/no-agent";
/// The agent's socket.
const SOCKET: &str = "/run/firewall/firewall.sock";

/// The `firewall` binary on a host.
#[derive(Clone, Debug)]
pub struct Firewall {
    host: Host,
    binary: PathBuf,
}

impl Firewall {
    /// The firewall of a host; nothing runs or is enforced yet.
    ///
    /// # Errors
    ///
    /// If the binary has not been built, or the kernel cannot run its programs.
    pub fn on(host: &Host) -> Result<Self> {
        gate::bpf()?;
        Ok(Self { host: host.clone(), binary: firewall_binary()? })
    }

    /// As [`Firewall::on`], with a policy in force and attached.
    ///
    /// # Errors
    ///
    /// If the policy is refused.
    pub fn with_policy(host: &Host, policy: &str) -> Result<Self> {
        let firewall = Self::on(host)?;
        firewall.enforce(policy)?;
        Ok(firewall)
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Writes `/etc/firewall`: one role, `lab`. Nothing changes until `apply`.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn write(&self, policy: &str) -> Result<()> {
        self.host.write("/etc/firewall/host.yaml", "version: 1\nroles: [lab]\n")?;
        self.host.write("/etc/firewall/rules/lab.yaml", format!("version: 1\nrole: lab\n{policy}"))
    }

    /// Writes a policy and applies it, which must succeed; returns what was said.
    ///
    /// # Errors
    ///
    /// If the policy is refused.
    pub fn enforce(&self, policy: &str) -> Result<String> {
        self.write(policy)?;
        self.check(&["apply"])
    }

    /// A command of the binary, to be changed and started by the caller.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_remove("SSH_CONNECTION");
        command
    }

    /// Runs a command of the binary, however it ends.
    ///
    /// # Errors
    ///
    /// If it cannot start.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.host.run(&mut self.command(arguments))
    }

    /// Runs a command that must succeed, and returns what it printed.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn check(&self, arguments: &[&str]) -> Result<String> {
        self.host.check(&mut self.command(arguments))
    }

    /// Runs a command that must fail with this exit code, and returns all it said.
    ///
    /// # Errors
    ///
    /// If it ends otherwise.
    pub fn refused(&self, arguments: &[&str], code: i32) -> Result<String> {
        let Output { status, stdout, stderr } = self.run(arguments)?;
        let text = stdout + &stderr;
        if status.code() != Some(code) {
            bail!("firewall {} ended with {status}, wanted {code}\n{text}", arguments.join(" "));
        }
        Ok(text)
    }

    /// Starts the agent and waits until it answers. Its log is `NAME.log`.
    ///
    /// # Errors
    ///
    /// If it does not start; the message holds its log.
    pub fn agent(&self) -> Result<Process> {
        let mut command = self.command(&["agent"]);
        let agent = self.host.spawn("agent", command.env("RUST_LOG", "info"))?;
        let socket = Socket::Unix(SOCKET);
        let host = self.host.clone();
        agent.wait_until("answering", START_LIMIT, || {
            host.listens(socket) && self.check(&["status", "--json"]).is_ok()
        })?;
        Ok(agent)
    }

    /// Runs a reading command with `--json` against the kernel itself: numbers of
    /// this moment, where an agent's are up to a second old.
    ///
    /// # Errors
    ///
    /// If it fails, or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut command = self.command(arguments);
        let text = self.host.check(command.arg("--json").env("FIREWALL_RUN", NO_AGENT))?;
        serde_json::from_str(&text).with_context(|| format!("no JSON from {arguments:?}: {text}"))
    }

    /// Every counter, as the kernel has it now.
    ///
    /// # Errors
    ///
    /// If the counters cannot be read.
    pub fn counters(&self) -> Result<Counters> {
        Counters::read(&self.json(&["counters"])?)
    }

    /// Number of the generation in force.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn generation(&self) -> Result<u64> {
        let status = self.json(&["status"])?;
        status["policy"]["generation"].as_u64().with_context(|| format!("no policy: {status}"))
    }

    /// The files below the pin directory, sorted.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    pub fn pins(&self) -> Result<Vec<String>> {
        let list = self.host.sh("cd /sys/fs/bpf && find . -mindepth 1 -not -type d | sort")?;
        Ok(list.lines().map(str::to_owned).collect())
    }
}

/// Attaches the judges in force themselves, as the agent does once a policy stands; how many
/// links have changed.
///
/// # Errors
///
/// If the kernel refuses.
pub fn settle(store: &Store) -> Result<usize> {
    let links = store.unsettled(|_| true)?;
    links.iter().map(|at| Ok(usize::from(store.settle(at)?))).sum()
}

/// A role file of the repository's `rules`.
#[must_use]
pub fn shipped(role: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("rules").join(format!("{role}.yaml"))
}
