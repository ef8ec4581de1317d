//! The interfaces of this host, as far as the rules of a policy tell them apart.

use std::net::IpAddr;

use firewall_policy::ir::{IngressHook, Policy};

use crate::candidate;
use crate::host::arrival;
use crate::host::interfaces::{Interface, glob};

/// Interfaces that every rule treats alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alike {
    /// Their names; never empty.
    pub names: Vec<String>,
    /// Index of the first.
    pub ifindex: u32,
}

/// The judged interfaces of a host, those together that every rule treats alike. None if no
/// rule asks for an interface.
pub(crate) fn alike(policy: &Policy, judged: &[Interface]) -> Vec<Alike> {
    let mut globs: Vec<&String> =
        candidate::rules(policy).flat_map(|rule| &rule.interfaces).collect();
    globs.sort_unstable();
    globs.dedup();
    if globs.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(Vec<bool>, Alike)> = Vec::new();
    for Interface { name, ifindex, .. } in judged {
        let asked: Vec<bool> = globs.iter().map(|pattern| glob(pattern, name)).collect();
        match found.iter_mut().find(|(other, _)| *other == asked) {
            Some((_, alike)) => alike.names.push(name.clone()),
            None => found.push((asked, Alike { names: vec![name.clone()], ifindex: *ifindex })),
        }
    }
    found.into_iter().map(|(_, alike)| alike).collect()
}

/// The interface on which packets of the other end are judged, by the routes; else the first.
pub(crate) fn usual(policy: &Policy, classes: &[Alike], remote: Option<IpAddr>) -> Option<Alike> {
    let on = &policy.interfaces;
    let ways = remote.map_or_else(Vec::new, |remote| {
        arrival::from(remote, &on.matches, &on.ignore, on.ingress_hook != IngressHook::Tc)
    });
    let by_route = ways.iter().find_map(|way| {
        let class = classes.iter().find(|class| class.names.contains(&way.interface))?;
        Some(Alike { names: vec![way.interface.clone()], ..class.clone() })
    });
    by_route.or_else(|| classes.first().cloned())
}

#[cfg(test)]
mod tests {
    use firewall_policy::source::MemoryFiles;
    use firewall_policy::{Options, Subject};

    use super::*;

    fn policy(rule: &str) -> Policy {
        let text = format!(
            "version: 1\nrole: web\nfailsafe: {{ ingress: [] }}\nservices: {{ ntp: {{ udp: 123 }} }}\n\
            ingress:\n  allow:\n    - {{ name: ntp, service: ntp{rule} }}\n"
        );
        let files = MemoryFiles::new().with("rules/web.yaml", text);
        let subject = Subject::File("rules/web.yaml".into());
        let loaded = firewall_policy::load(&files, &subject, &Options::default());
        loaded.unwrap_or_else(|report| panic!("{report}")).policy
    }

    #[test]
    fn interfaces_are_told_apart_by_rules() {
        let named =
            |(name, ifindex): (&str, u32)| Interface { name: name.into(), ifindex, mtu: None };
        let judged = [("eth0", 2), ("eth1", 3), ("lan0", 4), ("eth2", 5)].map(named);
        assert_eq!(alike(&policy(""), &judged), []);
        let classes = |rule| -> Vec<String> {
            alike(&policy(rule), &judged).iter().map(|one| one.names.join("+")).collect()
        };
        assert_eq!(classes(", iface: eth1"), ["eth0+lan0+eth2", "eth1"]);
        assert_eq!(classes(", iface: [\"eth*\", eth1]"), ["eth0+eth2", "eth1", "lan0"]);
        assert_eq!(classes(", iface: \"*\""), ["eth0+eth1+lan0+eth2"]);
        let classes = alike(&policy(", iface: eth1"), &judged);
        assert_eq!(usual(&policy(", iface: eth1"), &classes, None).unwrap().ifindex, 2);
    }
}
