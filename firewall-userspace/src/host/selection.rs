//! Which interfaces a policy is enforced on, where one carries the packets of
//! another.
//!
//! A frame for `eth0.10` passes `eth0` as well, and one for `bond0` a member of it:
//! enforced on both it would be judged and counted twice. What no pattern of
//! `match:` takes by itself is therefore left to the other one: a VLAN device to
//! the interface below it, a member of a bond to the bond. What is named apart is
//! judged twice, and `apply` refuses it.

use std::collections::BTreeMap;

use super::interfaces::{self, Interface, glob, selected};
use super::netlink::{self, Link};

/// How an interface stands on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// The upper one is a VLAN on the lower one.
    Vlan,
    /// The lower one is a member of the upper one, a bond or team.
    Bond,
    /// Bridges, macvlan: much of what passes one passes the other, but not all.
    Other,
}

/// Two interfaces that many packets pass both, and that are both judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Double {
    /// The one above.
    pub upper: String,
    /// The one that it stands on.
    pub lower: String,
    /// How.
    pub tie: Tie,
}

/// An interface that is left out, because its packets are judged on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// Its name.
    pub name: String,
    /// Where its packets are judged.
    pub judged_on: Vec<String>,
    /// How the two stand on each other.
    pub tie: Tie,
}

/// What a policy is enforced on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Interfaces on which packets are judged.
    pub judged: Vec<Interface>,
    /// Interfaces that match, and are left out.
    pub elsewhere: Vec<Elsewhere>,
    /// Interfaces that are judged both.
    pub doubles: Vec<Double>,
}

impl Selection {
    /// Of this host as it is now.
    pub(crate) fn of(matches: &[String], ignore: &[String]) -> Self {
        let links = netlink::links().unwrap_or_default();
        Self::among(&interfaces::all(), &links, matches, ignore)
    }

    fn among(present: &[Interface], links: &[Link], matches: &[String], ignore: &[String]) -> Self {
        let judged = present.iter().filter(|one| selected(&one.name, matches, ignore));
        let mut host = Host {
            names: present.iter().map(|one| (one.ifindex, one.name.as_str())).collect(),
            links: links.iter().map(|link| (link.ifindex, link)).collect(),
            matches,
            found: Self { judged: judged.cloned().collect(), ..Self::default() },
        };
        host.leave_out(Tie::Bond, Host::bond);
        host.leave_out(Tie::Vlan, Host::below_vlan);
        host.note_others();
        host.found
    }

    /// Whether packets are judged on an interface.
    pub(crate) fn judges(&self, name: &str) -> bool {
        self.judged.iter().any(|one| one.name == name)
    }
}

impl Elsewhere {
    /// In a sentence.
    pub(crate) fn text(&self) -> String {
        let Self { name, judged_on, tie } = self;
        let others = judged_on.join(" and ");
        let what = if *tie == Tie::Bond { "a member of" } else { "a VLAN on" };
        format!("{name} is {what} {others}: its packets are judged there")
    }
}

impl Double {
    /// How the two stand on each other.
    pub(crate) fn tie_text(&self) -> String {
        let Self { upper, lower, tie } = self;
        match tie {
            Tie::Vlan => format!("`{upper}` is a VLAN on `{lower}`"),
            Tie::Bond => format!("`{lower}` is a member of `{upper}`"),
            Tie::Other => format!("`{upper}` stands on `{lower}`"),
        }
    }

    /// The one that had better be left out, and the one that stays.
    pub(crate) fn out_and_in(&self) -> (&str, &str) {
        match self.tie {
            Tie::Bond => (&self.lower, &self.upper),
            Tie::Vlan | Tie::Other => (&self.upper, &self.lower),
        }
    }

    /// In a sentence.
    pub(crate) fn text(&self) -> String {
        let Self { upper, lower, .. } = self;
        format!("{upper} stands on {lower} and both match: packets are judged and counted twice")
    }
}

struct Host<'a> {
    names: BTreeMap<u32, &'a str>,
    links: BTreeMap<u32, &'a Link>,
    matches: &'a [String],
    found: Selection,
}

impl Host<'_> {
    /// Leaves out interfaces whose packets pass others that are judged.
    fn leave_out(&mut self, tie: Tie, others: fn(&Self, &Link) -> Vec<u32>) {
        let mut left: Vec<Elsewhere> = Vec::new();
        for one in &self.found.judged {
            let Some(link) = self.links.get(&one.ifindex) else { continue };
            let name = |ifindex| self.names.get(&ifindex).map(|name| (*name).to_owned());
            let judged_on: Vec<String> = others(self, link).into_iter().filter_map(name).collect();
            let own = judged_on.iter().find(|other| self.is_named_apart(&one.name, other));
            match (own, judged_on.as_slice()) {
                (_, []) => {}
                (None, _) => left.push(Elsewhere { name: one.name.clone(), judged_on, tie }),
                (Some(other), _) => {
                    let (upper, lower) = match tie {
                        Tie::Bond => (other.clone(), one.name.clone()),
                        Tie::Vlan | Tie::Other => (one.name.clone(), other.clone()),
                    };
                    self.found.doubles.push(Double { upper, lower, tie });
                }
            }
        }
        self.found.judged.retain(|one| left.iter().all(|other| other.name != one.name));
        // Of a VLAN on a VLAN the lower one may be left out as well.
        for at in 0..left.len() {
            let further = |name: &String| {
                let next = left.iter().find(|other| other.name == *name);
                next.map_or_else(|| vec![name.clone()], |next| next.judged_on.clone())
            };
            left[at].judged_on = left[at].judged_on.iter().flat_map(further).collect();
        }
        self.found.elsewhere.extend(left);
    }

    /// The bond that an interface is a member of, if packets are judged there.
    fn bond(&self, link: &Link) -> Vec<u32> {
        let bond = link.master.filter(|master| self.is_judged(*master) && self.is_bond(*master));
        bond.into_iter().collect()
    }

    /// What carries a VLAN, however many of them stand on each other: what is judged
    /// first on the way down.
    fn below_vlan(&self, link: &Link) -> Vec<u32> {
        let Some(base) = link.base.filter(|_| link.kind == "vlan") else { return Vec::new() };
        if self.is_judged(base) {
            return vec![base];
        }
        let members: Vec<u32> = self.members(base).filter(|one| self.is_judged(*one)).collect();
        match self.links.get(&base) {
            _ if self.is_bond(base) && !members.is_empty() => members,
            Some(below) if below.ifindex != link.ifindex => self.below_vlan(below),
            _ => Vec::new(),
        }
    }

    /// Other interfaces that are judged together with one that they stand on.
    fn note_others(&mut self) {
        let mut doubles = Vec::new();
        for one in &self.found.judged {
            let Some(link) = self.links.get(&one.ifindex) else { continue };
            let on_base = ["macvlan", "macvtap", "ipvlan", "ipvtap"].contains(&link.kind.as_str());
            let lower = link.base.filter(|_| on_base).into_iter().chain(self.members(one.ifindex));
            for lower in lower.filter(|lower| self.is_judged(*lower)) {
                let Some(lower) = self.names.get(&lower) else { continue };
                let (upper, lower) = (one.name.clone(), (*lower).to_owned());
                doubles.push(Double { upper, lower, tie: Tie::Other });
            }
        }
        let known = |double: &Double| {
            let same = |one: &Double| (&one.upper, &one.lower) == (&double.upper, &double.lower);
            self.found.doubles.iter().any(same)
        };
        doubles.retain(|double| !known(double));
        self.found.doubles.extend(doubles);
    }

    fn members(&self, master: u32) -> impl Iterator<Item = u32> {
        let of_master = move |link: &&&Link| link.master == Some(master);
        self.links.values().filter(of_master).map(|link| link.ifindex)
    }

    fn is_bond(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_some_and(|link| ["bond", "team"].contains(&link.kind.as_str()))
    }

    fn is_judged(&self, ifindex: u32) -> bool {
        self.found.judged.iter().any(|one| one.ifindex == ifindex)
    }

    /// Whether a pattern takes an interface without the other one.
    fn is_named_apart(&self, name: &str, other: &str) -> bool {
        self.matches.iter().any(|pattern| glob(pattern, name) && !glob(pattern, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Index, name, kind, base, master.
    type Row = (u32, &'static str, &'static str, Option<u32>, Option<u32>);

    /// eth0 and eth1 in bond0, VLANs on it; eth2 with a VLAN, which has one itself;
    /// eth3 in a bridge.
    const HOST: [Row; 10] = [
        (1, "lo", "", None, None),
        (2, "eth0", "", None, Some(4)),
        (3, "eth1", "", None, Some(4)),
        (4, "bond0", "bond", None, None),
        (5, "bond0.7", "vlan", Some(4), None),
        (6, "eth2", "", None, None),
        (7, "eth2.10", "vlan", Some(6), None),
        (8, "eth2.10.20", "vlan", Some(7), None),
        (9, "eth3", "", None, Some(10)),
        (10, "br0", "bridge", None, None),
    ];

    /// Where packets are judged, what is left out, what is judged twice.
    fn of(matches: &[&str], ignore: &[&str]) -> [String; 3] {
        let owned =
            |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
        let present = HOST.map(|(ifindex, name, ..)| Interface {
            name: name.into(),
            ifindex,
            mtu: Some(1500),
        });
        let links = HOST.map(|(ifindex, _, kind, base, master)| Link {
            ifindex,
            is_ethernet: true,
            kind: kind.into(),
            base,
            vlan: None,
            master,
            programs: Vec::new(),
        });
        let found = Selection::among(&present, &links, &owned(matches), &owned(ignore));
        let judged: Vec<String> = found.judged.iter().map(|one| one.name.clone()).collect();
        let elsewhere = found.elsewhere.iter();
        let elsewhere: Vec<String> =
            elsewhere.map(|one| format!("{}>{}", one.name, one.judged_on.join("+"))).collect();
        let doubles = found.doubles.iter();
        let doubles: Vec<String> =
            doubles.map(|one| format!("{}/{} {:?}", one.upper, one.lower, one.tie)).collect();
        [judged.join(" "), elsewhere.join(" "), doubles.join(" ")]
    }

    #[test]
    fn one_pattern_judges_a_packet_once() {
        let by_default = of(&["en*", "eth*"], &["eth3"]);
        assert_eq!(by_default, ["eth0 eth1 eth2", "eth2.10>eth2 eth2.10.20>eth2", ""]);
        let bond = of(&["*"], &["eth2*", "eth3", "br0"]);
        assert_eq!(bond, ["bond0", "eth0>bond0 eth1>bond0 bond0.7>bond0", ""]);
        assert_eq!(of(&["bond*"], &[]), ["bond0", "bond0.7>bond0", ""]);
        assert_eq!(of(&["*"], &["eth2", "eth3", "br0", "bond*"])[1], "eth2.10.20>eth2.10");
        // The VLAN is seen on both members, and nowhere else.
        let members = of(&["*0*", "*1"], &["bond0", "eth2*", "eth3", "br0"]);
        assert_eq!(members, ["eth0 eth1 bond0.7", "", "bond0.7/eth1 Vlan"]);
        let members = of(&["*"], &["bond0", "eth2*", "eth3", "br0"]);
        assert_eq!(members, ["eth0 eth1", "bond0.7>eth0+eth1", ""]);
    }

    #[test]
    fn what_is_named_apart_is_judged_twice() {
        assert_eq!(of(&["eth2", "eth2.10"], &[])[2], "eth2.10/eth2 Vlan");
        assert_eq!(of(&["eth*", "eth2.10"], &["eth3"])[2], "eth2.10/eth2 Vlan");
        assert_eq!(of(&["eth2", "*.20"], &[])[2], "eth2.10.20/eth2 Vlan");
        let bond = of(&["bond0", "eth0", "eth1"], &[]);
        assert_eq!(bond, ["eth0 eth1 bond0", "", "bond0/eth0 Bond bond0/eth1 Bond"]);
        assert_eq!(of(&["eth2", "eth2.10"], &["eth2.10"]), ["eth2", "", ""]);
    }

    #[test]
    fn what_passes_a_bridge_is_not_all_there_is_to_its_ports() {
        assert_eq!(of(&["eth3", "br0"], &[]), ["eth3 br0", "", "br0/eth3 Other"]);
        assert_eq!(of(&["*"], &["eth0", "eth1", "eth2*", "bond*"])[2], "br0/eth3 Other");
    }

    #[test]
    fn sentences_name_both() {
        let elsewhere = |name: &str, on: &[&str], tie| {
            let judged_on = on.iter().map(|one| (*one).to_owned()).collect();
            Elsewhere { name: name.into(), judged_on, tie }.text()
        };
        let text = elsewhere("bond0.7", &["eth0", "eth1"], Tie::Vlan);
        assert_eq!(text, "bond0.7 is a VLAN on eth0 and eth1: its packets are judged there");
        let text = elsewhere("eth0", &["bond0"], Tie::Bond);
        assert_eq!(text, "eth0 is a member of bond0: its packets are judged there");
    }
}
