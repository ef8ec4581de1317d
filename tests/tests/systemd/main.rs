//! `cargo xtask install` on a Debian with systemd, in QEMU: units, the order of a
//! boot, a power failure.
//!
//! Minutes, because the processor is emulated: one machine for everything.

mod forms;
mod stacked;

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firewall_tests::lab::beside;
use firewall_tests::machine::Machine;

/// The units' exposure by `systemd-analyze security`, at most: 10 is a service with
/// every right, the figure of today is 2.4.
const EXPOSURE: f64 = 2.5;

const ROLE: &str = "\
version: 1
role: machine
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups: { admin: [10.0.2.2] }
services: { ssh: { tcp: 22 } }
failsafe:
  ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ]
";

#[test]
fn a_machine_boots_behind_what_was_confirmed() -> Result<()> {
    let mut machine = Machine::new("boot")?;
    eprintln!("booted in {:?}", machine.switch_on()?);
    let before = left(&machine)?;
    assert!(is_open(&machine)?, "the port should be open without a firewall");

    let said = xtask(&machine, "install", &["--role", "machine", "--confirm-within", "300"])?;
    eprintln!("{said}");
    assert!(said.contains("new ssh ok → GET 127.0.0.1:9477/metrics ok → confirmed"), "{said}");
    assert!(xtask(&machine, "install", &["--role", "machine"])?.contains("nothing to do"));
    assert!(!is_open(&machine)?);
    units(&machine)?;
    rights(&machine)?;
    judges(&machine)?;

    stacked::is_judged_once_or_refused(&machine)?;
    forms::load(&machine)?;

    // Files that were broken and never applied, and a power failure.
    machine.sh("echo nonsense: true > /etc/firewall/host.yaml; sync")?;
    machine.cut_power()?;
    eprintln!("booted again in {:?}", machine.switch_on()?);
    assert!(!is_open(&machine)?, "{}", machine.sh("journalctl -b -u 'firewall*' --no-pager")?);
    let status = machine.sh("firewall status")?;
    assert!(status.starts_with("enforcing") && status.contains("by boot"), "{status}");
    order(&machine)?;

    // An agent that is killed comes back, and nothing opens meanwhile.
    machine.sh("kill -9 $(pidof firewall)")?;
    assert!(!is_open(&machine)?);
    machine.sh("for i in $(seq 100); do systemctl is-active -q firewall && exit 0; sleep 0.2; done; exit 1")?;

    let said = xtask(&machine, "uninstall", &[])?;
    assert!(said.contains("this host is OPEN"), "{said}");
    assert!(is_open(&machine)?);
    assert_eq!(left(&machine)?, before, "something is left");
    Ok(())
}

/// Runs a subcommand of xtask on the machine.
fn xtask(machine: &Machine, subcommand: &str, words: &[&str]) -> Result<String> {
    let rules = std::env::temp_dir().join(format!("firewall-rules-{}", std::process::id()));
    std::fs::create_dir_all(&rules)?;
    std::fs::write(rules.join("machine.yaml"), ROLE)?;
    let mut command = Command::new(beside("xtask")?);
    command.arg(subcommand).args(words).arg("--host");
    command.arg(format!("root@127.0.0.1:{}", machine.ssh_port()));
    if subcommand == "install" {
        command.arg("--rules").arg(&rules);
    }
    for option in machine.ssh_options() {
        command.arg("--ssh-option").arg(option);
    }
    let output = command.output()?;
    std::fs::remove_dir_all(&rules)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}\n{said}", output.status);
    Ok(said)
}

/// Whether the port that no rule admits answers.
fn is_open(machine: &Machine) -> Result<bool> {
    let address = SocketAddr::from(([127, 0, 0, 1], machine.echo_port()));
    // QEMU itself takes the connection; what the machine says is behind it.
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(4)))?;
    let mut answer = [0; 4];
    Ok(stream.read_exact(&mut answer).is_ok() && &answer == b"open")
}

/// The units are sound, and no wider than they were.
fn units(machine: &Machine) -> Result<()> {
    let names = "firewall-boot.service firewall.service";
    machine.sh(&format!(
        "systemd-analyze verify --man=no {names} 2>&1 | tee /dev/stderr | wc -l | grep -qx 0"
    ))?;
    machine.sh(&format!("systemctl is-enabled {names} && systemctl is-active {names}"))?;
    let table = machine.sh(&format!("systemd-analyze security --no-pager {names}"))?;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("firewall")).collect();
    assert_eq!(rows.len(), 2, "{table}");
    for row in rows {
        let exposure: f64 = row.split_whitespace().nth(1).context("no figure")?.parse()?;
        eprintln!("{row}");
        assert!(exposure <= EXPOSURE, "{row}");
    }
    Ok(())
}

/// `CAP_NET_ADMIN`, `CAP_PERFMON`, `CAP_BPF`, and no more.
fn rights(machine: &Machine) -> Result<()> {
    let status = machine.sh("grep -E '^Cap(Prm|Eff|Bnd)' /proc/$(pidof firewall)/status")?;
    for line in status.lines() {
        let bits = line.split_whitespace().nth(1).context("no figure")?;
        assert_eq!(u64::from_str_radix(bits, 16)?, 1 << 12 | 1 << 38 | 1 << 39, "{line}");
    }
    Ok(())
}

/// The agent, with the rights of its unit, attaches the judges of a policy that stands.
fn judges(machine: &Machine) -> Result<()> {
    machine.sh("for i in $(seq 150); do
            journalctl -b -u firewall | grep 'programs are attached themselves' >&2 && exit 0
            sleep 0.2
        done
        journalctl -b -u firewall --no-pager; exit 1")?;
    assert!(!is_open(machine)?);
    Ok(())
}

/// Enforcement is there before the network may come up.
fn order(machine: &Machine) -> Result<()> {
    let reached = |unit: &str| -> Result<u64> {
        let show = format!("systemctl show --value -p ActiveEnterTimestampMonotonic {unit}");
        Ok(machine.sh(&show)?.trim().parse()?)
    };
    let enforced = reached("firewall-boot.service")?;
    let (before_network, network) =
        (reached("network-pre.target")?, reached("systemd-networkd.service")?);
    eprintln!(
        "enforced at {enforced} us, network-pre at {before_network} us, networkd at {network} us"
    );
    assert!(0 < enforced && enforced <= before_network && before_network <= network);
    assert!(machine.sh("journalctl -b -u firewall-boot --no-pager")?.contains("attached eth0"));
    // It needed neither the network nor D-Bus.
    let needs = machine.sh("systemctl show --value -p After firewall-boot.service")?;
    assert!(!needs.contains("dbus") && !needs.contains("network"), "{needs}");
    Ok(())
}

/// What an installation could leave.
fn left(machine: &Machine) -> Result<String> {
    machine.sh(
        "find /usr/local /etc /var/lib /var/tmp /run/firewall* /sys/fs/bpf -name '*firewall*' 2>/dev/null; \
         getent group firewall; systemctl list-unit-files --no-legend '*firewall*'; ip -o link show eth0 | grep -o prog/xdp; \
         ls -d /usr/local/*",
    )
}
