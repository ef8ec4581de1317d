//! What a test needs of the machine, checked before it starts.
//!
//! A test that lacks something fails with a sentence that names it: a skipped
//! test would read as a passed one.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Root's rights.
///
/// # Errors
///
/// If the process does not run as root.
pub fn root() -> Result<()> {
    // The directory belongs to the effective user.
    let user = std::fs::metadata("/proc/self").context("is /proc mounted?")?.uid();
    if user != 0 {
        bail!(
            "this needs root, and runs as user {user}: run it as root, or `sudo -E cargo xtask …`"
        );
    }
    Ok(())
}

/// A program, and the Debian package that brings it.
///
/// # Errors
///
/// If it is neither on `PATH` nor in an `sbin` directory.
pub fn tool(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!("`{program}` is not installed; as root: apt-get install {package}")
        })
}

/// A kernel of at least this version, for `what`.
///
/// # Errors
///
/// If the kernel is older.
pub fn kernel(major: u32, minor: u32, what: &str) -> Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    if version(&release) < Some((major, minor)) {
        bail!("{what} needs Linux {major}.{minor} or newer; this is {}", release.trim());
    }
    Ok(())
}

/// A filesystem type the kernel knows, as `/proc/filesystems` lists it.
///
/// # Errors
///
/// If it does not.
pub fn filesystem(name: &str) -> Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems")?;
    if !known.lines().any(|line| line.split_whitespace().next_back() == Some(name)) {
        bail!("this kernel does not know the filesystem `{name}`");
    }
    Ok(())
}

/// What BPF programs need: root, 5.15, bpffs, and the kernel's own BTF.
///
/// # Errors
///
/// If one of them is missing.
pub fn bpf() -> Result<()> {
    root()?;
    kernel(5, 15, "the firewall")?;
    filesystem("bpf")?;
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        bail!("this kernel carries no BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF)");
    }
    Ok(())
}

/// What the lab needs: root, namespaces, and the programs that set them up.
///
/// # Errors
///
/// If one of them is missing.
pub fn lab() -> Result<()> {
    root()?;
    kernel(5, 15, "the lab")?;
    for namespace in ["net", "mnt", "pid", "uts"] {
        if !Path::new("/proc/self/ns").join(namespace).exists() {
            bail!("this kernel has no `{namespace}` namespaces");
        }
    }
    filesystem("bpf")?;
    tool("ip", "iproute2")?;
    tool("mount", "mount")?;
    Ok(())
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_ordered_by_number() {
        assert_eq!(version("6.18.44-fc-v657\n"), Some((6, 18)));
        assert_eq!(version("5.15.0"), Some((5, 15)));
        assert!(version("6.1.0") < version("6.12.0"));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let error = tool("no-such-program", "some-package").unwrap_err().to_string();
        assert!(error.contains("`no-such-program`") && error.contains("some-package"), "{error}");
        tool("sh", "dash").unwrap();
    }

    #[test]
    fn a_kernel_from_the_future_is_asked_for_by_name() {
        let error = kernel(99, 0, "time travel").unwrap_err().to_string();
        assert!(error.contains("time travel needs Linux 99.0"), "{error}");
        kernel(2, 6, "anything").unwrap();
    }

    #[test]
    fn filesystems_are_looked_up_by_whole_name() {
        filesystem("proc").unwrap();
        assert!(filesystem("pro").is_err());
    }
}
