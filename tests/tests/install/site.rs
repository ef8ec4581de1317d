//! An administrator and servers with sshd on one switch, and two versions of the
//! firewall to install on them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::host::{Host, Output};
use firewall_tests::lab::{Lab, beside, firewall_binary};
use firewall_tests::process::Process;
use firewall_tests::servers::Sshd;
use firewall_tests::traffic::REFUSAL;
use firewall_tests::traffic::conversation::connects;
use firewall_tests::traffic::echo::Echo;

/// What the roles share.
const SETTINGS: &str = "\
version: 1
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
services: { ssh: { tcp: 22 }, web: { tcp: 80 }, more: { tcp: 8080 } }
";

/// One of the two versions: binaries and rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Admits 80.
    One,
    /// Admits 80 and 8080.
    Two,
}

impl Version {
    pub(crate) fn other(self) -> Self {
        if self == Self::One { Self::Two } else { Self::One }
    }

    pub(crate) fn name(self) -> &'static str {
        if self == Self::One { "one" } else { "two" }
    }
}

/// A server to install on.
pub(crate) struct Server {
    pub(crate) host: Host,
    pub(crate) address: String,
    pub(crate) sshd: Sshd,
    _echo: [Echo; 2],
}

pub(crate) struct Site {
    pub(crate) admin: Host,
    pub(crate) servers: Vec<Server>,
    directory: PathBuf,
    _lab: Lab,
}

impl Site {
    pub(crate) fn new(name: &str, servers: u8) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (switch, admin) = (lab.switch("sw0")?, lab.host("admin")?);
        switch.plug(&admin.port("eth0").address("192.0.2.1/24"))?;
        let directory = lab.directory().to_path_buf();
        let mut all = Vec::new();
        for number in 1..=servers {
            let host = lab.host(&format!("server{number}"))?;
            let address = format!("192.0.2.1{number}");
            switch.plug(&host.port("eth0").address(&format!("{address}/24")))?;
            // The lab gives a host its own /etc and /var; this is the rest of what an
            // installation writes to.
            host.sh("mount -t tmpfs -o mode=755 tmpfs /usr/local && mkdir /usr/local/sbin")?;
            let sshd = Sshd::start(&host, 22)?;
            let echo = [Echo::tcp(&host, 80)?, Echo::tcp(&host, 8080)?];
            all.push(Server { host, address, sshd, _echo: echo });
        }
        let site = Self { admin, servers: all, directory, _lab: lab };
        for version in [Version::One, Version::Two] {
            site.make(version)?;
        }
        Ok(site)
    }

    /// Writes a version's binary and rules.
    fn make(&self, version: Version) -> Result<()> {
        let rules = self.rules(version);
        std::fs::create_dir_all(&rules)?;
        let more = if version == Version::Two {
            "    - { name: more, from: any, service: more }\n"
        } else {
            ""
        };
        let role = |name: &str, admin: &str| {
            format!(
                "{SETTINGS}role: {name}\nfailsafe:\n  \
                 ingress: [ {{ name: failsafe-ssh, from: {admin}, service: ssh }} ]\n\
                 ingress:\n  allow:\n    - {{ name: web, from: any, service: web }}\n{more}"
            )
        };
        std::fs::write(rules.join("web.yaml"), role("web", "192.0.2.1"))?;
        // A typing error, as it happens: the administrator is elsewhere.
        std::fs::write(rules.join("cut.yaml"), role("cut", "192.0.3.1"))?;
        // What stands behind the end of an ELF file is nobody's.
        let binary = self.binary(version);
        let strip =
            Command::new("strip").arg("-o").arg(&binary).arg(firewall_binary()?).status()?;
        ensure!(strip.success(), "strip failed");
        let mut bytes = std::fs::read(&binary)?;
        bytes.extend(version.name().as_bytes());
        std::fs::write(&binary, bytes)?;
        Ok(())
    }

    /// Says in the rules of a version who the web servers are.
    pub(crate) fn name_group(&self, version: Version, addresses: &str) -> Result<()> {
        let path = self.rules(version).join("web.yaml");
        let text = std::fs::read_to_string(&path)?;
        let text =
            text.replace("services:", &format!("groups: {{ webs: [{addresses}] }}\nservices:"));
        Ok(std::fs::write(path, text)?)
    }

    fn rules(&self, version: Version) -> PathBuf {
        self.directory.join(format!("rules-{}", version.name()))
    }

    fn binary(&self, version: Version) -> PathBuf {
        self.directory.join(format!("firewall-{}", version.name()))
    }

    /// `cargo xtask` with these words, on the administrator's host.
    pub(crate) fn xtask(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(beside("xtask")?);
        command.args(words);
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        {
            command.args(["--ssh-option", option]);
        }
        for server in &self.servers {
            command
                .arg("--ssh-option")
                .arg(format!("IdentityFile={}", server.sshd.key().display()));
        }
        Ok(command)
    }

    /// `cargo xtask install` of a version on some hosts, as `root@ADDRESS`.
    pub(crate) fn install(
        &self,
        version: Version,
        hosts: &[String],
        more: &[&str],
    ) -> Result<Command> {
        let mut command = self.xtask(&["install", "--without-systemd", "--role", "web"])?;
        command.arg("--rules").arg(self.rules(version)).arg("--binary").arg(self.binary(version));
        command.args(["--iface", "eth0", "--host", &hosts.join(",")]).args(more);
        Ok(command)
    }

    /// `cargo xtask install` with a host.yaml that was written by hand.
    pub(crate) fn with_host_file(
        &self,
        version: Version,
        host: &str,
        file: &Path,
    ) -> Result<Command> {
        let mut command = self.xtask(&["install", "--without-systemd", "--host", host])?;
        command.arg("--rules").arg(self.rules(version)).arg("--binary").arg(self.binary(version));
        command.arg("--host-file").arg(file);
        Ok(command)
    }

    /// `cargo xtask upgrade` to a version.
    pub(crate) fn upgrade(&self, version: Version, hosts: &[String]) -> Result<Command> {
        let mut command = self.xtask(&["upgrade", "--without-systemd"])?;
        command.arg("--binary").arg(self.binary(version)).args(["--host", &hosts.join(",")]);
        Ok(command)
    }

    /// `install` or `upgrade` of a version on the machine that runs it.
    pub(crate) fn here(
        &self,
        subcommand: &str,
        version: Version,
        more: &[&str],
    ) -> Result<Command> {
        let mut command = self.xtask(&[subcommand])?;
        command.arg("--binary").arg(self.binary(version)).args(more);
        if subcommand == "install" {
            command.arg("--rules").arg(self.rules(version));
        }
        Ok(command)
    }

    /// Runs a command there, and returns all it said.
    pub(crate) fn run(&self, command: &mut Command, code: i32) -> Result<String> {
        let Output { status, stdout, stderr } = self.admin.run(command)?;
        let text = stdout + &stderr;
        ensure!(
            status.code() == Some(code),
            "{command:?} ended with {status}, wanted {code}\n{text}"
        );
        Ok(text)
    }

    /// Starts a command there that goes on.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Process> {
        self.admin.spawn("xtask", command)
    }

    /// Whether ports 80 and 8080 of a server answer.
    pub(crate) fn open(&self, server: &Server) -> Result<[bool; 2]> {
        let at = |port: u16| firewall_tests::traffic::at(&format!("{}:{port}", server.address));
        Ok([
            connects(&self.admin, None, at(80), REFUSAL)?,
            connects(&self.admin, None, at(8080), REFUSAL)?,
        ])
    }
}

/// Processes of ssh, a line each.
const CONNECTING: &str = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | \
                          grep -E '^ssh ' || true; done";

impl Server {
    /// As the installer takes it.
    pub(crate) fn login(&self) -> String {
        format!("root@{}", self.address)
    }

    /// Everything that an installation may change, in lines that can be compared:
    /// files with their contents, the group, what is in force, the agent.
    pub(crate) fn state(&self) -> Result<String> {
        self.host.sh(include_str!("state.sh"))
    }

    /// Waits until no installation has been under way here for a second. What a killed
    /// installer had started on the administrator's host may still be connecting.
    pub(crate) fn settle(&self, admin: &Host, limit: Duration) -> Result<()> {
        let start = Instant::now();
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_secs(1) {
            if !self.installers()?.is_empty() || !admin.sh(CONNECTING)?.is_empty() {
                quiet = Instant::now();
            }
            ensure!(start.elapsed() < limit, "an installation is still under way after {limit:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Processes of an installation.
    pub(crate) fn installers(&self) -> Result<Vec<String>> {
        let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | \
                      grep -qE '/setup (guard|switch|verify|commit|recover)' && echo ${p#/proc/}; done; true";
        Ok(self.host.sh(script)?.lines().map(str::to_owned).collect())
    }

    /// The log of the last change.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.host.path("/run/firewall-install/log")).unwrap_or_default()
    }

    /// Whether a path is there.
    pub(crate) fn has(&self, path: impl AsRef<Path>) -> bool {
        self.host.path(path).symlink_metadata().is_ok()
    }
}

/// Says on which server something failed.
pub(crate) fn on<T>(server: &Server, result: Result<T>) -> Result<T> {
    result.with_context(|| format!("{}, whose log says:\n{}", server.address, server.log()))
}
