//! Where everything that outlives the agent is pinned.
//!
//! ```text
//! <root>/v<ABI>/maps/CONTROL ...        shared maps
//! <root>/v<ABI>/roots/root_xdp ...      root programs
//! <root>/v<ABI>/stages/<made of>/...    programs of no generation
//! <root>/v<ABI>/links/<hook>-<ifindex>  attachments
//! <root>/v<ABI>/gen-0, gen-1            tables, metadata and programs of a generation
//! ```

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use firewall_common::ABI_VERSION;

use super::sys;

/// The pin directory of this ABI version.
#[derive(Clone, Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// Environment variable that names another root than
    /// [`Pins::DEFAULT_ROOT`], for tests and for several agents on one kernel.
    pub const ENVIRONMENT: &'static str = "FIREWALL_PINS";

    /// Root on a server.
    pub const DEFAULT_ROOT: &'static str = "/sys/fs/bpf/firewall";

    /// The pins of this process.
    pub fn from_environment() -> Self {
        let root = std::env::var_os(Self::ENVIRONMENT);
        Self::at(root.as_deref().map_or(Path::new(Self::DEFAULT_ROOT), Path::new))
    }

    /// The pins below a root.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self(root.join(format!("v{ABI_VERSION}")))
    }

    /// Directories of other ABI versions that have links: their programs judge, too.
    #[must_use]
    pub fn of_other_versions(&self) -> Vec<PathBuf> {
        let root = self.0.parent().unwrap_or(&self.0);
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let is_version = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()?.strip_prefix('v'));
            name.is_some_and(|number| number.parse::<u32>().is_ok()) && *path != self.0
        };
        let others = entries.map(|entry| entry.path()).filter(is_version);
        others.filter(|version| has_links(version)).collect()
    }

    /// Whether anything is attached.
    #[must_use]
    pub fn has_links(&self) -> bool {
        has_links(&self.0)
    }

    /// The whole directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// A shared map.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.0.join("maps").join(name)
    }

    /// A root program.
    #[must_use]
    pub fn root(&self, name: &str) -> PathBuf {
        self.0.join("roots").join(name)
    }

    /// The programs of no generation, in a directory that says what they are made of.
    #[must_use]
    pub fn stages(&self) -> PathBuf {
        self.0.join("stages")
    }

    /// All attachments.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.0.join("links")
    }

    /// Bytes that the kernel holds for what is pinned, as it accounts them itself.
    ///
    /// # Errors
    /// If a directory, or what is pinned there, cannot be read.
    pub fn held_bytes(&self) -> Result<u64> {
        let (mut directories, mut bytes) = (vec![self.0.clone()], 0);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                } else if let Some(fd) = sys::open(&entry.path())? {
                    bytes += sys::memory(fd.as_fd())?;
                }
            }
        }
        Ok(bytes)
    }

    /// Everything of one generation.
    #[must_use]
    pub fn generation(&self, slot: u8) -> PathBuf {
        self.0.join(format!("gen-{slot}"))
    }
}

fn has_links(version: &Path) -> bool {
    fs::read_dir(version.join("links")).is_ok_and(|mut links| links.next().is_some())
}
