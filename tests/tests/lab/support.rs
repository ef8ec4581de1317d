//! What the files of this target share.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_userspace::kernel::pins::Pins;
use firewall_userspace::kernel::store::Store;

/// Settings, groups and services of the policies here; chains are given as the
/// rules of their allow lists, one a line.
pub(crate) fn policy(ingress: &[&str], egress: &[&str]) -> String {
    format!("{SETTINGS}ingress:\n{}egress:\n{}", allowed(ingress), allowed(egress))
}

const SETTINGS: &str = "\
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups:
  admin: [198.51.100.5, \"2001:db8:2::5\"]
  clients: [198.51.100.20, \"2001:db8:2::20\"]
  strangers: [198.51.100.66, \"2001:db8:2:66::66\"]
services:
  ssh: { tcp: 22 }
  web: { tcp: 80 }
  alternative: { tcp: 8080 }
  outside: { tcp: 443 }
  dns: { udp: 53, tcp: 53 }
  echo: { udp: 7 }
failsafe:
  ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ]
";

fn allowed(rules: &[&str]) -> String {
    if rules.is_empty() {
        return "  allow: []\n".to_owned();
    }
    let lines: String = rules.iter().map(|rule| format!("    - {{ {rule} }}\n")).collect();
    format!("  allow:\n{lines}")
}

/// Reads or writes the pinned maps of a host directly: what no command does.
pub(crate) fn store<T: Send>(
    firewall: &Firewall,
    work: impl FnOnce(&Store) -> Result<T> + Send,
) -> Result<T> {
    firewall.host().enter(|| {
        let store = Store::open(&Pins::at(Pins::DEFAULT_ROOT.as_ref()))?;
        work(&store.ok_or_else(|| anyhow::anyhow!("nothing is pinned"))?)
    })?
}

/// Waits until something is true.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < limit, "still not after {limit:?}: {what}");
        sleep(Duration::from_millis(10));
    }
    Ok(start.elapsed())
}
