//! Rules that others leave nothing to do.
//!
//! Order never changes a verdict, so only what decides before may shadow: a
//! failsafe rule any deny, a deny any allow. Within a list the first rule that
//! matches gets the hit, so a later one may never be counted.
//!
//! Rules with a list in them are left alone: what the list covers today says
//! nothing of tomorrow.

use super::Context;
use super::index::Index;
use super::region::{Packet, Region, covers, overlap};
use super::rules::Resolved;
use crate::assemble::Lists;
use crate::codes::Code;
use crate::compile::parallel;
use crate::diagnostic::Diagnostic;
use crate::ir::{Direction, Rule};
use crate::set::AddrSet;

/// Rules whose place among the others is worth a thread.
const WORTH_A_THREAD: usize = 4_000;

/// Denies named as the reason why an allow does nothing.
const SHOWN: usize = 3;

/// Reports the rules of one direction that contradict each other.
pub(crate) fn check(context: &mut Context<'_>, lists: &Lists<'_>) {
    let failsafe = index(&lists.failsafe, |_| true);
    for deny in steady(&lists.deny) {
        for place in failsafe.meeting(&deny.rule) {
            under_failsafe(context, deny, &lists.failsafe[place]);
        }
    }
    let denies = index(&lists.deny, |deny| !deny.changes);
    for allow in all_denied(lists, &denies) {
        if let Some(by) = denied_by(lists, &denies, &allow.rule) {
            say_denied(context, allow, &by);
        }
    }
    bans(context, lists);
}

/// Warns of rules that do nothing, or not what they seem to.
pub(crate) fn warn(context: &mut Context<'_>, lists: &Lists<'_>) {
    never_hit(context, &[], &lists.deny);
    never_hit(context, &lists.failsafe, &lists.allow);
    limits(context, &lists.allow);
}

/// Where the rules lie that are `wanted`, by their place in the list.
fn index<'u>(rules: &[Resolved<'u>], wanted: impl Fn(&Resolved<'u>) -> bool) -> Index {
    let places = rules.iter().enumerate().filter(|(_, rule)| wanted(rule));
    Index::new(places.map(|(place, rule)| (place, &*rule.rule)))
}

fn steady<'r, 'u>(rules: &'r [Resolved<'u>]) -> impl Iterator<Item = &'r Resolved<'u>> {
    rules.iter().filter(|rule| !rule.changes)
}

fn under_failsafe(context: &mut Context<'_>, deny: &Resolved<'_>, failsafe: &Resolved<'_>) {
    let Some((addresses, _)) = overlap(&deny.rule, &failsafe.rule) else { return };
    let Some(witness) = addresses.first() else { return };
    let (key, way) = match deny.direction {
        Direction::Ingress => ("from", "from"),
        Direction::Egress => ("to", "to"),
    };
    let Rule { remote_text, service_text, .. } = &*failsafe.rule;
    let message = format!(
        "rule `{}` can never take effect on {service_text} {way} {remote_text}",
        deny.rule.name
    );
    let except = remote_text.split(" except ").next().unwrap_or_default();
    let group = deny.rule.remote_text.split(" except ").next().unwrap_or_default();
    let group = if group.contains(',') { format!("[{group}]") } else { group.to_owned() };
    context.sink.push(
        Diagnostic::new(Code::DenyUnderFailsafe, message)
            .at(&deny.rule.remote_span, format!("includes {witness}"))
            .at(&failsafe.rule.span, "failsafe is evaluated first")
            .help(format!(
                "{key}: {{ group: {group}, except: [{except}] }}   or remove the failsafe"
            )),
    );
}

/// Allows of which denies leave nothing.
fn all_denied<'r, 'u>(lists: &'r Lists<'u>, denies: &Index) -> Vec<&'r Resolved<'u>> {
    let is_denied = |(place, packet): &(usize, Option<Packet>)| {
        // What one packet gets through is not denied, and almost every rule has one.
        packet.is_none_or(|packet| {
            denies.is_any_at(&packet, |deny| packet.is_held_by(&lists.deny[deny].rule))
        }) && denied_by(lists, denies, &lists.allow[*place].rule).is_some()
    };
    let places: Vec<usize> =
        (0..lists.allow.len()).filter(|&place| !lists.allow[place].changes).collect();
    let worth = if lists.deny.is_empty() { usize::MAX } else { WORTH_A_THREAD };
    let shares = parallel::shares(&places, worth);
    let found = parallel::all(shares, |places| {
        let with_packet = |place: usize| (place, Packet::of(&lists.allow[place].rule));
        let mut packets: Vec<_> = places.into_iter().map(with_packet).collect();
        // Where a deny has a million addresses, the next one is near the one before.
        packets.sort_unstable_by_key(|(_, packet)| packet.map(|packet| packet.remote));
        packets.retain(is_denied);
        packets
    });
    let mut found: Vec<usize> = found.into_iter().flatten().map(|(place, _)| place).collect();
    found.sort_unstable();
    found.into_iter().map(|place| &lists.allow[place]).collect()
}

/// The denies that leave nothing of a rule; they are worked out again for who is to be told,
/// as of tens of thousands most rules would keep a list for nobody.
fn denied_by<'r, 'u>(
    lists: &'r Lists<'u>,
    denies: &Index,
    allow: &Rule,
) -> Option<Vec<&'r Resolved<'u>>> {
    let denies = denies.meeting(allow).into_iter().map(|deny| &lists.deny[deny]);
    let mut left = Region::new(allow);
    let mut by = Vec::new();
    for deny in denies {
        if covers(&deny.rule, allow) {
            by = vec![deny];
            left.subtract(&deny.rule);
            break;
        }
        if left.subtract(&deny.rule) {
            by.push(deny);
        }
        if left.is_empty() {
            break;
        }
    }
    left.is_empty().then_some(by)
}

fn say_denied(context: &mut Context<'_>, allow: &Resolved<'_>, by: &[&Resolved<'_>]) {
    let message = format!("rule `{}` can never take effect", allow.rule.name);
    let mut diagnostic = Diagnostic::new(Code::AllowDenied, message)
        .at(&allow.written.name.span, "everything it allows is denied");
    for deny in by.iter().take(SHOWN) {
        diagnostic = diagnostic.at(&deny.written.name.span, "a deny wins over every allow");
    }
    let names: Vec<&str> = by.iter().map(|deny| deny.rule.name.as_str()).collect();
    context.sink.push(diagnostic.help(format!(
        "delete `{}`, or take its addresses out of `{}` with `except:`",
        allow.rule.name,
        names.join("` and `")
    )));
}

/// Warns of rules that never get a hit because earlier ones take everything.
fn never_hit(context: &mut Context<'_>, before: &[Resolved<'_>], rules: &[Resolved<'_>]) {
    let all: Vec<&Resolved<'_>> = before.iter().chain(rules).collect();
    let takes_all =
        |rule: &Resolved<'_>| !rule.changes && !rule.written.audit && rule.written.limit.is_none();
    let places = all.iter().enumerate().filter(|(_, rule)| takes_all(rule));
    let index = Index::new(places.map(|(place, rule)| (place, &*rule.rule)));
    let first_before = |place: usize| {
        let rule = &all[place].rule;
        let is_cover = |one: usize| takes_all(all[one]) && covers(&all[one].rule, rule);
        Some((place, index.first_around(rule, place, is_cover)?))
    };
    let places: Vec<usize> =
        (before.len()..all.len()).filter(|&place| takes_all(all[place])).collect();
    let shares = parallel::shares(&places, WORTH_A_THREAD);
    let found = parallel::all(shares, |places| {
        places.into_iter().filter_map(first_before).collect::<Vec<_>>()
    });
    let mut found: Vec<(usize, usize)> = found.into_iter().flatten().collect();
    found.sort_unstable();
    for (rule, first) in found.into_iter().map(|(place, first)| (all[place], all[first])) {
        let message = format!("rule `{}` never gets a hit", rule.rule.name);
        context.sink.push(
            Diagnostic::new(Code::Redundant, message)
                .at(&rule.written.name.span, "everything it matches is matched before")
                .at(&first.written.name.span, "by this rule")
                .help(format!("delete `{}`", rule.rule.name)),
        );
    }
}

/// A failsafe source is never banned, so a rule for none but such bans nobody.
fn bans(context: &mut Context<'_>, lists: &Lists<'_>) {
    let sources: Vec<AddrSet> =
        lists.failsafe.iter().map(|failsafe| failsafe.rule.remote.clone()).collect();
    let sources = AddrSet::union_all(&sources);
    for rule in &lists.allow {
        let Some(ban) = rule.written.limit.as_ref().and_then(|limit| limit.bans.as_ref()) else {
            continue;
        };
        if rule.rule.remote.is_subset(&sources) {
            let message = format!("rule `{}` would ban failsafe sources", rule.rule.name);
            context.sink.push(
                Diagnostic::new(Code::Limit, message)
                    .at(ban, "failsafe sources are never banned")
                    .at(&rule.rule.remote_span, "all of them are failsafe sources")
                    .help("over: drop"),
            );
        }
    }
}

/// Warns where a limited and an unlimited allow meet: the limit holds for both.
fn limits(context: &mut Context<'_>, allows: &[Resolved<'_>]) {
    if allows.iter().all(|rule| rule.written.limit.is_none()) {
        return;
    }
    let unlimited = index(allows, |rule| rule.written.limit.is_none());
    for limited in allows {
        let Some(limit) = &limited.written.limit else { continue };
        for free in unlimited.meeting(&limited.rule).into_iter().map(|place| &allows[place]) {
            let Some((addresses, _)) = overlap(&limited.rule, &free.rule) else { continue };
            let Some(witness) = addresses.first() else { continue };
            let message =
                format!("the limit of `{}` also holds for `{}`", limited.rule.name, free.rule.name);
            context.sink.push(
                Diagnostic::new(Code::LimitedAndNot, message)
                    .at(&limit.span, "limits come before allows")
                    .at(free.service_span(), format!("meets it for {witness}"))
                    .help("take the addresses of one out of the other with `except:`"),
            );
        }
    }
}
