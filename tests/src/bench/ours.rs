//! The product, as `firewall apply` puts it into the kernel: its own pins, its
//! root programs, its judges. Pins are the server's own and end with the lab.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_userspace::kernel::pins::Pins;
use firewall_userspace::kernel::store::Store;
use firewall_userspace::kernel::sys;
use serde_json::Value;

use super::policy::Files;
use crate::host::Host;
use crate::lab::firewall_binary;
use crate::pair::Pair;

/// A policy in the kernel, attached to nothing.
#[derive(Debug)]
pub(super) struct Ours {
    host: Host,
    name: String,
    pins: Pins,
    root: PathBuf,
}

/// Index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

/// What `firewall apply` said.
#[derive(Debug)]
pub(super) struct Applied {
    /// The whole process, from start to end.
    pub(super) wall: Duration,
    /// Its JSON document.
    pub(super) document: Value,
}

impl Ours {
    /// Applies a policy with pins, files and sockets of its own, below `name`.
    pub(super) fn new(pair: &Pair, name: &str, files: &Files) -> Result<Self> {
        let root = PathBuf::from("/sys/fs/bpf").join(format!("bench-{name}"));
        let (host, name) = (pair.server.clone(), name.to_owned());
        let ours = Self { host, name, pins: Pins::at(&root), root };
        ours.apply(files)?;
        ours.count_loopback_apart()?;
        Ok(ours)
    }

    /// Enters the interface that test runs come from among those that are counted
    /// apart, where attaching would have entered it.
    fn count_loopback_apart(&self) -> Result<()> {
        self.store()?.count_apart(LOOPBACK)
    }

    /// Writes a policy and applies it.
    pub(super) fn apply(&self, files: &Files) -> Result<Applied> {
        self.write(files)?;
        self.apply_written()
    }

    /// Writes a policy; nothing changes until it is applied.
    pub(super) fn write(&self, files: &Files) -> Result<()> {
        let directory = self.configuration();
        // A file of an earlier policy would be of no harm, but stay.
        let _left = std::fs::remove_dir_all(&directory);
        for (path, text) in files {
            let path = directory.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&directory))?;
            std::fs::write(path, text)?;
        }
        Ok(())
    }

    /// Applies what is written.
    pub(super) fn apply_written(&self) -> Result<Applied> {
        let start = Instant::now();
        // As at boot, where interfaces may be still to come: here none does.
        let arguments = ["apply", "--json", "--occasion", "boot"];
        let output = self.host.run(&mut self.command(&arguments)?)?;
        let wall = start.elapsed();
        // It also says, and exits with 1, that no interface is attached.
        let document: Value = serde_json::from_str(&output.stdout)
            .with_context(|| format!("{}: {}", self.name, output.stderr.trim()))?;
        ensure!(document["generation"].is_u64(), "{}: not applied: {document}", self.name);
        Ok(Applied { wall, document })
    }

    /// The host that it is on.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// A command of the product, on this one's pins.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .args(arguments)
            .env("FIREWALL_PINS", &self.root)
            .env("FIREWALL_CONFIG", self.configuration())
            .env("FIREWALL_RUN", PathBuf::from("/run").join(format!("bench-{}", self.name)))
            .env_remove("SSH_CONNECTION");
        Ok(command)
    }

    fn configuration(&self) -> PathBuf {
        PathBuf::from("/etc").join(format!("bench-{}", self.name))
    }

    /// A root program: what is attached until the policy stands.
    pub(super) fn root(&self, name: &str) -> Result<OwnedFd> {
        let path = self.pins.root(name);
        sys::open(&path)?.with_context(|| format!("nothing is pinned at {}", path.display()))
    }

    /// A program of no generation.
    pub(super) fn stage(&self, name: &str) -> Result<OwnedFd> {
        let path = std::fs::read_dir(self.pins.stages())?.next().context("no stages")??.path();
        sys::open(&path.join(name))?.with_context(|| format!("no {name} in {}", path.display()))
    }

    /// A program of the generation in force.
    pub(super) fn judge(&self, name: &str) -> Result<OwnedFd> {
        let path = self.pins.generation(self.store()?.word().active()).join(name);
        sys::open(&path)?.with_context(|| format!("nothing is pinned at {}", path.display()))
    }

    /// A descriptor of each map and program that is pinned.
    pub(super) fn pinned(&self) -> Result<Vec<OwnedFd>> {
        let mut found = Vec::new();
        let mut directories = vec![self.root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    found.extend(sys::open(&path)?);
                }
            }
        }
        Ok(found)
    }

    /// The firewall in the kernel.
    pub(super) fn store(&self) -> Result<Store> {
        Store::open(&self.pins)?.with_context(|| format!("{}: nothing is pinned", self.name))
    }
}

/// The `firewall` binary. Asked for once, outside of the lab: inside, `/proc` shows
/// no process of ours.
pub(super) fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BINARY.get() {
        return Ok(path);
    }
    let path = firewall_binary()?;
    Ok(BINARY.get_or_init(|| path))
}

impl Drop for Ours {
    fn drop(&mut self) {
        // The lab's file systems end with it in any case.
        let _left = std::fs::remove_dir_all(&self.root);
        let _left = std::fs::remove_dir_all(self.configuration());
    }
}
