//! Denies of what a host needs to stay on the network.
//!
//! The baseline comes before every deny, so such a rule does nothing today, and
//! breaks the host, often days later, when the baseline is switched off. Only
//! rules that name a service of this kind are meant: `service: all` from an
//! attacker takes nothing vital.

use firewall_common::service::ServiceIndex;

use super::Context;
use super::compose::Agreed;
use super::rules::Resolved;
use crate::assemble::Lists;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;

/// Services by index, what they are, and what happens without them.
const VITAL: [(u32, &str, &str, Accepted); 8] = [
    (ServiceIndex::ICMPV6 + 2, "packet-too-big", "large IPv6 packets vanish", Accepted::Ipv6),
    (ServiceIndex::ICMPV6 + 134, "router advertisements", "the IPv6 route expires", Accepted::Ipv6),
    (ServiceIndex::ICMPV6 + 135, "neighbor discovery", "IPv6 stops", Accepted::Ipv6),
    (ServiceIndex::ICMPV6 + 136, "neighbor discovery", "IPv6 stops", Accepted::Ipv6),
    (ServiceIndex::ICMP + 3, "frag-needed", "large packets vanish", Accepted::Reason),
    (ServiceIndex::UDP + 67, "DHCP", "the address is lost at renewal", Accepted::Dhcp),
    (ServiceIndex::UDP + 68, "DHCP", "the address is lost at renewal", Accepted::Dhcp),
    (ServiceIndex::UDP + 546, "DHCPv6", "the address is lost at renewal", Accepted::Dhcp),
];

/// How an operator says that this is meant.
#[derive(Clone, Copy)]
enum Accepted {
    Ipv6,
    Dhcp,
    Reason,
}

/// Reports denies of vital services, and a baseline that is switched off.
pub(crate) fn check(context: &mut Context<'_>, lists: &Lists<'_>, settings: &Agreed<'_>) {
    for rule in lists.deny.iter().filter(|rule| !rule.rule.services.is_full()) {
        deny(context, rule, settings);
    }
}

fn deny(context: &mut Context<'_>, rule: &Resolved<'_>, settings: &Agreed<'_>) {
    let dhcp = settings.baseline.is_none_or(|baseline| baseline.value.dhcp);
    let found = VITAL.iter().find(|(index, _, _, accepted)| {
        let is_accepted = match accepted {
            Accepted::Ipv6 => settings.breaks_ipv6,
            Accepted::Dhcp => !dhcp || rule.written.reason.is_some(),
            Accepted::Reason => rule.written.reason.is_some(),
        };
        !is_accepted && rule.rule.services.contains(*index)
    });
    let Some((_, what, effect, accepted)) = found else { return };
    let message = format!("rule `{}` denies {what}", rule.rule.name);
    let help = match accepted {
        Accepted::Ipv6 => "baseline: { breaks-ipv6: accepted }   if this is meant",
        Accepted::Dhcp => "baseline: { dhcp: off }   if this host has a fixed address",
        Accepted::Reason => "write why, if this is meant: reason: ...",
    };
    context.sink.push(
        Diagnostic::new(Code::BreaksHost, message)
            .at(rule.service_span(), format!("without it {effect}"))
            .help(help),
    );
}

/// Reports a baseline that is switched off.
pub(crate) fn baseline(context: &mut Context<'_>, settings: &Agreed<'_>) {
    let Some(baseline) = settings.baseline.filter(|baseline| !baseline.value.host) else { return };
    if settings.breaks_ipv6 {
        return;
    }
    context.sink.push(
        Diagnostic::new(Code::BaselineOff, "the baseline is switched off")
            .at(&baseline.span, "ARP, neighbor discovery, DHCP and ICMP errors would be dropped")
            .help("baseline: host   or, if this is meant, add breaks-ipv6: accepted"),
    );
}
