//! Rules that contradict themselves: no packet can match.

use firewall_common::service::ServiceIndex;

use super::Context;
use super::region::has_family;
use super::rules::{Resolved, tcp};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::Direction;
use crate::schema::limit::Counted;
use crate::set::{AddrSet, ServiceSet};

/// Reports what is impossible about one rule.
pub(crate) fn check(context: &mut Context<'_>, rule: &Resolved<'_>) {
    families(context, rule);
    icmp(context, rule);
    flags(context, rule);
    limit(context, rule);
}

/// The word for the families that a set has addresses of.
fn family(set: &AddrSet) -> &'static str {
    match (set.v4.is_empty(), set.v6.is_empty()) {
        (false, false) => "both families",
        (false, true) => "IPv4 only",
        (true, false) => "IPv6 only",
        (true, true) => "no address",
    }
}

fn families(context: &mut Context<'_>, rule: &Resolved<'_>) {
    let (remote, local) = (&rule.rule.remote, &rule.rule.local);
    if rule.changes || remote.is_empty() || local.is_empty() || has_family(remote, local) {
        return;
    }
    let (Some(here), Some(there)) =
        (rule.written.local(rule.direction), rule.written.remote(rule.direction))
    else {
        return;
    };
    context.sink.push(
        Diagnostic::new(Code::NeverMatches, format!("rule `{}` can never match", rule.rule.name))
            .at(&there.span, family(remote))
            .at(&here.span, family(local))
            .help("name addresses of one family at both ends"),
    );
}

/// ICMP goes with IPv4, ICMPv6 with IPv6.
fn icmp(context: &mut Context<'_>, rule: &Resolved<'_>) {
    let types = |first: u32| ServiceSet::range(first, first + 0xff);
    let v4 = types(ServiceIndex::ICMP);
    let v6 = types(ServiceIndex::ICMPV6);
    let set = &rule.rule.services;
    let (remote, local) = (&rule.rule.remote, &rule.rule.local);
    let has_v4 = !remote.v4.is_empty() && !local.v4.is_empty();
    let has_v6 = !remote.v6.is_empty() && !local.v6.is_empty();
    let (protocol, addresses) = match (has_v4, has_v6) {
        (false, true) if set.is_subset(&v4) => ("ICMP, the protocol of IPv4", "IPv6 only"),
        (true, false) if set.is_subset(&v6) => ("ICMPv6, the protocol of IPv6", "IPv4 only"),
        _ => return,
    };
    if rule.changes {
        return;
    }
    context.sink.push(
        Diagnostic::new(Code::NeverMatches, format!("rule `{}` can never match", rule.rule.name))
            .at(rule.service_span(), protocol)
            .at(&rule.rule.remote_span, addresses)
            .help("a service can name both: { icmp: echo-request, icmpv6: echo-request }"),
    );
}

fn flags(context: &mut Context<'_>, rule: &Resolved<'_>) {
    let Some(flags) = &rule.written.tcp_flags else { return };
    if rule.rule.services.is_subset(&tcp()) {
        return;
    }
    context.sink.push(
        Diagnostic::new(Code::FlagsWithoutTcp, "`tcp-flags` on a service that is not only TCP")
            .at(&flags.span, "only TCP has flags")
            .at(rule.service_span(), "names another protocol as well")
            .help("use a service of TCP ports, and a rule of its own for the rest"),
    );
}

/// Inbound connections keep no state, so only TCP says which packet is new.
fn limit(context: &mut Context<'_>, rule: &Resolved<'_>) {
    let Some(limit) = &rule.written.limit else { return };
    let is_tcp = rule.rule.services.is_subset(&tcp());
    if limit.counted.value != Counted::New || rule.direction == Direction::Egress || is_tcp {
        return;
    }
    context.sink.push(
        Diagnostic::new(Code::Limit, "`new` cannot be counted for what is not TCP")
            .at(&limit.counted.span, "only a TCP SYN says that a connection is new")
            .at(rule.service_span(), "names another protocol as well")
            .help("limit: { packets: 100/s }"),
    );
}
