//! nmap: which ports of which servers answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;

use anyhow::Result;

use crate::gate;
use crate::host::Host;

/// Open TCP ports by address; an address without any has an empty set.
pub type Scan = BTreeMap<IpAddr, BTreeSet<u16>>;

/// SYNs per second.
const RATE: u32 = 5000;

/// Scans TCP ports, written as nmap takes them (`1-1024,3306`), from a host. The
/// addresses are of one family. Each port is asked once, and again where
/// `patient`.
///
/// # Errors
///
/// If nmap is not installed, or fails.
pub fn scan(from: &Host, addresses: &[IpAddr], ports: &str, patient: bool) -> Result<Scan> {
    let mut command = Command::new(gate::tool("nmap", "nmap")?);
    command.args(["-sS", "-Pn", "-n", "-T5", "--min-rate", &RATE.to_string(), "-oG", "-"]);
    command.args(["--max-retries", if patient { "2" } else { "0" }, "-p", ports]);
    if addresses.iter().any(IpAddr::is_ipv6) {
        command.arg("-6");
    }
    for address in addresses {
        command.arg(address.to_string());
    }
    Ok(open_ports(&from.check(&mut command)?))
}

/// Reads nmap's "grepable" output.
fn open_ports(text: &str) -> Scan {
    let mut scan = Scan::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("Host: ")) {
        let Some((address, rest)) = line.split_once(' ') else { continue };
        let Ok(address) = address.parse() else { continue };
        let open = scan.entry(address).or_default();
        let Some((_, ports)) = rest.split_once("Ports: ") else { continue };
        let ports = ports.split('\t').next().unwrap_or_default();
        open.extend(ports.split(", ").filter_map(|port| {
            let mut fields = port.trim().split('/');
            let number: u16 = fields.next()?.parse().ok()?;
            (fields.next() == Some("open")).then_some(number)
        }));
    }
    scan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_ports_are_told_from_closed_and_silent_ones() {
        let text = "# Nmap 7.93 scan initiated\n\
            Host: 203.0.113.10 ()\tStatus: Up\n\
            Host: 203.0.113.10 ()\tPorts: 22/closed/tcp//ssh///, 80/open/tcp//http///, \
            443/open/tcp//https///\tIgnored State: filtered (998)\n\
            Host: 2001:db8::1 ()\tStatus: Up\n\
            Host: 2001:db8::1 ()\tPorts: \tIgnored State: filtered (1000)\n";
        let scan = open_ports(text);
        assert_eq!(scan[&"203.0.113.10".parse().unwrap()], BTreeSet::from([80, 443]));
        assert!(scan[&"2001:db8::1".parse().unwrap()].is_empty());
    }
}
