//! Telling systemd, by the datagrams that `sd_notify(3)` describes.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The socket of the service manager, if there is one.
#[derive(Debug)]
pub(super) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// From `NOTIFY_SOCKET`.
    pub(super) fn from_environment() -> Self {
        let name = std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty());
        Self(name.and_then(|name| {
            let address = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&name),
            };
            Some((UnixDatagram::unbound().ok()?, address.ok()?))
        }))
    }

    /// Tells; a manager that does not listen is no reason to fail.
    pub(super) fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.0 {
            let _unheard = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

/// How often the manager wants to hear from us; `None` if not at all.
pub(super) fn watchdog() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let pid = std::env::var("WATCHDOG_PID").ok();
    let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
    ours.then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_told() {
        let name = format!("firewall-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notify = Notify(Some((UnixDatagram::unbound().unwrap(), address)));
        notify.tell("READY=1");
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn no_manager_is_no_failure() {
        Notify(None).tell("READY=1");
    }
}
