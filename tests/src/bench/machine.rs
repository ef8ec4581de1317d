//! The machine: what figures depend on, and files of its own that a lab host does
//! not see.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::measure;
use crate::pair::Pair;

/// Files of the machine's `/proc`, opened before the lab host is entered.
#[derive(Debug)]
pub(super) struct Outside {
    /// `schedstat` of each CPU's `ksoftirqd`.
    softirq: Vec<File>,
    /// `/proc/net/snmp` of the server.
    snmp: File,
    /// What the machine is.
    pub(super) machine: Value,
}

impl Outside {
    /// Opens them.
    pub(super) fn open(pair: &Pair) -> Result<Self> {
        let softirq = (0..measure::cpus()).map(softirq).collect::<Result<_>>()?;
        let snmp = File::open(format!("/proc/{}/net/snmp", pair.server.pid()))?;
        Ok(Self { softirq, snmp, machine: machine() })
    }

    /// CPU time of a CPU's `ksoftirqd` so far, ns, and how often it was given the CPU.
    pub(super) fn softirq(&self, cpu: usize) -> Result<(u64, u64)> {
        let text = read(self.softirq.get(cpu).context("no such CPU")?)?;
        // Time on the CPU, time that it waited, turns.
        let mut numbers = text.split_whitespace().map(str::parse);
        let (time, turns) = (numbers.next(), numbers.nth(1));
        let both = time.zip(turns).with_context(|| format!("no schedstat: {text}"))?;
        Ok((both.0?, both.1?))
    }

    /// Packets that reached a protocol above IP on the server so far.
    pub(super) fn delivered(&self) -> Result<u64> {
        let text = read(&self.snmp)?;
        let mut lines = text.lines().filter(|line| line.starts_with("Ip: "));
        let (names, values) = (lines.next(), lines.next());
        let mut pairs =
            names.unwrap_or_default().split(' ').zip(values.unwrap_or_default().split(' '));
        let found = pairs.find(|(name, _)| *name == "InDelivers").context("no InDelivers")?;
        Ok(found.1.parse()?)
    }
}

fn read(file: &File) -> Result<String> {
    let mut buffer = [0; 8192];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn softirq(cpu: usize) -> Result<File> {
    let name = format!("ksoftirqd/{cpu}\n");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        if std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == name) {
            return Ok(File::open(path.join("schedstat"))?);
        }
    }
    anyhow::bail!("there is no ksoftirqd/{cpu}")
}

/// Kernel, CPU, mitigations, clock and versions.
fn machine() -> Value {
    let file = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    let cpuinfo = file("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cache = |index: u32| file(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size"));
    let mitigation = |name: &str| file(&format!("/sys/devices/system/cpu/vulnerabilities/{name}"));
    json!({
        "kernel": file("/proc/sys/kernel/osrelease"),
        "build": file("/proc/sys/kernel/version"),
        "cpu": cpu.unwrap_or("unknown"),
        "cpus": measure::cpus(),
        "l2": cache(2),
        "l3": cache(3),
        "spectre_v2": mitigation("spectre_v2"),
        "spectre_v1": mitigation("spectre_v1"),
        "hz": hz(),
        "clock_source": file("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "jit": file("/proc/sys/net/core/bpf_jit_enable"),
        "firewall": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "nft": first_line("nft", &["--version"]),
        "iptables": first_line("iptables-legacy", &["--version"]),
        "ipset": first_line("ipset", &["--version"]),
        "xdp-tools": first_line("dpkg-query", &["--show", "--showformat=${Version}", "xdp-tools"]),
    })
}

/// The commit that was built, with `-dirty` if not as it is. Whoever is root is not the owner.
fn commit() -> Value {
    let source = env!("CARGO_MANIFEST_DIR");
    let mut arguments = vec!["-c", "safe.directory=*", "-C", source];
    arguments.extend(["describe", "--always", "--dirty", "--exclude=*"]);
    first_line("git", &arguments)
}

/// Timer ticks per second, as the kernel was built, if it says so.
fn hz() -> Value {
    let script = "zcat /proc/config.gz 2>/dev/null || cat /boot/config-$(uname -r) 2>/dev/null";
    let output = Command::new("sh").args(["-c", script]).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let hz = text.lines().find_map(|line| line.strip_prefix("CONFIG_HZ="));
    hz.and_then(|hz| hz.parse::<u32>().ok()).map_or(Value::Null, Into::into)
}

/// The first line that a program prints; `null` if there is none.
fn first_line(program: &str, arguments: &[&str]) -> Value {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().map_or(Value::Null, Into::into)
}
