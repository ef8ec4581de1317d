//! The firewall on every server: its files, its agent, its numbers.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::plan::{SERVERS, Server, port};
use super::topology::Network;
use crate::firewall::{Counters, Firewall, shipped};
use crate::host::lock;
use crate::process::Process;

/// Agents that start at the same time.
const AT_ONCE: usize = 2;
/// Longest time an agent may take until it enforces.
const START_LIMIT: Duration = Duration::from_secs(90);

/// The firewalls of all servers.
#[derive(Debug)]
pub(crate) struct Agents {
    firewalls: BTreeMap<&'static str, Firewall>,
    running: Mutex<BTreeMap<&'static str, Process>>,
}

/// The counters of all servers at one moment, by the server's name.
pub(crate) type Readings = BTreeMap<&'static str, Counters>;

impl Agents {
    /// Writes `/etc/firewall` on every server: its role file from `rules/` as it
    /// is, and a host.yaml of four lines. Nothing is enforced yet.
    pub(crate) fn install(network: &Network) -> Result<Self> {
        let mut firewalls = BTreeMap::new();
        for server in SERVERS {
            let host = network.host(server.name);
            host.write("/etc/firewall/host.yaml", host_file(&server))?;
            for role in [server.role, "site"] {
                let file = shipped(role);
                let text = std::fs::read(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                host.write(format!("/etc/firewall/rules/{role}.yaml"), text)?;
            }
            firewalls.insert(server.name, Firewall::on(host)?);
        }
        Ok(Self { firewalls, running: Mutex::default() })
    }

    /// The firewall of a server.
    pub(crate) fn of(&self, server: &str) -> &Firewall {
        &self.firewalls[server]
    }

    /// Starts every agent, and waits until all of them enforce. A few at a time:
    /// the kernel takes a while to verify the programs of each.
    pub(crate) fn start(&self) -> Result<()> {
        let started = self.each_of(AT_ONCE, |firewall| {
            let log = firewall.host().directory().join("agent.log");
            let before = std::fs::read_to_string(log).unwrap_or_default().lines().count();
            let mut command = firewall.command(&["agent"]);
            let agent = firewall.host().spawn("agent", command.env("RUST_LOG", "info"))?;
            agent.wait_until("ready", START_LIMIT, || is_ready(&agent.log(), before))?;
            let status = firewall.json(&["status"])?;
            let enforcement = status["enforcement"].as_str().unwrap_or("nothing");
            if enforcement != "enforcing" {
                bail!("{}: {enforcement}\n{}", firewall.host().name(), agent.log());
            }
            Ok(agent)
        })?;
        lock(&self.running).extend(started);
        Ok(())
    }

    /// Kills every agent as a crash would, all at once; returns how they ended.
    pub(crate) fn kill(&self) -> Result<Vec<ExitStatus>> {
        let agents = std::mem::take(&mut *lock(&self.running));
        agents.into_values().map(Process::kill).collect()
    }

    /// The counters of every server, from the kernel itself: numbers of this
    /// moment.
    pub(crate) fn read(&self) -> Result<Readings> {
        self.each(Firewall::counters)
    }

    /// Numbers of the generations in force.
    pub(crate) fn generations(&self) -> Result<BTreeMap<&'static str, u64>> {
        self.each(Firewall::generation)
    }

    /// The end of every agent's log.
    pub(crate) fn logs(&self) -> BTreeMap<&'static str, String> {
        let running = lock(&self.running);
        running.iter().map(|(name, agent)| (*name, agent.log())).collect()
    }

    /// Does the same on every server, at once.
    pub(crate) fn each<T: Send>(
        &self,
        work: impl Fn(&Firewall) -> Result<T> + Sync,
    ) -> Result<BTreeMap<&'static str, T>> {
        self.each_of(self.firewalls.len(), work)
    }

    fn each_of<T: Send>(
        &self,
        at_once: usize,
        work: impl Fn(&Firewall) -> Result<T> + Sync,
    ) -> Result<BTreeMap<&'static str, T>> {
        let todo = Mutex::new(self.firewalls.iter());
        let done = Mutex::new(BTreeMap::new());
        let next = || lock(&todo).next();
        let worker = || {
            while let Some((name, firewall)) = next() {
                let outcome = work(firewall).with_context(|| (*name).to_owned());
                lock(&done).insert(*name, outcome);
            }
        };
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(worker);
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter().map(|(name, outcome)| Ok((name, outcome?))).collect()
    }
}

/// Whether an agent has said that it is ready, behind the `before` lines of the
/// one before it.
fn is_ready(log: &str, before: usize) -> bool {
    log.lines().skip(before).any(|line| line.contains("ready; socket"))
}

/// What a server is.
fn host_file(server: &Server) -> String {
    format!(
        "# {name} of www.foobar.com.\nversion: 1\nroles: [{role}]\n\
         outputs: {{ prometheus: {{ listen: \"[::]:{metrics}\" }} }}\n",
        name = server.name,
        role = server.role,
        metrics = port::METRICS,
    )
}

/// What was added between two readings.
pub(crate) fn added(before: &Readings, after: &Readings) -> Readings {
    after
        .iter()
        .map(|(name, after)| {
            (*name, before.get(name).map_or(after.clone(), |old| after.since(old)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::WEB1;

    #[test]
    fn the_host_file_names_the_role() {
        let text = host_file(&WEB1);
        assert!(text.contains("\nroles: [web]\n") && text.contains("\"[::]:9477\""), "{text}");
    }
}
