//! What is open that need not be.

use firewall_common::verdict::Reason;

use super::{Finding, Seen};
use crate::report::snapshot::{Action, Enforcement, Interface, Level, Way};

pub(super) fn findings(seen: &Seen) -> Vec<Finding> {
    let mut found: Vec<Finding> = unenforced(seen).into_iter().collect();
    found.extend(defaults(seen));
    found.extend(seen.admitting().filter(|rule| rule.everybody).filter_map(|rule| {
        let (port, name) = firewall_policy::attacked(&rule.ports)?;
        let message = format!("{name} is open to everybody: rule {}", rule.name);
        let listens = seen.sockets.waits(port.protocol, port.first);
        let finding = Finding::new("open-to-everybody", Level::Warn, message)
            .rule(rule)
            .ports([port])
            .process(listens.and_then(|one| one.process.as_ref()))
            .figure(rule.new_flows, "connections", "asked for")
            .help("name addresses in `from:`; let people in by way of a bastion or a VPN");
        Some(finding)
    }));
    found
}

/// Interfaces where nothing is judged.
fn unenforced(seen: &Seen) -> Option<Finding> {
    let is_open = |one: &&Interface| one.ingress.is_none() || one.egress.is_none();
    let open = seen.snapshot.interfaces.iter().filter(is_open).map(|one| one.name.as_str());
    let open: Vec<&str> = open.collect();
    let message = match seen.snapshot.enforcement {
        Enforcement::Enforcing => return None,
        Enforcement::Partly => {
            format!("nothing is enforced on {}: every packet passes there", open.join(", "))
        }
        Enforcement::Detached => "a policy is loaded and attached to no interface".to_owned(),
        Enforcement::NoPolicy => "no policy is loaded: every packet passes".to_owned(),
    };
    let finding = Finding::new("not-enforced", Level::Fail, message)
        .figure(open.len() as u64, "interfaces", "open")
        .help("firewall status, then firewall apply or firewall attach");
    Some(finding)
}

/// Defaults that let pass what no rule names.
fn defaults(seen: &Seen) -> impl Iterator<Item = Finding> {
    let policy = seen.snapshot.policy.as_ref();
    let defaults = policy.map(|policy| [policy.default_in, policy.default_out]);
    let ways = Way::BOTH.into_iter().zip(defaults.into_iter().flatten());
    ways.filter(|(_, action)| *action == Action::Allow).map(|(way, _)| {
        let (what, word) = match way {
            Way::Ingress => ("whatever arrives, passes", "admitted"),
            Way::Egress => ("whatever leaves, passes, stolen data too", "let out"),
        };
        let message = format!("{} is allow: {what}, unless a deny names it", way.default_name());
        Finding::new("default-allow", Level::Warn, message)
            .figure(seen.snapshot.by_reason(Reason::DefaultAllow, way), "packets", word)
            .help(format!(
                "rules for what is needed (firewall events shows it), then default: {{ {}: drop }}",
                way.name()
            ))
    })
}
