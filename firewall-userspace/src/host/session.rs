//! The remote session that a command was typed in.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::addresses::Addresses;

/// Both ends of an SSH connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The far end.
    pub peer: SocketAddr,
    /// This end.
    pub local: SocketAddr,
}

/// Processes looked at, from this one upwards.
const ANCESTORS: usize = 16;

impl Session {
    /// The session of this process; `None` on a console, and where the session
    /// ends in another network namespace than the one that is asked about.
    pub(crate) fn current() -> Option<Self> {
        let session = Self::of_this_process()?;
        Addresses::of_this_host().own.contains(&session.local.ip()).then_some(session)
    }

    /// `sudo` takes `SSH_CONNECTION` out of the environment, so the processes
    /// above are asked, too.
    fn of_this_process() -> Option<Self> {
        if let Ok(value) = std::env::var("SSH_CONNECTION") {
            return Self::parse(&value);
        }
        let mut process = std::process::id();
        for _ in 0..ANCESTORS {
            process = parent(process)?;
            let environment = PathBuf::from(format!("/proc/{process}/environ"));
            let environment = std::fs::read(environment).unwrap_or_default();
            let found = environment.split(|byte| *byte == 0).find_map(|variable| {
                let variable = std::str::from_utf8(variable).ok()?;
                Self::parse(variable.strip_prefix("SSH_CONNECTION=")?)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// From `198.51.100.5 51544 10.0.2.11 22`.
    fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split_whitespace();
        let mut end = || {
            let address = fields.next()?.split('%').next()?.parse::<IpAddr>().ok()?;
            Some(SocketAddr::new(address.to_canonical(), fields.next()?.parse().ok()?))
        };
        Some(Self { peer: end()?, local: end()? })
    }
}

fn parent(process: u32) -> Option<u32> {
    let status = super::read(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().filter(|parent| *parent > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_either_family() {
        let session = Session::parse("198.51.100.5 51544 10.0.2.11 22").unwrap();
        assert_eq!(session.peer, "198.51.100.5:51544".parse().unwrap());
        assert_eq!(session.local.port(), 22);
        let mapped = Session::parse("::ffff:198.51.100.5 1 ::1 22").unwrap();
        assert_eq!(mapped.peer.ip(), "198.51.100.5".parse::<IpAddr>().unwrap());
        assert_eq!(Session::parse("fe80::1%eth0 1 fe80::2%eth0 22").unwrap().local.port(), 22);
        assert_eq!(Session::parse("console"), None);
    }
}
