//! Where packets that come by an interface are judged, and with which tag.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::interfaces;
use super::netlink::{self, Link};
use super::selection::Selection;
use super::{addresses, ethtool};

/// How a packet may stand before the program that judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Name of the interface on which it is judged.
    pub interface: String,
    /// The outer 802.1Q tag that the program sees.
    pub tag: Tag,
}

/// What is known of a packet's outer tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// It has none, or the card has taken it off.
    None,
    /// This one.
    Is(u16),
    /// Any, or none.
    Unknown,
}

/// How packets from an address come, on a host with ordinary routes: every way in
/// which they may be judged. Empty if they come by interfaces where nothing is judged.
///
/// `strips` says that XDP judges: it does not see the tags that a card takes off.
pub(crate) fn from(
    peer: IpAddr,
    matches: &[String],
    ignore: &[String],
    strips: bool,
) -> Vec<Arrival> {
    let selection = Selection::of(matches, ignore);
    let links = netlink::links().unwrap_or_default();
    // Every interface has a route to link-local addresses.
    let is_link_local = matches!(peer, IpAddr::V6(peer) if peer.is_unicast_link_local());
    let route = addresses::interface_to(peer).filter(|_| !is_link_local);
    let route = route.and_then(|name| interfaces::one(&name)).map(|one| one.ifindex);
    let mut found = among(&selection, &links, route);
    let bare = |one: &Arrival| one.tag != Tag::None && strips && takes_tags_off(&one.interface);
    let without: Vec<Arrival> = found.iter().filter(|one| bare(one)).cloned().collect();
    found.extend(without.into_iter().map(|one| Arrival { tag: Tag::None, ..one }));
    found
}

/// Whether the card takes tags off; a device without a driver has no card.
fn takes_tags_off(name: &str) -> bool {
    interfaces::driver(name).is_some()
        && ethtool::offloads(name).is_ok_and(|offloads| offloads.vlan_strip)
}

/// From the interface of the route down to what carries it. Without a route any
/// judged interface may be the one.
fn among(selection: &Selection, links: &[Link], route: Option<u32>) -> Vec<Arrival> {
    let known = |ifindex: &u32| links.iter().any(|link| link.ifindex == *ifindex);
    let Some(route) = route.filter(known) else {
        let any = selection.judged.iter().map(|one| one.name.clone());
        return any.map(|interface| Arrival { interface, tag: Tag::Unknown }).collect();
    };
    let (mut found, mut seen, mut ahead) = (Vec::new(), BTreeSet::new(), vec![(route, Tag::None)]);
    while let Some((ifindex, tag)) = ahead.pop() {
        if !seen.insert(ifindex) {
            continue;
        }
        let judged = selection.judged.iter().find(|one| one.ifindex == ifindex);
        found.extend(judged.map(|one| Arrival { interface: one.name.clone(), tag }));
        let Some(link) = links.iter().find(|link| link.ifindex == ifindex) else { continue };
        let below = match link.kind.as_str() {
            "vlan" => Some(link.vlan.map_or(Tag::Unknown, Tag::Is)),
            "macvlan" | "macvtap" | "ipvlan" | "ipvtap" => Some(tag),
            _ => None,
        };
        ahead.extend(link.base.zip(below));
        // A bridge may take tags off, a bond does not.
        let inside = if link.kind == "bridge" { Tag::Unknown } else { tag };
        let members = links.iter().filter(|link| link.master == Some(ifindex));
        ahead.extend(members.map(|link| (link.ifindex, inside)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::interfaces::Interface;

    fn link(ifindex: u32, kind: &str, base: Option<u32>, master: Option<u32>) -> Link {
        Link { ifindex, kind: kind.into(), base, master, ..Link::default() }
    }

    /// 2 and 3 in bond 4, VLAN 7 on it, VLAN 20 on that; 8 in bridge 9; 10 a veth whose
    /// peer, 11, is here, too.
    fn links() -> Vec<Link> {
        vec![
            link(2, "", None, Some(4)),
            link(3, "", None, Some(4)),
            link(4, "bond", None, None),
            Link { vlan: Some(7), ..link(5, "vlan", Some(4), None) },
            Link { vlan: Some(20), ..link(6, "vlan", Some(5), None) },
            link(8, "", None, Some(9)),
            link(9, "bridge", None, None),
            link(10, "veth", Some(11), None),
            link(11, "veth", Some(10), None),
        ]
    }

    fn of(judged: &[u32], route: Option<u32>) -> Vec<(String, Tag)> {
        let one = |&ifindex: &u32| Interface { name: format!("i{ifindex}"), ifindex, mtu: None };
        let judged = judged.iter().map(one).collect();
        let selection = Selection { judged, ..Selection::default() };
        let found = among(&selection, &links(), route);
        found.into_iter().map(|one| (one.interface, one.tag)).collect()
    }

    fn at(ifindex: u32, tag: Tag) -> (String, Tag) {
        (format!("i{ifindex}"), tag)
    }

    #[test]
    fn packets_are_judged_on_the_interface_of_the_route_or_below() {
        assert_eq!(of(&[4, 10], Some(4)), [at(4, Tag::None)]);
        assert_eq!(of(&[2, 3], Some(4)), [at(3, Tag::None), at(2, Tag::None)]);
        assert_eq!(of(&[8, 9], Some(9)), [at(9, Tag::None), at(8, Tag::Unknown)]);
        // The other end of a veth carries nothing of this one.
        assert_eq!(of(&[10, 11], Some(10)), [at(10, Tag::None)]);
        assert_eq!(of(&[4], Some(10)), []);
    }

    #[test]
    fn the_tag_is_that_of_the_lowest_vlan_above() {
        assert_eq!(of(&[5], Some(5)), [at(5, Tag::None)]);
        assert_eq!(of(&[4], Some(5)), [at(4, Tag::Is(7))]);
        assert_eq!(of(&[5], Some(6)), [at(5, Tag::Is(20))]);
        assert_eq!(of(&[2], Some(6)), [at(2, Tag::Is(7))]);
    }

    #[test]
    fn without_a_route_it_may_be_any() {
        for route in [None, Some(99)] {
            assert_eq!(of(&[4, 8], route), [at(4, Tag::Unknown), at(8, Tag::Unknown)]);
        }
    }
}
