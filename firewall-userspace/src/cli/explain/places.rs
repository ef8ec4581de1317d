//! The interfaces that a packet may pass, where rules tell them apart.

use std::net::IpAddr;

use anyhow::Result;
use firewall_policy::ir::Policy;
use serde::Serialize;

use crate::candidate;
use crate::cli::sets;
use crate::failure::Failure;
use crate::host::selection::Selection;
use crate::probe::interface::{Alike, alike, usual};
use crate::report::snapshot::Action;

/// Interfaces of this host where the policy judges packets.
#[derive(Debug)]
pub(super) struct Places {
    /// Those that rules treat alike; empty if it does not matter, or one was asked for.
    classes: Vec<Alike>,
    /// The one that a packet is taken to pass.
    on: Option<Alike>,
    is_unknown: bool,
}

/// What happens to a packet on some interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OnInterface {
    interfaces: Vec<String>,
    verdict: Action,
    by: String,
}

/// Said where rules ask for interfaces, and this host has none that is judged.
pub(super) const UNKNOWN: &str = "note: no interface of this host is judged: rules with `iface:` \
    were taken not to match";

impl Places {
    /// Of a policy on this host: the interface that is wanted, else that of the route to the
    /// other end.
    ///
    /// # Errors
    /// If no packet is judged on the one that is wanted.
    pub(super) fn of(
        policy: &Policy,
        wanted: Option<&str>,
        remote: Option<IpAddr>,
    ) -> Result<Self> {
        let on = &policy.interfaces;
        let selection = Selection::of(&on.matches, &on.ignore);
        if let Some(name) = wanted {
            let on = chosen(&selection, name)?;
            return Ok(Self { classes: Vec::new(), on: Some(on), is_unknown: false });
        }
        let classes = alike(policy, &selection.judged);
        let on = usual(policy, &classes, remote);
        let asks = candidate::rules(policy).any(|rule| !rule.interfaces.is_empty());
        Ok(Self { is_unknown: asks && on.is_none(), classes, on })
    }

    /// Whether rules ask for interfaces, and none is known.
    pub(super) const fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// Index of the interface; 0 if it does not matter.
    pub(super) fn ifindex(&self) -> u32 {
        self.on.as_ref().map_or(0, |on| on.ifindex)
    }

    /// Its name; empty if it does not matter.
    pub(super) fn name(&self) -> &str {
        self.on.as_ref().and_then(|on| on.names.first()).map_or("", String::as_str)
    }

    /// Where packets fare differently by interface, how: a list for each packet, empty for
    /// one that does not. `ask` says it of every packet, on one interface.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(super) fn differ(
        &self,
        mut ask: impl FnMut(&Alike, &str) -> Result<Vec<(Action, String)>>,
    ) -> Result<Vec<Vec<OnInterface>>> {
        let mut packets: Vec<Vec<OnInterface>> = Vec::new();
        if self.classes.len() < 2 {
            return Ok(packets);
        }
        for class in &self.classes {
            let asked = ask(class, class.names.first().map_or("", String::as_str))?;
            packets.resize(asked.len(), Vec::new());
            for (packet, (verdict, by)) in packets.iter_mut().zip(asked) {
                let names = class.names.iter().cloned();
                let same = |one: &&mut OnInterface| one.verdict == verdict && one.by == by;
                match packet.iter_mut().find(same) {
                    Some(one) => one.interfaces.extend(names),
                    None => packet.push(OnInterface { interfaces: names.collect(), verdict, by }),
                }
            }
        }
        for packet in packets.iter_mut().filter(|packet| packet.len() < 2) {
            packet.clear();
        }
        Ok(packets)
    }
}

/// The interface of a name, if packets are judged there.
fn chosen(selection: &Selection, name: &str) -> Result<Alike> {
    if let Some(one) = selection.judged.iter().find(|one| one.name == name) {
        return Ok(Alike { names: vec![one.name.clone()], ifindex: one.ifindex });
    }
    let failure = Failure::new(format!("no packet is judged on {name}"));
    if let Some(other) = selection.elsewhere.iter().find(|one| one.name == name) {
        return Err(failure.help(other.text()).into());
    }
    let judged: Vec<&str> = selection.judged.iter().map(|one| one.name.as_str()).collect();
    let help = match judged.as_slice() {
        [] => "no interface of this host is judged".to_owned(),
        all => format!("--iface takes: {}", all.join(", ")),
    };
    Err(failure.help(help).into())
}

/// In a line.
pub(super) fn words(on: &[OnInterface]) -> String {
    let one = |OnInterface { interfaces, verdict, by }: &OnInterface| {
        format!("{} {} by {by}", sets::shortened(interfaces), verdict.name().to_uppercase())
    };
    on.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::interfaces::Interface;

    fn places(classes: &[&[&str]]) -> Places {
        let class = |(ifindex, names): (u32, &&[&str])| Alike {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ifindex,
        };
        let classes = (2..).zip(classes).map(class).collect();
        Places { classes, on: None, is_unknown: false }
    }

    #[test]
    fn only_packets_that_fare_differently_are_told_apart() {
        let places = places(&[&["eth0", "eth2"], &["eth1"], &["lan0"]]);
        let found = places.differ(|class, _| {
            let allow = (Action::Allow, "ntp".to_owned());
            let other = (Action::Drop, "default-in".to_owned());
            Ok(vec![allow.clone(), if class.ifindex == 3 { allow } else { other }])
        });
        let found = found.unwrap();
        assert_eq!(found[0], []);
        assert_eq!(words(&found[1]), "eth0 eth2 lan0 DROP by default-in; eth1 ALLOW by ntp");
    }

    #[test]
    fn an_interface_without_policy_is_refused() {
        let judged = Interface { name: "eth1".into(), ifindex: 3, mtu: None };
        let selection = Selection { judged: vec![judged], ..Selection::default() };
        assert_eq!(chosen(&selection, "eth1").unwrap().ifindex, 3);
        let error = chosen(&selection, "wg0").unwrap_err();
        assert_eq!(Failure::of(&error).message, "no packet is judged on wg0");
    }
}
