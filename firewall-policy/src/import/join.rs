//! What becomes one rule, and what none.

use firewall_common::service::{ServiceIndex, proto};

use super::flatten::Flat;
use super::program::{Line, Remarks};
use super::space::{Boxed, Region, globs, protocol};
use super::translate::{Carried, Side, interfaces};
use crate::set::{AddrSet, ServiceSet};

/// Lines of one chain that differ in addresses of one end only become one rule.
pub(super) fn merged(flats: Vec<Flat<'_>>) -> Vec<(Flat<'_>, Vec<&Line>)> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for flat in flats {
        let joins = runs.last().and_then(|run| run.joins(&flat));
        match (runs.last_mut(), joins) {
            (Some(run), Some(end)) => run.push(flat, end),
            _ => runs.push(Run { first: flat, end: None, others: Vec::new() }),
        }
    }
    runs.into_iter().map(Run::into_one).collect()
}

/// One end of a packet's way.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Source,
    Destination,
}

impl End {
    fn of(self, one: &mut Boxed) -> &mut AddrSet {
        match self {
            Self::Source => &mut one.source,
            Self::Destination => &mut one.destination,
        }
    }
}

/// Lines behind each other that become one. United once all are known: there can be
/// tens of thousands.
struct Run<'p> {
    first: Flat<'p>,
    /// The end that the others differ in.
    end: Option<End>,
    others: Vec<Flat<'p>>,
}

impl<'p> Run<'p> {
    /// The end that this line adds to, if it only adds addresses; nothing is added to everybody.
    fn joins(&self, flat: &Flat<'p>) -> Option<End> {
        let ([first], [one]) = (self.first.region.boxes(), flat.region.boxes()) else {
            return None;
        };
        let (line, other) = (self.first.line?, flat.line?);
        let is_wide = |one: &Boxed| {
            let ends = [&one.source, &one.destination];
            ends.iter().all(|end| end.v4.is_full() || end.v6.is_full())
        };
        if (self.first.chain, self.first.action, &line.comment)
            != (flat.chain, flat.action, &other.comment)
            || is_wide(first)
            || is_wide(one)
        {
            return None;
        }
        let differs_there = |end: &End| {
            let (mut moved, mut one) = (first.clone(), one.clone());
            end.of(&mut moved).clone_from(end.of(&mut one));
            self.end.is_none_or(|known| known == *end) && moved == one
        };
        [End::Source, End::Destination].into_iter().find(differs_there)
    }

    fn push(&mut self, flat: Flat<'p>, end: End) {
        self.end = Some(end);
        self.others.push(flat);
    }

    fn into_one(self) -> (Flat<'p>, Vec<&'p Line>) {
        let Self { mut first, end, others } = self;
        let lines = first.line.into_iter().chain(others.iter().filter_map(|flat| flat.line));
        let lines = lines.collect();
        if let (Some(end), [one]) = (end, first.region.boxes()) {
            let mut one = one.clone();
            let boxes = others.into_iter().flat_map(|flat| flat.region.into_boxes());
            let mut sets: Vec<_> = boxes.map(|mut one| std::mem::take(end.of(&mut one))).collect();
            sets.push(std::mem::take(end.of(&mut one)));
            *end.of(&mut one) = AddrSet::union_all(&sets);
            first.region = Region::one(one);
        }
        (first, lines)
    }
}

/// Rules that say the same of IPv4 and of IPv6 become one.
pub(super) fn both_families(rules: Vec<Carried<'_>>) -> Vec<Carried<'_>> {
    let mut all: Vec<Carried<'_>> = Vec::with_capacity(rules.len());
    for rule in rules {
        let twin = all.iter_mut().find_map(|known| Some((twins(known, &rule)?, known)));
        match twin {
            Some((both, known)) => {
                known.boxes = vec![both];
                // One line can be for both families.
                let new = rule.lines.into_iter();
                let new: Vec<_> = new
                    .filter(|line| known.lines.iter().all(|one| one.place != line.place))
                    .collect();
                known.lines.extend(new);
            }
            None => all.push(rule),
        }
    }
    all
}

/// What two rules say together, if they say the same of one family each. No packet
/// has addresses of both, so that nothing is added.
fn twins(a: &Carried<'_>, b: &Carried<'_>) -> Option<Boxed> {
    let ([one], [other]) = (&*a.boxes, &*b.boxes) else { return None };
    let comment = |rule: &Carried<'_>| rule.lines.first().and_then(|line| line.comment.clone());
    let are_apart = other.source.v4.is_empty()
        && other.destination.v4.is_empty()
        && one.source.v6.is_empty()
        && one.destination.v6.is_empty();
    if !are_apart || a.lines.is_empty() != b.lines.is_empty() || comment(a) != comment(b) {
        return None;
    }
    let is_wide = [one.source.v4.is_full(), one.destination.v4.is_full()];
    let is_named = comment(a).is_some();
    if is_wide != [other.source.v6.is_full(), other.destination.v6.is_full()]
        || is_wide != [true, true] && !is_named
    {
        return None;
    }
    let services = same_services(&one.services, &other.services)?;
    let source = one.source.union(&other.source);
    let destination = one.destination.union(&other.destination);
    let both = Boxed { source, destination, services, ..one.clone() };
    let is_same = (&one.from, &one.to, one.cast) == (&other.from, &other.to, other.cast);
    is_same.then_some(both)
}

/// The same services, of which ICMP has other numbers in IPv6.
fn same_services(v4: &ServiceSet, v6: &ServiceSet) -> Option<ServiceSet> {
    let echo = |first: u32, kind: u32| ServiceSet::range(first + kind, first + kind);
    let pairs = [
        (protocol(proto::ICMP), protocol(proto::ICMPV6)),
        (echo(ServiceIndex::ICMP, 8), echo(ServiceIndex::ICMPV6, 128)),
    ];
    if v4 == v6 {
        return Some(v4.clone());
    }
    pairs.contains(&(v4.clone(), v6.clone())).then(|| v4.union(v6))
}

/// Names of tunnels whose packets have no Ethernet header. Those are not judged.
const TUNNELS: [&str; 7] = ["tun", "wg", "ppp", "sit", "tunl", "ip6tnl", "gre"];

/// Takes rules out that are about tunnels only.
pub(super) fn tunnels(side: &mut Side<'_>, remarks: &mut Remarks) {
    let direction = side.direction;
    let is_tunnel = |glob: &String| TUNNELS.iter().any(|name| glob.starts_with(name));
    for rule in side.deny.iter_mut().chain(&mut side.allow) {
        let before = rule.boxes.len();
        rule.boxes.retain(|one| {
            let globs = globs(interfaces(one, direction)).unwrap_or_default();
            globs.is_empty() || !globs.iter().all(is_tunnel)
        });
        for line in rule.lines.iter().filter(|_| rule.boxes.len() < before) {
            let reason =
                "a tunnel without an Ethernet header cannot be judged: all inside it passes";
            remarks.lost(&line.place, &line.text, reason);
        }
    }
}
