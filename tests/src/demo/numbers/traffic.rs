//! Packets of each server, beside what the kernel says.

use anyhow::{Result, bail, ensure};

use super::moment::{Moment, Moments};
use crate::demo::plan::{PROMETHEUS, SERVERS, Server, Tier};

/// Packets of one server during the load.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// The server's name.
    pub(crate) server: &'static str,
    /// Its tier.
    pub(crate) tier: Tier,
    /// How long, seconds.
    pub(crate) seconds: f64,
    /// Packets that arrived, as the firewall counts them.
    pub(crate) arrived: u64,
    /// As `ip -s link` does.
    pub(crate) link_arrived: u64,
    /// Packets that left, or were to leave.
    pub(crate) left: u64,
    /// As `ip -s link` counts them: a super-packet once.
    pub(crate) link_left: u64,
    /// As the kernel's protocols count them: a super-packet as what it stands
    /// for. `None` where the loopback is among them.
    pub(crate) kernel_left: Option<u64>,
    /// How many of those the kernel may have counted twice: a SYN-ACK that is sent again is a
    /// segment and a segment sent again (`tcp_rtx_synack` in the kernel's net/ipv4).
    pub(crate) kernel_twice: u64,
    /// Packets dropped, both ways.
    pub(crate) dropped: u64,
    steady: bool,
}

/// Of every server.
pub(super) fn of(moments: &Moments, seconds: f64) -> Vec<Traffic> {
    SERVERS.iter().map(|server| one(server, moments.of(server.name), seconds)).collect()
}

fn one(server: &Server, moment: &Moment, seconds: f64) -> Traffic {
    let Moment { counters, links, sent, syn_again, steady } = moment;
    let all = |way| counters.passed(way) + counters.dropped(way);
    // Prometheus scrapes its own agent on the loopback.
    let counted = *server != PROMETHEUS;
    Traffic {
        server: server.name,
        tier: server.tier,
        seconds,
        arrived: all("ingress"),
        link_arrived: links.values().map(|link| link.rx_packets).sum(),
        left: all("egress"),
        link_left: links.values().map(|link| link.tx_packets).sum(),
        kernel_left: counted.then(|| sent + counters.reason("egress", "arp")),
        kernel_twice: *syn_again,
        dropped: counters.dropped("ingress") + counters.dropped("egress"),
        steady: *steady,
    }
}

impl Traffic {
    /// Per second.
    pub(crate) fn rate(&self, packets: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let packets = packets as f64;
        packets / self.seconds
    }

    /// By how many packets the firewall and the kernel are apart.
    pub(crate) fn off(&self) -> u128 {
        let sent = self.kernel_left.unwrap_or(self.link_left);
        u128::from(self.arrived.abs_diff(self.link_arrived)) + u128::from(self.left.abs_diff(sent))
    }

    /// What must hold.
    pub(super) fn checks(&self) -> Vec<(String, Result<String>)> {
        let Self { server, arrived, link_arrived, left, link_left, kernel_left, .. } = self;
        let mut checks = vec![(
            format!("packets that reach {server}"),
            self.judge(*arrived, (*link_arrived, 0), "ip -s link"),
        )];
        let (truth, source) = match kernel_left {
            Some(sent) => ((*sent, self.kernel_twice), "the kernel's segments"),
            None => ((*link_left, 0), "ip -s link"),
        };
        checks.push((format!("packets that leave {server}"), self.judge(*left, truth, source)));
        checks
    }

    /// Holds a count against the truth, of which so many may be there twice.
    fn judge(&self, firewall: u64, (truth, twice): (u64, u64), source: &str) -> Result<String> {
        let seen = format!("firewall {firewall}, {source} {truth}");
        ensure!(truth > 0, "{source} counted nothing");
        match i128::from(firewall) - i128::from(truth) {
            0 => Ok(seen),
            off if (-i128::from(twice)..0).contains(&off) => {
                Ok(format!("{seen}: {off:+}, of {twice} handshakes that were sent again"))
            }
            // Packets came between the readings: a few are counted here and not there.
            off if !self.steady && off.unsigned_abs() <= u128::from(truth / 100 + 20) => {
                Ok(format!("{seen}: {off:+}, read while packets came"))
            }
            off => bail!("{seen}: {off:+}"),
        }
    }
}
