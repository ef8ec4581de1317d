//! Debian packages: which are missing, and installing them without starting
//! the services they bring.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::exec;

/// Something the machine must have, and the package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// A program by name, or a file by absolute path.
    pub(crate) what: &'static str,
    /// The Debian package.
    pub(crate) package: &'static str,
}

impl Need {
    /// A program, looked for on `PATH` and in the `sbin` directories.
    pub(crate) const fn program(what: &'static str, package: &'static str) -> Self {
        Self { what, package }
    }

    fn is_here(self) -> bool {
        if self.what.starts_with('/') {
            Path::new(self.what).exists()
        } else {
            exec::find_program(self.what).is_some()
        }
    }
}

/// The packages of those needs that the machine does not meet, without repeats.
pub(crate) fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for need in needs {
        if !packages.contains(&need.package) && !need.is_here() {
            packages.push(need.package);
        }
    }
    packages
}

/// Installs the packages that `needs` lack; does nothing, and says nothing, if
/// none is missing.
///
/// # Errors
///
/// If something is missing and cannot be installed; the message names the
/// command that would help.
pub(crate) fn ensure(needs: &[Need], why: &str) -> Result<()> {
    let packages = missing(needs);
    if packages.is_empty() { Ok(()) } else { install(&packages, why) }
}

/// Installs packages by apt, as root or through sudo.
///
/// # Errors
///
/// If apt or the right to use it is not there, or the installation fails.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    let list = packages.join(" ");
    let help = format!("apt-get install --no-install-recommends {list}");
    if !has_apt() {
        bail!(
            "{why} needs the Debian packages {list}; there is no apt-get here, so install their programs by hand"
        );
    }
    let Some(mut command) = as_root("sh") else {
        bail!("{why} needs packages that are not installed; run as root: {help}");
    };
    command.args(["-c", INSTALL_SCRIPT, "install-packages"]).args(packages);
    exec::step(&format!("installing {list} (for {why})"), || exec::capture(&mut command))
        .map_err(|error| error.context(format!("cannot install packages; try as root: {help}")))?;
    Ok(())
}

/// Whether this machine has apt.
pub(crate) fn has_apt() -> bool {
    exec::find_program("apt-get").is_some()
}

/// Whether packages can be installed without asking anybody.
pub(crate) fn may_install() -> bool {
    has_apt() && as_root("true").is_some()
}

/// `program` run with root's rights: directly, or through a sudo that asks no
/// password; `None` if neither is possible.
pub(crate) fn as_root(program: &str) -> Option<Command> {
    if exec::is_root() {
        return Some(Command::new(program));
    }
    let mut probe = Command::new("sudo");
    exec::capture(probe.args(["-n", "true"])).ok()?;
    let mut command = Command::new("sudo");
    command.args(["-n", "-E", program]);
    Some(command)
}

/// A command that runs what is added to it with root's rights and mounts of its
/// own: a machine without a BPF file system is left as it was.
pub(crate) fn as_root_apart() -> Option<Command> {
    let mut command = as_root("unshare")?;
    command.args(["--mount", "--propagation", "private", "--"]);
    Some(command)
}

/// Installs `"$@"` so that no service of theirs runs, now or after a reboot.
///
/// `policy-rc.d` forbids the starts during the installation; units that the
/// installation enabled are disabled again. A `policy-rc.d` that is already
/// there stays as it is.
const INSTALL_SCRIPT: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive
guard=/usr/sbin/policy-rc.d
mark='# placed by cargo xtask while it installs packages'
if [ ! -e "$guard" ] || grep -qxF "$mark" "$guard"; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 1' INT TERM HUP
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$guard"
    chmod 755 "$guard"
fi
enabled() { ls /etc/systemd/system/*.wants 2>/dev/null | sort -u; }
before=$(enabled)
apt-get -o DPkg::Lock::Timeout=300 update || echo 'package lists not refreshed; going on with the old ones'
apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
if command -v systemctl >/dev/null; then
    for unit in $(enabled); do
        case "$unit" in *.service)
            printf '%s\n' "$before" | grep -qxF "$unit" || systemctl disable "$unit" || true ;;
        esac
    done
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed_and_once() {
        let needs = [
            Need::program("sh", "dash"),
            Need::program("no-such-program", "some-package"),
            Need::program("/no/such/file", "some-package"),
            Need::program("/", "base-files"),
        ];
        assert_eq!(missing(&needs), ["some-package"]);
    }

    #[test]
    fn nothing_missing_is_no_work() {
        ensure(&[Need::program("sh", "dash")], "a test").unwrap();
    }

    #[test]
    fn the_script_is_valid_shell() {
        exec::capture(Command::new("sh").args(["-n", "-c", INSTALL_SCRIPT])).unwrap();
    }
}
