//! The role of another server: none of this host's addresses is in the role's group.

use std::net::IpAddr;

use firewall_policy::Loaded;
use firewall_policy::codes::Code;
use firewall_policy::diagnostic::Diagnostic;

/// What a role's group is called: after the role, in one of these ways.
const NAMES: [&str; 3] = ["", "s", "-servers"];

/// A finding for each role that has a group without this host.
pub(super) fn findings(loaded: &Loaded, own: &[IpAddr]) -> Vec<Diagnostic> {
    let mut own: Vec<IpAddr> = own.iter().copied().filter(|one| is_somebodys(*one)).collect();
    own.sort();
    // A host without an address is nobody yet.
    if own.is_empty() {
        return Vec::new();
    }
    loaded.policy.roles.iter().filter_map(|role| finding(loaded, role, &own)).collect()
}

fn finding(loaded: &Loaded, role: &str, own: &[IpAddr]) -> Option<Diagnostic> {
    let groups = &loaded.names.groups;
    let name = NAMES.iter().map(|end| format!("{role}{end}"));
    let mut named = name.filter_map(|name| groups.iter().find(|group| group.name == name));
    let group = named.next()?;
    if group.set.is_empty() || own.iter().any(|address| group.set.contains(*address)) {
        return None;
    }
    let (name, mut shown) = (&group.name, own.iter().map(ToString::to_string).collect::<Vec<_>>());
    let more = shown.len().saturating_sub(SHOWN);
    shown.truncate(SHOWN);
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    let message = format!("this host is not one of `{name}`, the group of role `{role}`");
    Some(
        Diagnostic::new(Code::OtherHostsRole, message)
            .at(&group.span, format!("this host has {}", shown.join(", ")))
            .help("add it to the group; apply --force, if the role is meant all the same"),
    )
}

/// Addresses that a message names.
const SHOWN: usize = 4;

/// Not of the loopback or a link: those tell nobody apart.
fn is_somebodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}
