//! What the kernel itself counted: interfaces, protocols, sockets, processes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::host::Host;

/// `ip -s link` of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets given up before they were sent.
    pub tx_dropped: u64,
}

impl Link {
    /// Reads the counters of an interface.
    ///
    /// # Errors
    ///
    /// If there is no such interface.
    pub fn of(host: &Host, interface: &str) -> Result<Self> {
        let read = |name: &str| -> Result<u64> {
            let path = format!("/sys/class/net/{interface}/statistics/{name}");
            let text = std::fs::read_to_string(&path).with_context(|| format!("no {path}"))?;
            Ok(text.trim().parse()?)
        };
        host.enter(|| {
            Ok(Self {
                rx_packets: read("rx_packets")?,
                rx_bytes: read("rx_bytes")?,
                tx_packets: read("tx_packets")?,
                tx_bytes: read("tx_bytes")?,
                tx_dropped: read("tx_dropped")?,
            })
        })?
    }

    /// What was added since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            rx_packets: self.rx_packets - before.rx_packets,
            rx_bytes: self.rx_bytes - before.rx_bytes,
            tx_packets: self.tx_packets - before.tx_packets,
            tx_bytes: self.tx_bytes - before.tx_bytes,
            tx_dropped: self.tx_dropped - before.tx_dropped,
        }
    }
}

/// `/proc/net/snmp`, `netstat` and `snmp6` of a host, by names such as `Udp.InDatagrams`,
/// `TcpExt.TCPSynRetrans` and `Udp6InDatagrams`.
#[derive(Clone, Debug, Default)]
pub struct Snmp(BTreeMap<String, u64>);

impl Snmp {
    /// Reads all counters of a host.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn of(host: &Host) -> Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/net/{name}", host.pid()));
        let mut all = BTreeMap::new();
        let text = read("snmp")? + &read("netstat")?;
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (group, names) = names.split_once(": ").context("no group in /proc/net/snmp")?;
            let values = values.split_whitespace().skip(1);
            for (name, value) in names.split_whitespace().zip(values) {
                // MaxConn is -1.
                all.insert(format!("{group}.{name}"), value.parse().unwrap_or_default());
            }
        }
        for line in read("snmp6")?.lines() {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(value)) = (words.next(), words.next()) {
                all.insert(name.to_owned(), value.parse().unwrap_or_default());
            }
        }
        Ok(Self(all))
    }

    /// One counter; 0 if the kernel has none of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Datagrams of both families that reached UDP: delivered, refused by a full
    /// buffer, or to a port where nobody listens.
    #[must_use]
    pub fn udp_arrived(&self) -> u64 {
        ["InDatagrams", "InErrors", "NoPorts"]
            .iter()
            .map(|name| self.get(&format!("Udp.{name}")) + self.get(&format!("Udp6{name}")))
            .sum()
    }
}

/// What a process has taken of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, of user and system.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub resident: u64,
    /// Resident memory of its own, without files that others map as well, bytes.
    pub anonymous: u64,
}

impl Usage {
    /// Of a process, by the machine's number.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn of(pid: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        // Fields 14 and 15 of proc(5); the first one here is field 3.
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kilobytes = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Ok(Self {
            // 100 ticks a second, whatever the kernel's own rate (USER_HZ).
            cpu: Duration::from_millis(ticks * 10),
            resident: kilobytes("VmRSS:") * 1024,
            anonymous: kilobytes("RssAnon:") * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident > 100_000 && usage.anonymous <= usage.resident, "{usage:?}");
    }
}
