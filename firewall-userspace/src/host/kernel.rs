//! What the running kernel offers.

use std::fmt;
use std::path::Path;

/// A kernel's version: what a feature needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub u32, pub u32);

impl Version {
    /// Oldest whose verifier takes the programs: 6.1 does not.
    pub(crate) const FLOOR: Self = Self(6, 12);

    /// Of the running kernel.
    pub(crate) fn running() -> Option<Self> {
        Self::parse(&release()?)
    }

    fn parse(release: &str) -> Option<Self> {
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The running kernel's release, as `uname -r` has it.
pub(crate) fn release() -> Option<String> {
    super::read("/proc/sys/kernel/osrelease")
}

/// Whether the kernel describes its own types, which loading needs.
pub(crate) fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Whether a BPF file system is mounted at a path or above it.
pub(crate) fn is_bpffs(path: &Path) -> bool {
    let mounts = super::read("/proc/self/mounts").unwrap_or_default();
    bpffs_above(&mounts, path)
}

fn bpffs_above(mounts: &str, path: &Path) -> bool {
    let mut best: (usize, bool) = (0, false);
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(place), Some(kind)) = (fields.next(), fields.next()) else { continue };
        if path.starts_with(place) && place.len() >= best.0 {
            best = (place.len(), kind == "bpf");
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(Version::parse("6.18.44-fc-v657"), Some(Version(6, 18)));
        assert_eq!(Version::parse("5.15.0-generic"), Some(Version(5, 15)));
        assert!(Version(6, 18) > Version(6, 6) && Version(6, 1) < Version::FLOOR);
        assert_eq!(Version::parse("unknown"), None);
    }

    #[test]
    fn the_nearest_mount_decides() {
        let mounts =
            "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        assert!(bpffs_above(mounts, Path::new("/sys/fs/bpf/firewall/v6")));
        assert!(!bpffs_above(mounts, Path::new("/sys/fs/cgroup")));
        assert!(!bpffs_above(mounts, Path::new("/tmp/x")));
    }
}
