//! dnsmasq: a resolver that knows the names it is told.

use std::net::IpAddr;
use std::process::Command;

use anyhow::Result;

use super::START_LIMIT;
use crate::gate;
use crate::host::{Host, Socket};
use crate::process::Process;

/// A running dnsmasq.
#[derive(Debug)]
pub struct Dnsmasq {
    process: Process,
}

impl Dnsmasq {
    /// Starts dnsmasq on port 53 of `addresses` and waits until it listens. It
    /// knows `names`, asks nobody for others, and logs every query.
    ///
    /// # Errors
    ///
    /// If it is not installed, or does not start; the message holds its log.
    pub fn start(host: &Host, addresses: &[IpAddr], names: &[(&str, IpAddr)]) -> Result<Self> {
        let program = gate::tool("dnsmasq", "dnsmasq-base")?;
        let mut command = Command::new(program);
        command.args(["--keep-in-foreground", "--log-queries", "--log-facility=-"]);
        command.args(["--conf-file=/dev/null"]);
        command.args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"]);
        command.args(["--except-interface=lo", "--pid-file=/run/dnsmasq.pid"]);
        for address in addresses {
            command.arg(format!("--listen-address={address}"));
        }
        for (name, address) in names {
            command.arg(format!("--host-record={name},{address}"));
        }
        let process = host.spawn("dnsmasq", &mut command)?;
        process.wait_listening(&[Socket::Udp(53), Socket::Tcp(53)], START_LIMIT)?;
        Ok(Self { process })
    }

    /// The process, for instance to read its log or kill it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
