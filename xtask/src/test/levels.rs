//! What can be tested, in what order, and what each level needs of the machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::exec;
use crate::packages::Need;

/// What a level runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `cargo fmt --check`.
    Format,
    /// Clippy on the host crates, then on the BPF crate.
    Clippy,
    /// Documentation without a warning.
    Docs,
    /// Tests of the crates themselves, and their examples in documentation.
    Unit,
    /// One integration test of `firewall-tests`, as root.
    Rooted,
}

/// One level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// What a person types.
    pub(crate) name: String,
    /// What it shows, in one line.
    pub(crate) about: &'static str,
    /// What it runs.
    pub(crate) kind: Kind,
    /// Programs its tests start.
    pub(crate) needs: &'static [Need],
    /// Tests of it that may run at once; `None` = as many as there are CPUs.
    pub(crate) threads: Option<usize>,
    /// Whether it runs only when it is named: it takes minutes.
    pub(crate) by_name: bool,
}

impl Level {
    /// Whether it needs root.
    pub(crate) fn needs_root(&self) -> bool {
        self.kind == Kind::Rooted
    }

    /// Time after which it is stopped and counts as failed.
    pub(crate) const LIMIT: Duration = Duration::from_mins(20);
}

const IP: Need = Need::program("ip", "iproute2");
const NGINX: Need = Need::program("nginx", "nginx");
const MARIADB: Need = Need::program("mariadbd", "mariadb-server");
const SQL: Need = Need::program("mariadb", "mariadb-client");
const SSHD: Need = Need::program("sshd", "openssh-server");
const SSH: Need = Need::program("ssh", "openssh-client");
const CURL: Need = Need::program("curl", "curl");
const WRK: Need = Need::program("wrk", "wrk");
const PING: Need = Need::program("ping", "iputils-ping");
const AB: Need = Need::program("ab", "apache2-utils");
const SYSBENCH: Need = Need::program("sysbench", "sysbench");
const DIG: Need = Need::program("dig", "bind9-dnsutils");
const HAPROXY: Need = Need::program("haproxy", "haproxy");
const DNSMASQ: Need = Need::program("dnsmasq", "dnsmasq-base");
const OPENSSL: Need = Need::program("openssl", "openssl");
const NFT: Need = Need::program("nft", "nftables");
const DHCP: Need = Need::program("udhcpc", "udhcpc");
const DHCPD: Need = Need::program("udhcpd", "udhcpd");
const KEEPALIVED: Need = Need::program("keepalived", "keepalived");
const STRIP: Need = Need::program("strip", "binutils");
const PYTHON: Need = Need::program("python3", "python3-minimal");
const QEMU: Need = Need::program("qemu-system-x86_64", "qemu-system-x86");
const MMDEBSTRAP: Need = Need::program("mmdebstrap", "mmdebstrap");
const MKE2FS: Need = Need::program("mke2fs", "e2fsprogs");
const SUDO: Need = Need::program("sudo", "sudo");
const SETPRIV: Need = Need::program("setpriv", "util-linux");

/// The levels that are always there, in the order in which they run.
///
/// Test targets that are not named here get a level of their own name, without
/// packages, before `requests`.
fn fixed() -> Vec<Level> {
    let level = |name: &str, about, kind, needs, threads| Level {
        name: name.into(),
        about,
        kind,
        needs,
        threads,
        by_name: name == "systemd",
    };
    vec![
        level("fmt", "formatting", Kind::Format, &[], None),
        level("clippy", "lints of the host and the BPF crates", Kind::Clippy, &[], None),
        level("docs", "documentation without a warning", Kind::Docs, &[], None),
        level("unit", "unit, property and documentation tests", Kind::Unit, &[], None),
        level(
            "datapath",
            "one frame at a time through the BPF programs",
            Kind::Rooted,
            &[IP],
            None,
        ),
        level("differential", "host and kernel give the same verdict", Kind::Rooted, &[IP], None),
        level(
            "harness",
            "the lab itself, without a firewall",
            Kind::Rooted,
            &[IP, PING, NGINX, MARIADB, SQL, SSHD, SSH, CURL],
            Some(1),
        ),
        level(
            "requests",
            "request counts beside the servers' own",
            Kind::Rooted,
            &[
                IP, NGINX, MARIADB, SQL, CURL, WRK, AB, SYSBENCH, DIG, DNSMASQ, HAPROXY, OPENSSL,
                NFT,
            ],
            Some(1),
        ),
        level(
            "lab",
            "agents and real sockets in namespaces",
            Kind::Rooted,
            &[IP, PING, SSHD, SSH, CURL, NFT, DHCP, DHCPD, KEEPALIVED, SETPRIV],
            Some(1),
        ),
        level(
            "install",
            "installing over SSH, and a kill at any moment of it",
            Kind::Rooted,
            &[IP, SSHD, SSH, CURL, STRIP, PYTHON, SUDO, SETPRIV],
            Some(1),
        ),
        level(
            "systemd",
            "units and a boot, on a Debian in QEMU; minutes, so only when it is named",
            Kind::Rooted,
            &[SSH, SETPRIV, QEMU, MMDEBSTRAP, MKE2FS],
            Some(1),
        ),
    ]
}

/// Every level, with those of test targets that were added.
pub(crate) fn all() -> Vec<Level> {
    with_targets(fixed(), &integration_tests(&exec::workspace().join("tests")))
}

fn with_targets(mut levels: Vec<Level>, targets: &[String]) -> Vec<Level> {
    for target in targets {
        if levels.iter().all(|level| level.name != *target) {
            let place = levels.iter().position(|level| level.name == "requests");
            levels.insert(
                place.unwrap_or(levels.len()),
                Level {
                    name: target.clone(),
                    about: "see the head of its file in tests/tests",
                    kind: Kind::Rooted,
                    needs: &[],
                    threads: None,
                    by_name: false,
                },
            );
        }
    }
    levels
}

/// The levels of these names, in their own order; if none is named, all that do not
/// ask for it.
///
/// # Errors
///
/// If a name is no level.
pub(crate) fn choose(all: Vec<Level>, names: &[String]) -> Result<Vec<Level>> {
    for name in names {
        if all.iter().all(|level| level.name != *name) {
            let known: Vec<_> = all.iter().map(|level| level.name.as_str()).collect();
            bail!("there is no test level `{name}`; levels: {}", known.join(", "));
        }
    }
    let wanted = |level: &Level| {
        if names.is_empty() { !level.by_name } else { names.contains(&level.name) }
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Names of the integration tests of a package, sorted.
pub(crate) fn integration_tests(package: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(package.join("tests")) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.join("main.rs").is_file() || path.extension().is_some_and(|ext| ext == "rs")
        })
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(levels: &[Level]) -> Vec<&str> {
        levels.iter().map(|level| level.name.as_str()).collect()
    }

    #[test]
    fn a_new_test_target_is_a_level_without_being_listed() {
        let levels = with_targets(fixed(), &["lab".into(), "roles".into()]);
        let names = names(&levels);
        assert_eq!(names.iter().filter(|name| **name == "lab").count(), 1);
        let place = |wanted: &str| names.iter().position(|name| *name == wanted).unwrap();
        assert_eq!(place("roles") + 1, place("requests"));
    }

    #[test]
    fn levels_run_in_their_own_order_whatever_was_typed() {
        let chosen = choose(fixed(), &["unit".into(), "fmt".into()]).unwrap();
        assert_eq!(names(&chosen), ["fmt", "unit"]);
        let every = choose(fixed(), &[]).unwrap();
        assert_eq!(every.len() + 1, fixed().len(), "all but `systemd`");
        assert_eq!(names(&choose(fixed(), &["systemd".into()]).unwrap()), ["systemd"]);
    }

    #[test]
    fn an_unknown_level_is_an_error_that_lists_the_levels() {
        let error = choose(fixed(), &["units".into()]).unwrap_err().to_string();
        assert!(error.contains("`units`") && error.contains("datapath"), "{error}");
    }
}
