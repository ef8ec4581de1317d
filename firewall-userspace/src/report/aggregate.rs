//! Many events of one kind become one line and a number.
//!
//! The kernel has sampled already: one event per source and rule in a window.
//! Here the sources of one network are put together, too, so that a scan of a
//! whole network is two lines a second. Pure: time is passed in.

use std::collections::HashMap;
use std::net::IpAddr;

use super::event::{Event, Line, More, Suppressed, network_of};
use super::snapshot::Way;

/// Groups told apart in a window; events of further ones are all told.
const GROUPS: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    direction: Way,
    by: String,
    protocol: String,
    port: Option<u16>,
    network: Option<IpAddr>,
}

struct Group {
    first: Event,
    more: u64,
    /// Whether all came from the address of the first.
    one_source: bool,
}

/// Events of the window that is open.
#[derive(Default)]
pub struct Aggregator {
    groups: HashMap<Key, Group>,
    order: Vec<Key>,
}

impl Aggregator {
    /// Takes an event; gives it back if it is to be told now.
    pub fn push(&mut self, event: Event) -> Option<Line> {
        let network = event.from.map(|from| network_of(from, width(from)));
        let key = Key {
            direction: event.direction,
            by: event.by.clone(),
            protocol: event.protocol.clone(),
            port: event.to_port,
            network,
        };
        if let Some(group) = self.groups.get_mut(&key) {
            group.more += 1;
            group.one_source &= group.first.from == event.from;
            return None;
        }
        if self.groups.len() < GROUPS {
            let group = Group { first: event.clone(), more: 0, one_source: true };
            self.groups.insert(key.clone(), group);
            self.order.push(key);
        }
        Some(Line::Packet(event))
    }

    /// Closes the window: what was not told, by group, and what the kernel kept
    /// back meanwhile.
    pub fn close(&mut self, time_ms: u64, suppressed: u64, lost: u64) -> Vec<Line> {
        let mut lines = Vec::new();
        for key in std::mem::take(&mut self.order) {
            let Some(group) = self.groups.remove(&key) else { continue };
            let count = group.more;
            if count == 0 {
                continue;
            }
            let network = match (group.first.from, key.network) {
                (Some(from), _) if group.one_source => Some(from.to_string()),
                (Some(from), Some(network)) => Some(format!("{network}/{}", width(from))),
                _ => None,
            };
            lines.push(Line::More(More { time_ms, count, network, like: group.first }));
        }
        if suppressed > 0 || lost > 0 {
            lines.push(Line::Suppressed(Suppressed { time_ms, suppressed, lost }));
        }
        lines
    }
}

/// Prefix length that sources are put together by.
const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

#[cfg(test)]
mod tests {
    use super::super::event::sample;
    use super::*;

    fn from(address: &str) -> Event {
        Event { from: address.parse().ok(), ..sample() }
    }

    #[test]
    fn the_first_is_told_and_the_rest_counted() {
        let mut events = Aggregator::default();
        assert!(events.push(from("192.0.2.1")).is_some());
        for host in 2..=200 {
            assert_eq!(events.push(from(&format!("192.0.2.{host}"))), None);
        }
        assert!(events.push(from("198.51.100.1")).is_some());
        let lines = events.close(2_000, 5, 0);
        let [Line::More(more), Line::Suppressed(kept)] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert_eq!((more.count, more.network.as_deref()), (199, Some("192.0.2.0/24")));
        assert_eq!((kept.suppressed, kept.lost), (5, 0));
        assert!(events.close(3_000, 0, 0).is_empty());
        assert!(events.push(from("192.0.2.1")).is_some());
    }

    #[test]
    fn one_source_is_named_itself() {
        let mut events = Aggregator::default();
        events.push(from("2001:db8::1"));
        events.push(from("2001:db8::1"));
        let lines = events.close(2_000, 0, 0);
        let [Line::More(more)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((more.count, more.network.as_deref()), (1, Some("2001:db8::1")));
    }

    #[test]
    fn other_ports_and_rules_are_other_groups() {
        let mut events = Aggregator::default();
        assert!(events.push(sample()).is_some());
        assert!(events.push(Event { to_port: Some(22), ..sample() }).is_some());
        assert!(events.push(Event { by: "deny-abuse".into(), ..sample() }).is_some());
    }
}
