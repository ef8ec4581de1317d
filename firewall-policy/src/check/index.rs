//! Where the rules of a list lie, so that those which can meet another rule are
//! found without looking at all of them.
//!
//! A rule is a few boxes: remote addresses × local addresses × services. Boxes that
//! lie near each other share a node, which is the box around them. What is found
//! here may meet; whether it does is for [`region`](super::region) to say.

use std::net::IpAddr;

use super::region::Packet;
use crate::compile::parallel;
use crate::ir::Rule;
use crate::set::AddrSet;

/// Pieces for whose nodes a thread is worth its while.
const WORTH_A_THREAD: usize = if cfg!(test) { 20 } else { 20_000 };
/// Boxes that one rule falls into at most.
const PIECES: usize = 16;
/// Boxes that are looked at one by one.
const LEAF: usize = 8;

/// Where something is among all of its kind, in order.
trait Place: Copy + Ord + From<u32> + Send {
    /// Where an IPv6 address is, behind all IPv4 addresses.
    fn of_v6(address: u128) -> Self;
}

/// By halves of IPv6 addresses.
impl Place for u128 {
    fn of_v6(address: u128) -> Self {
        1 << 127 | address >> 1
    }
}

/// Where rules ask for every IPv6 address or for none, these all are at one place, and
/// boxes take a quarter of the memory.
impl Place for u32 {
    fn of_v6(_: u128) -> Self {
        u32::MAX
    }
}

/// First and last of remote addresses, local addresses and services.
type Bounds<P> = [(P, P); 3];

/// A box, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Piece<P> {
    bounds: Bounds<P>,
    rule: usize,
}

/// The box around boxes.
#[derive(Debug)]
struct Node<P> {
    bounds: Bounds<P>,
    /// The first rule below.
    rule: usize,
    /// The node behind everything below this one.
    next: usize,
    /// Its pieces; none if it has nodes below.
    pieces: std::ops::Range<usize>,
}

/// The rules of a list, by place.
#[derive(Debug)]
pub(crate) struct Index(Form);

#[derive(Debug)]
enum Form {
    Narrow(Tree<u32>),
    Wide(Tree<u128>),
}

impl Index {
    /// Of rules with their places.
    pub(crate) fn new<'r, I: Iterator<Item = (usize, &'r Rule)>>(rules: I) -> Self {
        let rules: Vec<_> = rules.collect();
        let is_narrow = |set: &AddrSet| set.v6.is_empty() || set.v6.is_full();
        let is_narrow =
            |(_, rule): &(usize, &Rule)| is_narrow(&rule.remote) && is_narrow(&rule.local);
        Self(if rules.iter().all(is_narrow) {
            Form::Narrow(Tree::new(&rules))
        } else {
            Form::Wide(Tree::new(&rules))
        })
    }

    /// Rules that may meet this one, in order.
    pub(crate) fn meeting(&self, rule: &Rule) -> Vec<usize> {
        match &self.0 {
            Form::Narrow(tree) => tree.meeting(rule),
            Form::Wide(tree) => tree.meeting(rule),
        }
    }

    /// The first rule before place `end` that is one of those wanted, of which
    /// each matches all that `rule` does.
    pub(crate) fn first_around(
        &self,
        rule: &Rule,
        end: usize,
        is_wanted: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        match &self.0 {
            Form::Narrow(tree) => tree.first_around(rule, end, is_wanted),
            Form::Wide(tree) => tree.first_around(rule, end, is_wanted),
        }
    }

    /// Whether a packet may be matched by one of the rules that are wanted.
    pub(crate) fn is_any_at(&self, packet: &Packet, is_wanted: impl FnMut(usize) -> bool) -> bool {
        match &self.0 {
            Form::Narrow(tree) => tree.is_any_at(packet, is_wanted),
            Form::Wide(tree) => tree.is_any_at(packet, is_wanted),
        }
    }
}

#[derive(Debug)]
struct Tree<P> {
    pieces: Vec<Piece<P>>,
    /// A node, then those below it.
    nodes: Vec<Node<P>>,
}

impl<P: Place> Tree<P> {
    fn new(rules: &[(usize, &Rule)]) -> Self {
        let mut all = Vec::with_capacity(rules.len());
        for &(rule, written) in rules {
            all.extend(pieces(written).map(|bounds| Piece { bounds, rule }));
        }
        let nodes = grown(&mut all, 0, 0);
        Self { pieces: all, nodes }
    }

    fn meeting(&self, rule: &Rule) -> Vec<usize> {
        let mut found = Vec::new();
        for wanted in pieces(rule) {
            let meets = |bounds: &Bounds<P>| {
                bounds.iter().zip(&wanted).all(|(a, b)| a.0 <= b.1 && b.0 <= a.1)
            };
            self.visit(usize::MAX, meets, |rule| {
                found.push(rule);
                false
            });
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn first_around(
        &self,
        rule: &Rule,
        end: usize,
        mut is_wanted: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let Some(corner) = corner(rule) else { return (0..end).find(|&one| is_wanted(one)) };
        let holds =
            |bounds: &Bounds<P>| bounds.iter().zip(&corner).all(|(a, b)| a.0 <= b.0 && b.1 <= a.1);
        let first = self.visit(end, holds, &mut is_wanted);
        (first < end).then_some(first)
    }

    fn is_any_at(&self, packet: &Packet, mut is_wanted: impl FnMut(usize) -> bool) -> bool {
        let place = [line(packet.remote), line(packet.local), packet.service.into()];
        let holds =
            |bounds: &Bounds<P>| bounds.iter().zip(place).all(|(a, at)| a.0 <= at && at <= a.1);
        self.visit(usize::MAX, holds, &mut is_wanted) < usize::MAX
    }

    /// Looks at the rules whose boxes are `wanted`, and from the first `taken` one
    /// on only at those before it; the first taken one, else `end`.
    fn visit(
        &self,
        mut end: usize,
        wanted: impl Fn(&Bounds<P>) -> bool,
        mut taken: impl FnMut(usize) -> bool,
    ) -> usize {
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            if node.rule >= end || !wanted(&node.bounds) {
                at = node.next;
                continue;
            }
            for piece in &self.pieces[node.pieces.clone()] {
                if piece.rule < end && wanted(&piece.bounds) && taken(piece.rule) {
                    end = piece.rule;
                }
            }
            at += 1;
        }
        end
    }
}

/// The nodes of pieces, which are divided along one dimension after the other. The
/// pieces are those from `start` on.
fn grown<P: Place>(pieces: &mut [Piece<P>], start: usize, dimension: usize) -> Vec<Node<P>> {
    let mut nodes = Vec::new();
    grow(&mut nodes, pieces, start, dimension);
    nodes
}

fn grow<P: Place>(
    nodes: &mut Vec<Node<P>>,
    pieces: &mut [Piece<P>],
    start: usize,
    dimension: usize,
) {
    let Some(first) = pieces.first() else { return };
    let mut around = first.bounds;
    let mut latest = first.bounds.map(|(first, _)| first);
    for piece in &*pieces {
        for ((around, latest), (first, last)) in
            around.iter_mut().zip(&mut latest).zip(piece.bounds)
        {
            *around = (around.0.min(first), around.1.max(last));
            *latest = first.max(*latest);
        }
    }
    let node = nodes.len();
    let rule = pieces.iter().map(|piece| piece.rule).min().unwrap_or_default();
    let own = if pieces.len() <= LEAF { start..start + pieces.len() } else { start..start };
    nodes.push(Node { bounds: around, rule, next: 0, pieces: own });
    if pieces.len() > LEAF {
        let mut turns = (0..3).map(|turn| (dimension + turn) % 3);
        let divides = |&by: &usize| around[by].0 < latest[by];
        let by = turns.find(divides).unwrap_or(dimension);
        let middle = pieces.len() / 2;
        let is_large = parallel::threads(pieces.len(), WORTH_A_THREAD) > 1;
        pieces.select_nth_unstable_by_key(middle, |one| (one.bounds[by].0, one.rule));
        let (low, high) = pieces.split_at_mut(middle);
        let next = (by + 1) % 3;
        if is_large {
            let (low, high) = parallel::both(
                true,
                || grown(low, start, next),
                || grown(high, start + middle, next),
            );
            graft(nodes, low);
            graft(nodes, high);
        } else {
            grow(nodes, low, start, next);
            grow(nodes, high, start + middle, next);
        }
    }
    nodes[node].next = nodes.len();
}

/// Adds nodes that were grown by themselves.
fn graft<P>(nodes: &mut Vec<Node<P>>, grown: Vec<Node<P>>) {
    let before = nodes.len();
    nodes.extend(grown.into_iter().map(|node| Node { next: node.next + before, ..node }));
}

/// The boxes of a rule; none if it matches nothing.
fn pieces<P: Place>(rule: &Rule) -> impl Iterator<Item = Bounds<P>> {
    let rest = rest(rule);
    let count = rule.remote.v4.ranges().len() + rule.remote.v6.ranges().len();
    let size = count.div_ceil(PIECES).max(1);
    let mut ranges = ranges(&rule.remote);
    std::iter::from_fn(move || {
        let (local, services) = rest?;
        let (first, mut last) = ranges.next()?;
        for (_, later) in ranges.by_ref().take(size - 1) {
            last = later;
        }
        Some([(first, last), local, services])
    })
}

/// A part of a rule that lies in one box of any rule that matches all of it: its
/// first addresses. `None` if it matches nothing.
fn corner<P: Place>(rule: &Rule) -> Option<Bounds<P>> {
    let (local, services) = rest(rule)?;
    Some([ranges(&rule.remote).next()?, local, services])
}

/// Bounds of local addresses and services.
fn rest<P: Place>(rule: &Rule) -> Option<((P, P), (P, P))> {
    let mut local = ranges(&rule.local);
    let (first, last) = local.next()?;
    let local = (first, local.last().map_or(last, |(_, last)| last));
    let services = rule.services.ranges();
    let (first, last) = (services.first()?.0.into(), services.last()?.1.into());
    Some((local, (first, last)))
}

/// The ranges of both families on one line, ascending: IPv4 addresses, then IPv6
/// addresses.
fn ranges<P: Place>(set: &AddrSet) -> impl Iterator<Item = (P, P)> {
    let v4 = set.v4.ranges().iter().map(|&(first, last)| (first.into(), last.into()));
    let v6 = set.v6.ranges().iter().map(|&(first, last)| (P::of_v6(first), P::of_v6(last)));
    v4.chain(v6)
}

/// Where an address is on that line.
fn line<P: Place>(address: IpAddr) -> P {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => P::of_v6(address.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::region::{Region, covers, overlap};
    use super::*;
    use crate::ir::Log;
    use crate::set::{RangeSet, ServiceSet};
    use crate::source::{Source, Span};

    /// Ranges of a small world, as first and length.
    type Ranges = Vec<(u32, u32)>;

    fn rule((remote, local, services, is_v6): (Ranges, Ranges, Ranges, bool)) -> Rule {
        let set = |ranges: &Ranges| {
            ServiceSet::from_ranges(ranges.iter().map(|&(at, more)| (at, at + more)).collect())
        };
        let addresses = |written: &Ranges| {
            let wide = written.iter().map(|&(at, more)| (u128::from(at), u128::from(at + more)));
            let v6 = RangeSet::from_ranges(wide.filter(|_| is_v6).collect());
            AddrSet { v4: set(written), v6 }
        };
        let source = Arc::new(Source { name: String::new(), text: String::new() });
        let span = Span { source, start: 0, end: 0 };
        Rule {
            name: String::new(),
            role: String::new(),
            remote: addresses(&remote),
            local: addresses(&local),
            services: set(&services),
            counts: Vec::new(),
            interfaces: Vec::new(),
            vlans: Vec::new(),
            tcp_flags: None,
            log: Log::Default,
            remote_span: span.clone(),
            span,
            remote_text: String::new(),
            service_text: String::new(),
            owner: None,
            reason: None,
            ticket: None,
        }
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let few = || vec((0_u32..40, 0_u32..20), 0..4);
        let many = vec((0_u32..2000, 0_u32..30), 0..60);
        let rule = (prop_oneof![few(), many], few(), few(), any::<bool>()).prop_map(rule);
        vec(rule, 0..80)
    }

    proptest! {
        #[test]
        fn finds_what_a_look_at_every_rule_finds(rules in rules(), asking in rules()) {
            let numbered: Vec<_> = rules.iter().enumerate().collect();
            // Whether narrow or wide is a matter of speed alone.
            for index in [Form::Narrow(Tree::new(&numbered)), Form::Wide(Tree::new(&numbered))] {
            let index = Index(index);
            for one in rules.iter().chain(&asking) {
                let near = index.meeting(one);
                let meets = |place: &usize| overlap(&rules[*place], one).is_some();
                let found: Vec<usize> = near.iter().copied().filter(meets).collect();
                let all: Vec<usize> = (0..rules.len()).filter(meets).collect();
                prop_assert_eq!(found, all);
                let packet = Packet::of(one);
                let is_any = packet.map(|packet| {
                    let holds = |place: usize| packet.is_held_by(&rules[place]);
                    (index.is_any_at(&packet, holds), (0..rules.len()).any(holds))
                });
                prop_assert!(is_any.is_none_or(|(found, all)| found == all));
                let mut left = Region::new(one);
                for rule in &rules {
                    left.subtract(rule);
                }
                prop_assert!(is_any.is_none_or(|(found, _)| found) || !left.is_empty());
                for end in [0, rules.len() / 2, rules.len()] {
                    let is_cover = |place: usize| covers(&rules[place], one);
                    let first = index.first_around(one, end, is_cover);
                    prop_assert_eq!(first, (0..end).find(|&place| is_cover(place)));
                }
            }
            }
        }
    }
}
