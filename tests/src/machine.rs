//! A whole machine: Debian with systemd in QEMU, reached by SSH.
//!
//! What namespaces cannot show: the order of a boot, a power failure, units. The
//! processor is emulated, so that it runs wherever the tests do; a boot takes most
//! of a minute. The disk image is made once, below `target/machine`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::gate;

/// Longest time that a boot may take.
const BOOT_LIMIT: Duration = Duration::from_mins(5);
/// Kernel and programs of the machine. The kernel is Debian's for cloud servers.
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,openssh-server,iproute2,procps,curl,\
                        linux-image-6.12-cloud-amd64";
const SOURCES: [&str; 2] = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
];
/// Raise it when the image is to be made anew.
const IMAGE_VERSION: u32 = 1;

/// A machine that can be switched on and off. Dropping it switches it off.
#[derive(Debug)]
pub struct Machine {
    directory: PathBuf,
    image: PathBuf,
    /// On 127.0.0.1 of this machine: its ports 22 and 8080.
    ports: [u16; 2],
    running: Option<Child>,
}

impl Machine {
    /// A machine with a fresh disk, switched off.
    ///
    /// # Errors
    ///
    /// If a program is not installed, or the image cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        gate::root()?;
        gate::tool("qemu-system-x86_64", "qemu-system-x86")?;
        let image = image()?;
        let directory = base().join(format!("{}-{name}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let disk = directory.join("disk.img");
        run(Command::new("cp").arg("--sparse=always").arg(image.join("disk.img")).arg(&disk))?;
        let free = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let ports = [free[0].local_addr()?.port(), free[1].local_addr()?.port()];
        Ok(Self { directory, image, ports, running: None })
    }

    /// Switches it on, and waits until it lets root in.
    ///
    /// # Errors
    ///
    /// If it does not come up; the message holds the end of its console.
    pub fn switch_on(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let console = self.directory.join("console.log");
        let disk = self.directory.join("disk.img");
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max"]);
        qemu.args(["-m", "768", "-display", "none", "-vga", "none", "-no-reboot"]);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.arg("-kernel").arg(self.image.join("vmlinuz"));
        qemu.arg("-initrd").arg(self.image.join("initrd.img"));
        qemu.args([
            "-append",
            "console=ttyS0 root=/dev/vda rw net.ifnames=0 quiet mitigations=off",
        ]);
        qemu.arg("-drive")
            .arg(format!("file={},if=virtio,format=raw,cache=unsafe", disk.display()));
        let [ssh, echo] = self.ports;
        let forward = format!(
            "user,id=net0,hostfwd=tcp:127.0.0.1:{ssh}-:22,hostfwd=tcp:127.0.0.1:{echo}-:8080"
        );
        qemu.args(["-netdev", &forward, "-device", "virtio-net-pci,netdev=net0,romfile="]);
        qemu.args(["-device", "virtio-rng-pci"]);
        let log = fs::File::create(self.directory.join("qemu.log"))?;
        qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = qemu.spawn().context("cannot start qemu")?;
        while !self.lets_in() {
            let ended = child.try_wait()?;
            if ended.is_some() || start.elapsed() > BOOT_LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                let text =
                    |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
                bail!("the machine did not come up\n{}\n{}", text("qemu.log"), text("console.log"));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        self.running = Some(child);
        Ok(start.elapsed())
    }

    /// Cuts its power. What it has not written to its disk is lost.
    ///
    /// # Errors
    ///
    /// If it cannot be ended.
    pub fn cut_power(&mut self) -> Result<()> {
        if let Some(mut child) = self.running.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Runs a line of shell on it, which must succeed.
    ///
    /// # Errors
    ///
    /// If it does not, with what it printed.
    pub fn sh(&self, script: &str) -> Result<String> {
        let output = self.ssh(script).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "{script} failed ({})\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// Its SSH port, on 127.0.0.1 of this machine.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.ports[0]
    }

    /// As [`Machine::ssh_port`], of its port 8080, where somebody says "open".
    #[must_use]
    pub fn echo_port(&self) -> u16 {
        self.ports[1]
    }

    /// Options that ssh needs to come in.
    #[must_use]
    pub fn ssh_options(&self) -> Vec<String> {
        let key = format!("IdentityFile={}", self.image.join("key").display());
        let fixed = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
        fixed.into_iter().map(str::to_owned).chain([key]).collect()
    }

    fn lets_in(&self) -> bool {
        self.ssh("true").output().is_ok_and(|output| output.status.success())
    }

    fn ssh(&self, script: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]);
        command.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=12"]);
        for option in self.ssh_options() {
            command.args(["-o", &option]);
        }
        command.args(["-p", &self.ssh_port().to_string(), "root@127.0.0.1", script]);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.cut_power();
        // The logs stay, the disk is large.
        let _ = fs::remove_file(self.directory.join("disk.img"));
    }
}

fn base() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("target/machine")
}

/// The directory of the image: `disk.img`, `vmlinuz`, `initrd.img`, `key`.
fn image() -> Result<PathBuf> {
    let directory = base().join(format!("image-{IMAGE_VERSION}"));
    if directory.join("disk.img").exists() {
        return Ok(directory);
    }
    gate::tool("mmdebstrap", "mmdebstrap")?;
    gate::tool("mke2fs", "e2fsprogs")?;
    let made = base().join(format!("making-{}", std::process::id()));
    let tree = made.join("tree");
    fs::create_dir_all(&made)?;
    let key = made.join("key");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    let mut debootstrap = Command::new("mmdebstrap");
    debootstrap.args(["--variant=minbase", "--quiet"]).arg(format!("--include={PACKAGES}"));
    for unused in ["doc", "locale", "man"] {
        debootstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{unused}/*"));
    }
    run(debootstrap.arg("bookworm").arg(&tree).args(SOURCES))?;
    let script = include_str!("machine.sh");
    run(Command::new("sh")
        .args(["-ec", script, "machine"])
        .arg(&tree)
        .arg(key.with_extension("pub")))?;
    for (from, to) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")] {
        let found = fs::read_dir(tree.join("boot"))?
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with(from));
        fs::copy(found.with_context(|| format!("no {from}"))?.path(), made.join(to))?;
    }
    let disk = made.join("disk.img");
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&tree)
        .arg(&disk)
        .arg("1200M"))?;
    fs::remove_dir_all(&tree)?;
    fs::rename(&made, &directory).context("cannot keep the image")?;
    Ok(directory)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
