//! Interfaces on which a policy cannot be enforced, or would be enforced twice.

use firewall_policy::Loaded;
use firewall_policy::codes::Code;
use firewall_policy::diagnostic::Diagnostic;
use firewall_policy::ir::IngressHook;

use crate::candidate;
use crate::host::ethtool;
use crate::host::interfaces::{self, glob};
use crate::host::netlink::{self, Link};
use crate::host::selection::{Double, Selection, Tie};
use crate::kernel::store::Store;

/// What is judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Names of all interfaces, `lo` among them.
    pub present: Vec<String>,
    /// What the policy would be enforced on.
    pub selection: Selection,
    /// Interfaces without an Ethernet header.
    pub bare: Vec<String>,
    /// Interfaces that take no XDP program of ours: the program that is in the way,
    /// and the interface that it sits on.
    pub taken: Vec<(String, u32, String)>,
    /// Interfaces whose card takes VLAN tags off.
    pub strips: Vec<String>,
}

impl Seen {
    /// Of this host as it is now. On trial, what is attached stays attached.
    pub(super) fn of_this_host(loaded: &Loaded, store: Option<&Store>, is_trial: bool) -> Self {
        let policy = &loaded.policy.interfaces;
        let selection = Selection::of(&policy.matches, &policy.ignore);
        let links = netlink::links().unwrap_or_default();
        let ours = store.and_then(|store| store.attached().ok()).unwrap_or_default();
        let is_ours = |ifindex| ours.iter().any(|link| link.ifindex == ifindex);
        let mut seen = Self {
            present: interfaces::all().into_iter().map(|one| one.name).collect(),
            ..Self::default()
        };
        for one in &selection.judged {
            let Some(link) = links.iter().find(|link| link.ifindex == one.ifindex) else {
                continue;
            };
            if !link.is_ethernet {
                seen.bare.push(one.name.clone());
            }
            let offloads = ethtool::offloads(&one.name);
            let has_driver = interfaces::driver(&one.name).is_some();
            if has_driver && offloads.is_ok_and(|offloads| offloads.vlan_strip) {
                seen.strips.push(one.name.clone());
            }
            if is_ours(one.ifindex) {
                continue;
            }
            let stays = |link: &&Link| is_trial || !is_ours(link.ifindex);
            let is_above = |link: &&Link| {
                (link.kind == "vlan" && link.base == Some(one.ifindex))
                    || links
                        .iter()
                        .any(|it| it.ifindex == one.ifindex && it.master == Some(link.ifindex))
            };
            let above = links.iter().filter(is_above).filter(stays);
            for other in std::iter::once(link).chain(above) {
                let Some(id) = other.programs.first() else { continue };
                let name = crate::kernel::store::interface_name(other.ifindex);
                seen.taken.push((one.name.clone(), *id, name.unwrap_or_default()));
            }
        }
        Self { selection, ..seen }
    }
}

/// What stands against a policy.
pub(super) fn findings(loaded: &Loaded, seen: &Seen) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = loopback(loaded, seen).into_iter().collect();
    if seen.selection.judged.is_empty() && found.is_empty() {
        return vec![nowhere(loaded, seen)];
    }
    let doubles = seen.selection.doubles.iter().filter(|double| double.tie != Tie::Other);
    found.extend(doubles.map(|double| twice(loaded, double)));
    found.extend(never_asked(loaded, seen));
    found.extend(seen.bare.iter().map(|name| {
        at(
            loaded,
            Code::UnfitInterface,
            format!("`{name}` has no Ethernet header"),
            "its packets would be taken apart at the wrong place, and dropped",
        )
        .help(format!("interfaces: {{ ignore: [{name}] }}   and judge what carries its packets"))
    }));
    if loaded.policy.interfaces.ingress_hook != IngressHook::Tc {
        found.extend(seen.taken.iter().map(|taken| occupied(loaded, taken)));
        found.extend(stripped(loaded, seen));
    }
    found
}

/// Says something at `interfaces:`, or of what holds where nothing is written.
fn at(loaded: &Loaded, code: Code, message: String, text: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(code, message);
    let Some(span) = &loaded.interfaces else {
        let globs = loaded.policy.interfaces.matches.join(", ");
        let default = format!("interfaces: {{ match: [{globs}] }} holds by default");
        return diagnostic.note(default).note(text);
    };
    diagnostic.at(span, text)
}

/// `lo`, by its name or by a pattern that takes nothing else.
fn loopback(loaded: &Loaded, seen: &Seen) -> Option<Diagnostic> {
    let policy = &loaded.policy.interfaces;
    let only_lo = |pattern: &&String| {
        let others = || seen.present.iter().filter(|name| *name != "lo");
        glob(pattern, "lo") && !others().any(|name| glob(pattern, name))
    };
    let pattern = policy.matches.iter().find(only_lo)?;
    if policy.ignore.iter().any(|pattern| glob(pattern, "lo")) {
        return None;
    }
    let what =
        if pattern == "lo" { "`lo`".to_owned() } else { format!("`{pattern}` takes `lo`, which") };
    let finding = at(
        loaded,
        Code::LoopbackOnly,
        format!("{what} is never filtered"),
        "it carries what this host says to itself",
    );
    Some(finding.help(format!("delete `{pattern}` from `match:`")))
}

fn nowhere(loaded: &Loaded, seen: &Seen) -> Diagnostic {
    let globs = loaded.policy.interfaces.matches.join(", ");
    let message = format!("no interface of this host matches `interfaces: {{ match: [{globs}] }}`");
    let names: Vec<&str> =
        seen.present.iter().map(String::as_str).filter(|name| *name != "lo").collect();
    at(loaded, Code::NoInterface, message, "every packet would pass")
        .help(format!("this host has: {}", names.join(" ")))
}

fn twice(loaded: &Loaded, double: &Double) -> Diagnostic {
    let (out, stays) = double.out_and_in();
    let message = format!("{}, and both are named", double.tie_text());
    let finding = at(
        loaded,
        Code::StackedInterfaces,
        message,
        "each packet would be judged and counted twice",
    );
    finding.help(format!("ignore: [{out}]   its packets are judged on {stays}"))
}

/// Rules that ask for an interface whose packets are judged on another one.
fn never_asked(loaded: &Loaded, seen: &Seen) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for rule in candidate::rules(&loaded.policy) {
        let asks = |name: &str| rule.interfaces.iter().any(|pattern| glob(pattern, name));
        let lost = seen
            .selection
            .elsewhere
            .iter()
            .find(|one| asks(&one.name) && !one.judged_on.iter().any(|other| asks(other)));
        let Some(lost) = lost else { continue };
        let (name, others) = (&lost.name, lost.judged_on.join(", "));
        let help = match lost.tie {
            Tie::Bond => format!("iface: {others}"),
            _ => format!("`vlan:` with its number, or match: [{name}] and ignore: [{others}]"),
        };
        let message = format!("rule `{}` asks for `{name}`, where no packet is judged", rule.name);
        found.push(
            Diagnostic::new(Code::JudgedElsewhere, message)
                .at(&rule.span, "would never match")
                .note(lost.text())
                .help(help),
        );
    }
    found
}

fn occupied(loaded: &Loaded, (name, id, on): &(String, u32, String)) -> Diagnostic {
    let (message, text) = if name == on {
        let message = format!("another XDP program sits on `{name}`: id {id}");
        (message, "an interface takes one".to_owned())
    } else {
        let message = format!("`{on}`, which stands on `{name}`, has an XDP program: id {id}");
        (message, format!("the kernel takes none on `{name}` then"))
    };
    at(loaded, Code::UnfitInterface, message, &text).help(format!(
        "interfaces: {{ ingress-hook: tc }}   or remove it: bpftool prog show id {id}"
    ))
}

/// Rules about VLANs that XDP does not see.
fn stripped(loaded: &Loaded, seen: &Seen) -> Option<Diagnostic> {
    let name = seen.strips.first()?;
    let rule = loaded.policy.ingress.rules().find(|rule| !rule.vlans.is_empty())?;
    let message = format!("`vlan:` of rule `{}` cannot match on {name} of this host", rule.name);
    Some(
        Diagnostic::new(Code::VlanStripped, message)
            .at(&rule.span, "the card takes the tag off before XDP (rx-vlan-offload is on)")
            .help(format!(
                "interfaces: {{ ingress-hook: tc }}   or   ethtool -K {name} rxvlan off"
            )),
    )
}
