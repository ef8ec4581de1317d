//! Frames of real and hostile networks.
//!
//! `tests/data/captures` holds some; `FIREWALL_CAPTURES` names a directory with
//! more. Only Ethernet frames reach these hooks. Captures of another link type, or
//! that the reader refuses, are counted; none may make it panic.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use firewall_common::verdict::Reason;
use firewall_policy::compile::Budget;
use firewall_tests::pcap;
use firewall_userspace::kernel::sandbox::Hook;

use crate::common::policy;
use crate::pair::Pair;

/// Names a directory of captures in place of our own.
const VARIABLE: &str = "FIREWALL_CAPTURES";

/// A host that judges: something of everything is admitted.
const SITE: &str = "groups:
  private-v4: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]
  documentation: [192.0.2.0/24, 198.51.100.0/24, \"2001:db8::/32\"]
  local: [\"fe80::/10\", \"fc00::/7\"]
services:
  web:  { tcp: [80, 8080], count: http1 }
  tls:  { tcp: 443, count: tls }
  dns:  { udp: 53, tcp: 53, count: dns }
  bgp:  { tcp: 179 }
  high: { tcp: \"1024-65535\", udp: \"1024-65535\" }
  sctp: { sctp: \"1-65535\" }
  tunnels: { ip-proto: [4, 41, 47, 50, 89, 103, 112] }
ingress:
  deny: [{ name: no-bgp, from: private-v4, service: bgp }]
  allow:
    - { name: web, from: any, service: [web, tls] }
    - { name: dns, from: any, service: dns }
    - { name: high, from: [private-v4, local], service: [high, sctp] }
    - { name: tunnels, from: any, service: tunnels }
egress:
  deny: [{ name: not-there, to: documentation, service: web }]
  allow:
    - { name: out, to: [private-v4, documentation], service: [high, dns] }
";

/// A host that lets everything pass which is not malformed.
const OPEN: &str = "default: { ingress: allow, egress: allow }\nbaseline: { host: true, non-ip: all, fragments: strict }\n";

/// What became of a directory of captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    files: usize,
    unreadable: usize,
    frames: usize,
    other_link: usize,
    /// Frame and hook, once each.
    compared: usize,
    /// Too large for a test run.
    large: usize,
    /// Too short for a test run.
    short: usize,
}

#[test]
fn captures_are_judged_alike() -> Result<()> {
    let (directory, ours) = match std::env::var_os(VARIABLE) {
        Some(directory) => (PathBuf::from(directory), false),
        None => (Path::new(env!("CARGO_MANIFEST_DIR")).join("data/captures"), true),
    };
    for (name, text) in [("site", SITE), ("open", OPEN)] {
        let policy = policy::read(text)?;
        let mut pair = Pair::new(policy::compiled(&policy, Budget::USUAL)?)?;
        let mut tally = Tally::default();
        let mut seen = HashMap::<Reason, usize>::new();
        for path in captures(&directory)? {
            tally.files += 1;
            let packets = match pcap::read(&std::fs::read(&path)?) {
                Ok(packets) => packets,
                Err(error) => {
                    eprintln!("{}: {error}", path.display());
                    tally.unreadable += 1;
                    continue;
                }
            };
            pair.begin()?;
            for (number, packet) in packets.iter().enumerate() {
                tally.frames += 1;
                if packet.link_type != pcap::ETHERNET {
                    tally.other_link += 1;
                    continue;
                }
                judge(&mut pair, &packet.data, &mut tally, &mut seen)
                    .with_context(|| format!("{name}: {} packet {}", path.display(), number + 1))?;
            }
            pair.end().with_context(|| format!("{name}: {}", path.display()))?;
        }
        report(name, tally, seen);
        // A later reader of this file sees at once if frames are lost on the way.
        ensure!(!ours || (tally.files > 100 && tally.compared > 6000), "{tally:?}");
    }
    Ok(())
}

fn captures(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("no captures at {}", directory.display()))?;
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng")
        })
        .collect();
    paths.sort();
    Ok(paths)
}

/// Puts a frame to every hook.
fn judge(
    pair: &mut Pair,
    frame: &[u8],
    tally: &mut Tally,
    seen: &mut HashMap<Reason, usize>,
) -> Result<()> {
    for hook in [Hook::Xdp, Hook::TcIngress, Hook::TcEgress] {
        if frame.len() > if hook == Hook::Xdp { PAGES } else { ONE_PAGE } {
            tally.large += 1;
            continue;
        }
        match pair.judge(hook, frame, 1)? {
            Some(decision) => {
                tally.compared += 1;
                *seen.entry(decision.reason).or_default() += 1;
            }
            None => tally.short += 1,
        }
    }
    Ok(())
}

/// What a test run at XDP has room for, nearly.
const PAGES: usize = 69_000;

/// What a test run at TC has room for, nearly.
pub(crate) const ONE_PAGE: usize = 3700;

fn report(name: &str, tally: Tally, seen: HashMap<Reason, usize>) {
    let mut seen: Vec<_> = seen.into_iter().collect();
    seen.sort_unstable_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason as u8));
    let seen: Vec<_> =
        seen.iter().map(|(reason, count)| format!("{} {count}", reason.name())).collect();
    eprintln!("{name}: {tally:?}\n  {}", seen.join(", "));
}
