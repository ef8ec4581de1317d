//! Sampled events: one line each, on the socket, in files and on the screen.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::snapshot::{Action, Way};
use super::table::visible;
use super::units;

/// A line of the stream of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    /// One packet.
    Packet(Event),
    /// Packets like one that was told before.
    More(More),
    /// Packets of which the kernel told nothing.
    Suppressed(Suppressed),
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, milliseconds since 1970.
    pub time_ms: u64,
    /// What was done.
    pub verdict: Action,
    /// Direction.
    pub direction: Way,
    /// Source; `None` for other than IP.
    pub from: Option<IpAddr>,
    /// Source port.
    pub from_port: Option<u16>,
    /// Destination.
    pub to: Option<IpAddr>,
    /// Destination port.
    pub to_port: Option<u16>,
    /// Protocol by name, or by number: `tcp`, `icmp`, `proto 112`, `ethertype 0x88cc`.
    pub protocol: String,
    /// TCP flags by name, ICMP type; empty for the rest.
    pub detail: String,
    /// Rule or built-in that decided.
    pub by: String,
    /// Reason by its stable name.
    pub reason: String,
    /// Where the rule is written; `None` for a built-in.
    pub place: Option<String>,
    /// Interface.
    pub interface: String,
    /// 802.1Q tag.
    pub vlan: Option<u16>,
    /// Bytes of the frame.
    pub length: u32,
    /// Local process, for what this host sends: best effort, looked up later.
    pub process: Option<String>,
}

/// Packets like one that was told before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// End of the window, milliseconds since 1970.
    pub time_ms: u64,
    /// How many.
    pub count: u64,
    /// Network that they came from.
    pub network: Option<String>,
    /// The one they are like.
    pub like: Event,
}

/// Packets of which the kernel told nothing, in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// End of the window, milliseconds since 1970.
    pub time_ms: u64,
    /// Not worth an event of their own: the same source had one.
    pub suppressed: u64,
    /// Lost because nobody read them in time.
    pub lost: u64,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Verdict.
    pub verdict: Option<Action>,
    /// Rule or built-in, or reason.
    pub rule: Option<String>,
    /// Source or destination in a network: first address and prefix length.
    pub from: Option<(IpAddr, u8)>,
    /// Source or destination port.
    pub port: Option<u16>,
    /// Not older, milliseconds since 1970.
    pub since_ms: u64,
}

impl Filter {
    /// Whether a line is wanted.
    #[must_use]
    pub fn wants(&self, line: &Line) -> bool {
        match line {
            Line::Packet(event) => self.wants_event(event) && event.time_ms >= self.since_ms,
            Line::More(more) => self.wants_event(&more.like) && more.time_ms >= self.since_ms,
            Line::Suppressed(one) => {
                one.time_ms >= self.since_ms
                    && *self == Self { since_ms: self.since_ms, ..Self::default() }
            }
        }
    }

    fn wants_event(&self, event: &Event) -> bool {
        let named = |rule: &String| {
            let short = event.by.rsplit('/').next().unwrap_or(&event.by);
            *rule == event.by || rule == short || *rule == event.reason
        };
        self.verdict.is_none_or(|verdict| verdict == event.verdict)
            && self.rule.as_ref().is_none_or(named)
            && self.port.is_none_or(|port| [event.from_port, event.to_port].contains(&Some(port)))
            && self.from.is_none_or(|(network, length)| {
                event
                    .from
                    .is_some_and(|from| network_of(from, length) == network_of(network, length))
            })
    }
}

/// The first address of the network that an address lies in.
#[must_use]
pub fn network_of(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

impl Event {
    /// `192.0.2.55:40112 → 10.0.2.11:80`; the interface alone for other than IP.
    #[must_use]
    pub fn ends(&self) -> String {
        let end = |address: Option<IpAddr>, port: Option<u16>| match (address, port) {
            (Some(IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
            (Some(address), Some(port)) => format!("{address}:{port}"),
            (Some(address), None) => address.to_string(),
            (None, _) => "–".to_owned(),
        };
        format!("{} → {}", end(self.from, self.from_port), end(self.to, self.to_port))
    }
}

/// A line for people, without its end; `clock` turns milliseconds since 1970
/// into the time of day.
#[must_use]
pub fn text(line: &Line, clock: impl Fn(u64) -> String) -> String {
    match line {
        Line::Packet(event) => {
            let protocol = format!("{} {}", event.protocol, event.detail);
            let mut rest = vec![event.by.clone()];
            rest.extend(event.process.as_ref().map(|process| format!("{}?", visible(process))));
            rest.push(event.interface.clone());
            rest.extend(event.vlan.map(|vlan| format!("vlan {vlan}")));
            format!(
                "{}  {:5}  {:3}  {}   {}   {}",
                clock(event.time_ms),
                event.verdict.name(),
                event.direction.short(),
                event.ends(),
                protocol.trim_end(),
                rest.join("  "),
            )
        }
        Line::More(more) => {
            let told = &more.like;
            let port = told.to_port.map_or(String::new(), |port| format!(" :{port}"));
            let from = more.network.as_ref().map_or(String::new(), |net| format!(" from {net}"));
            format!(
                "{}  … {} more like {} {}{port} by {}{from} in 1 s",
                clock(more.time_ms),
                units::count(more.count),
                told.direction.short(),
                told.protocol,
                told.by,
            )
        }
        Line::Suppressed(one) => {
            let mut parts = Vec::new();
            if one.suppressed > 0 {
                let packets = counted(one.suppressed, "packet");
                let text = "raised no event of their own (aggregated in the kernel)";
                parts.push(format!("{packets} {text}"));
            }
            let lost = format!("{} lost: nobody read them in time", counted(one.lost, "event"));
            if one.lost > 0 {
                parts.push(lost);
            }
            format!("{}  … {}; counters have them all", clock(one.time_ms), parts.join("; "))
        }
    }
}

fn counted(number: u64, word: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {word}{s}", units::count(number))
}

#[cfg(test)]
pub(crate) fn sample() -> Event {
    Event {
        time_ms: 1_114,
        verdict: Action::Drop,
        direction: Way::Ingress,
        from: "192.0.2.55".parse().ok(),
        from_port: Some(40_112),
        to: "10.0.2.11".parse().ok(),
        to_port: Some(80),
        protocol: "tcp".into(),
        detail: "SYN".into(),
        by: "default-in".into(),
        reason: "default-drop".into(),
        place: None,
        interface: "eth0".into(),
        vlan: None,
        length: 74,
        process: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(ms: u64) -> String {
        format!("14:05:{:02}.{:03}", ms / 1000, ms % 1000)
    }

    #[test]
    fn one_line_per_packet() {
        assert_eq!(
            text(&Line::Packet(sample()), clock),
            "14:05:01.114  drop   in   192.0.2.55:40112 → 10.0.2.11:80   tcp SYN   default-in  eth0"
        );
        let egress = Event {
            direction: Way::Egress,
            process: Some("php-fpm[1831]".into()),
            to: "2001:db8::1".parse().ok(),
            ..sample()
        };
        let text = text(&Line::Packet(egress), clock);
        assert!(text.contains("→ [2001:db8::1]:80") && text.contains("php-fpm[1831]?"), "{text}");
    }

    #[test]
    fn what_was_aggregated_says_how_many() {
        let more = More {
            time_ms: 2_000,
            count: 1_930,
            network: Some("192.0.2.0/24".into()),
            like: sample(),
        };
        assert_eq!(
            text(&Line::More(more), clock),
            "14:05:02.000  … 1,930 more like in tcp :80 by default-in from 192.0.2.0/24 in 1 s"
        );
        let suppressed = Suppressed { time_ms: 2_000, suppressed: 12, lost: 0 };
        assert_eq!(
            text(&Line::Suppressed(suppressed), clock),
            "14:05:02.000  … 12 packets raised no event of their own (aggregated in the kernel); counters have them all"
        );
    }

    #[test]
    fn filters_name_what_is_wanted() {
        let line = Line::Packet(sample());
        let from = |text: &str, length| Filter {
            from: Some((text.parse().unwrap(), length)),
            ..Filter::default()
        };
        assert!(Filter::default().wants(&line));
        assert!(from("192.0.2.0", 24).wants(&line) && !from("192.0.3.0", 24).wants(&line));
        assert!(from("0.0.0.0", 0).wants(&line) && !from("2001:db8::", 0).wants(&line));
        let rule = |name: &str| Filter { rule: Some(name.into()), ..Filter::default() };
        assert!(rule("default-in").wants(&line) && rule("default-drop").wants(&line));
        assert!(!rule("dns").wants(&line));
        let port = |port| Filter { port: Some(port), ..Filter::default() };
        assert!(port(80).wants(&line) && !port(443).wants(&line));
        let allowed = Filter { verdict: Some(Action::Allow), ..Filter::default() };
        assert!(!allowed.wants(&line));
        let suppressed = Line::Suppressed(Suppressed { time_ms: 5, suppressed: 1, lost: 0 });
        assert!(Filter::default().wants(&suppressed) && !port(80).wants(&suppressed));
    }

    #[test]
    fn json_names_its_kind() {
        let json = serde_json::to_string(&Line::Packet(sample())).unwrap();
        assert!(json.starts_with(r#"{"event":"packet","time_ms":1114,"verdict":"drop""#), "{json}");
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), Line::Packet(sample()));
    }
}
