//! Port scans: what a burglar sees, from outside and from inside.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::thread;

use anyhow::{Result, ensure};

use super::agents::{Agents, added};
use super::book::{Book, Part};
use super::plan::{SERVERS, Tier, VIP, port};
use super::site::Site;
use crate::clients::{Scan, scan};

/// Who scans, and which ports each of them may see open.
pub(crate) struct View {
    /// The host.
    pub(crate) from: &'static str,
    /// Who that is.
    pub(crate) who: &'static str,
    ipv6: bool,
    may_see: fn(&str) -> &'static [u16],
}

/// Every view. A server that was broken into sees what its role needs, no more.
pub(crate) const VIEWS: [View; 6] = [
    View { from: "client", who: "the world", ipv6: false, may_see: site_only },
    View { from: "client", who: "the world, IPv6", ipv6: true, may_see: site_only },
    View { from: "stranger", who: "a stranger inside", ipv6: false, may_see: site_only },
    View { from: "web2", who: "a web server broken into", ipv6: false, may_see: application },
    View { from: "bastion", who: "the bastion", ipv6: false, may_see: ssh },
    View { from: "prometheus", who: "Prometheus", ipv6: true, may_see: metrics },
];

fn site_only(server: &str) -> &'static [u16] {
    if server == "www" { &[80, 443] } else { &[] }
}

fn application(server: &str) -> &'static [u16] {
    if server.starts_with("app") { &[port::APP] } else { &[] }
}

fn ssh(server: &str) -> &'static [u16] {
    if server == "www" { &[] } else { &[22] }
}

fn metrics(server: &str) -> &'static [u16] {
    // HAProxy's own statistics are on IPv4 only.
    if server == "www" { &[] } else { &[port::METRICS] }
}

/// Servers, and the address of each that is looked at.
type Targets = Vec<(&'static str, IpAddr)>;

/// Ports that are asked for once, and those of the site, asked patiently.
const WIDE: &str = "1-1024,3306,8080-8090,8404,9090-9120,9477";
const OURS: &str = "22,80,443,3306,8080,8404,9090,9477";

impl View {
    /// Addresses that are looked at, and whose they are: everybody, or one tier,
    /// but the scanner.
    fn targets(&self, only: Option<Tier>) -> Targets {
        let family = |v4, v6| if self.ipv6 { IpAddr::V6(v6) } else { IpAddr::V4(v4) };
        let site = ("www", Tier::LoadBalancer, family(VIP.v4, VIP.v6));
        let others = SERVERS.iter().filter(|server| server.name != self.from);
        std::iter::once(site)
            .chain(others.map(|one| (one.name, one.tier, family(one.at.v4, one.at.v6))))
            .filter(|(_, tier, _)| only.is_none_or(|only| only == *tier))
            .map(|(name, _, address)| (name, address))
            .collect()
    }

    /// Looks.
    fn look(&self, site: &Site, targets: &Targets) -> Result<Scan> {
        let addresses: Vec<IpAddr> = targets.iter().map(|(_, at)| *at).collect();
        let mut seen = scan(site.host(self.from), &addresses, WIDE, false)?;
        for (address, open) in scan(site.host(self.from), &addresses, OURS, true)? {
            seen.entry(address).or_default().extend(open);
        }
        Ok(seen)
    }

    /// What is open that should not be, and the other way round.
    fn judge(&self, targets: &Targets, seen: &Scan) -> Result<String> {
        let mut wrong = String::new();
        let mut all = 0;
        for (server, address) in targets {
            let wanted: BTreeSet<_> = (self.may_see)(server).iter().copied().collect();
            let open = seen.get(address).cloned().unwrap_or_default();
            all += open.len();
            if open != wanted {
                let _ = write!(wrong, " {server}: {} instead of {};", list(&open), list(&wanted));
            }
        }
        ensure!(wrong.is_empty(), "open ports:{wrong}");
        Ok(match all {
            0 => "sees nothing".to_owned(),
            _ => format!("sees {}", text(targets, seen)),
        })
    }
}

/// Open ports by server.
fn text(targets: &Targets, seen: &Scan) -> String {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for (server, address) in targets {
        let Some(open) = seen.get(address).filter(|open| !open.is_empty()) else { continue };
        let open = list(open);
        match all.iter_mut().find(|(ports, _)| *ports == open) {
            Some((_, servers)) => servers.push(server),
            None => all.push((open, vec![server])),
        }
    }
    let one = |(ports, servers): (String, Vec<&str>)| format!("{} {ports}", servers.join(" "));
    all.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

fn list(ports: &BTreeSet<u16>) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Without the firewall a scan from the world finds every server.
pub(crate) fn before(site: &Site, book: &mut Book) -> Result<()> {
    let view = &VIEWS[0];
    let targets = view.targets(book.only());
    let seen = view.look(site, &targets)?;
    let open: usize = seen.values().map(BTreeSet::len).sum();
    book.note(Part::Before, "a port scan from the world finds every server", {
        let hidden =
            targets.iter().filter(|(_, at)| seen.get(at).is_none_or(BTreeSet::is_empty)).count();
        match hidden {
            0 => Ok(format!("{open} open ports: {}", text(&targets, &seen))),
            _ => Err(anyhow::anyhow!("{hidden} servers are hidden: {}", text(&targets, &seen))),
        }
    });
    Ok(())
}

/// With the firewall a scan finds what the roles open, and no more.
pub(crate) fn check(site: &Site, agents: &Agents, book: &mut Book) -> Result<()> {
    let only = book.only();
    let before = agents.read()?;
    let looks: Vec<Result<(Targets, Scan)>> = thread::scope(|scope| {
        let look = |view: &View| {
            let targets = view.targets(only);
            let seen = view.look(site, &targets)?;
            Ok((targets, seen))
        };
        let threads: Vec<_> = VIEWS.iter().map(|view| scope.spawn(move || look(view))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let drops = added(&before, &agents.read()?);
    let dropped: u64 =
        drops.values().map(|one| one.dropped("ingress") + one.dropped("egress")).sum();
    for (view, look) in VIEWS.iter().zip(looks) {
        let what = format!("nmap as {} ({})", view.who, view.from);
        let judged = look.and_then(|(targets, seen)| view.judge(&targets, &seen));
        book.note(Part::Blocked, what, judged);
    }
    book.note(Part::Blocked, "the scans' probes are on the counters of drops", {
        match dropped {
            0..1000 => Err(anyhow::anyhow!("only {dropped} drops")),
            _ => Ok(format!("{dropped} packets dropped")),
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_port_too_many_or_too_few_is_named() {
        let view = &VIEWS[0];
        let targets = view.targets(None);
        let mut seen: Scan = targets.iter().map(|(_, at)| (*at, BTreeSet::new())).collect();
        assert!(view.judge(&targets, &seen).is_err());
        seen.insert(VIP.v4.into(), BTreeSet::from([80, 443]));
        assert_eq!(view.judge(&targets, &seen).unwrap(), "sees www 80,443");
        seen.insert(SERVERS[1].at.v4.into(), BTreeSet::from([22]));
        let error = view.judge(&targets, &seen).unwrap_err().to_string();
        assert!(error.contains("web1: 22 instead of none"), "{error}");
        assert_eq!(view.targets(Some(Tier::Web)).len(), 2);
    }
}
