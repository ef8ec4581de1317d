//! Cables between hosts, and switches: veth pairs and bridges.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::host::Host;

/// Longest time until a new cable carries frames.
const UP_LIMIT: Duration = Duration::from_secs(5);

/// An end of a cable: an interface of a host, with its addresses.
#[derive(Clone, Debug)]
pub struct Port {
    host: Host,
    interface: String,
    addresses: Vec<String>,
    mtu: u32,
    mac: String,
    switched: bool,
}

impl Port {
    pub(crate) fn new(host: &Host, interface: &str) -> Self {
        Self {
            host: host.clone(),
            interface: interface.to_owned(),
            addresses: Vec::new(),
            mtu: 1500,
            mac: next_mac(),
            switched: false,
        }
    }

    /// Adds an address with its prefix length, of either family.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// Sets the largest packet, in bytes; 1500 if it is not set.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = bytes;
        self
    }

    /// Sets the hardware address; one of the lab's own if it is not set.
    #[must_use]
    pub fn mac(mut self, mac: &str) -> Self {
        mac.clone_into(&mut self.mac);
        self
    }

    /// The `ip link add` words of this end.
    fn words(&self) -> String {
        format!("{} mtu {} address {}", self.interface, self.mtu, self.mac)
    }

    /// The `ip` commands that bring this end up.
    fn commands(&self) -> String {
        let mut lines = String::new();
        for address in &self.addresses {
            let flag = if address.contains(':') { " nodad" } else { "" };
            let _ = writeln!(lines, "address add {address} dev {}{flag}", self.interface);
        }
        if self.switched {
            let _ = writeln!(lines, "link set {} master br0", self.interface);
        }
        let _ = writeln!(lines, "link set {} up", self.interface);
        lines
    }

    fn is_up(&self) -> bool {
        let path = format!("/sys/class/net/{}/operstate", self.interface);
        self.host
            .enter(|| std::fs::read_to_string(path))
            .is_ok_and(|state| state.is_ok_and(|state| state.trim() == "up"))
    }
}

/// A switch: a host whose only work is a bridge.
#[derive(Clone, Debug)]
pub struct Switch {
    host: Host,
}

impl Switch {
    pub(crate) fn new(host: Host) -> Result<Self> {
        // It forwards frames and is no party itself: it says nothing of its own.
        host.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        host.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        host.ip_batch(
            "link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n\
             link set br0 up\n",
        )?;
        Ok(Self { host })
    }

    /// The host that holds the bridge `br0`, for instance to capture on it.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Lays a cable from this switch to a host. The switch's end has the name of
    /// the host and the same MTU.
    ///
    /// # Errors
    ///
    /// If `ip` refuses, or the cable does not come up.
    pub fn plug(&self, port: &Port) -> Result<()> {
        let mut own = Port::new(&self.host, port.host.name()).mtu(port.mtu);
        own.switched = true;
        connect(&own, port)
    }
}

/// Lays a cable between two ports and waits until it carries frames.
pub(crate) fn connect(a: &Port, b: &Port) -> Result<()> {
    a.host.ip_batch(&format!(
        "link add {} type veth peer name {} netns {}\n",
        a.words(),
        b.words(),
        b.host.pid()
    ))?;
    a.host.ip_batch(&a.commands())?;
    b.host.ip_batch(&b.commands())?;
    // The kernel acts on a carrier at most once a second, unless it is asked for
    // the link's state (`linkwatch_sync_dev` in `rtnl_getlink`, since Linux 6.9).
    for port in [a, b] {
        port.host.ip_batch(&format!("link show dev {}\n", port.interface))?;
    }
    let start = Instant::now();
    while !(a.is_up() && b.is_up()) {
        if start.elapsed() > UP_LIMIT {
            bail!(
                "the cable from {} {} to {} {} is not up after {UP_LIMIT:?}",
                a.host.name(),
                a.interface,
                b.host.name(),
                b.interface
            );
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A new hardware address: locally administered, numbered in order of creation,
/// so that logs of two runs look alike.
fn next_mac() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("02:00:5e:10:{high:02x}:{low:02x}")
}
