//! What one line asks for, collected condition by condition.

use firewall_common::parse::possible_flags;
use firewall_common::service::{ServiceIndex, proto};

use super::program::{Line, Place, Remarks, Verdict};
use super::space::{
    Boxed, Cast, Interfaces, Region, all_services, extension_headers, multicast, protocol,
};
use crate::set::{AddrSet, ServiceSet};

/// A condition on how often or how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Matches while a rate is kept.
    Within,
    /// Matches once it is exceeded.
    Above,
}

/// The conditions of a line: all must hold.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    plain: Boxed,
    /// Sets of more than one dimension: what surely, and what possibly matches.
    sets: Vec<(Region, Region)>,
    /// Conditions that our language does not have.
    unknown: Vec<String>,
    /// No packet that opens a connection can match; what to say of it.
    later: Option<Later>,
    limited: bool,
    /// Limits are taken for never reached.
    without_limits: bool,
    /// It counts, and does nothing else with, packets.
    counts: bool,
}

/// Why a line is not about packets that open a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Later {
    /// Later packets, answers, and errors about them.
    Known,
    /// What belongs to nothing that is known.
    Invalid,
    /// Flags that no packet has.
    Malformed,
    /// TCP segments other than the first.
    Segments,
    /// A limit that is taken for never reached.
    Limit,
    /// Extension headers of IPv6, which are passed over.
    Header,
}

/// States of connection tracking.
pub(super) mod state {
    pub(in crate::import) const NEW: u8 = 1;
    pub(in crate::import) const ESTABLISHED: u8 = 2;
    pub(in crate::import) const RELATED: u8 = 4;
    pub(in crate::import) const INVALID: u8 = 8;
    pub(in crate::import) const UNTRACKED: u8 = 16;

    /// A state by its name, in any case.
    pub(in crate::import) fn of(name: &str) -> Option<u8> {
        Some(match name.to_ascii_lowercase().as_str() {
            "new" => NEW,
            "established" => ESTABLISHED,
            "related" => RELATED,
            "invalid" => INVALID,
            "untracked" => UNTRACKED,
            _ => return None,
        })
    }
}

impl Matching {
    pub(super) fn new(without_limits: bool) -> Self {
        Self {
            plain: Boxed::all(),
            sets: Vec::new(),
            unknown: Vec::new(),
            later: None,
            limited: false,
            without_limits,
            counts: false,
        }
    }

    pub(super) fn families(&mut self, families: &AddrSet) {
        self.source(families, false);
        self.destination(families, false);
    }

    pub(super) fn source(&mut self, set: &AddrSet, negated: bool) {
        let set = if negated { AddrSet::any().subtract(set) } else { set.clone() };
        self.plain.source = self.plain.source.intersect(&set);
    }

    pub(super) fn destination(&mut self, set: &AddrSet, negated: bool) {
        let set = if negated { AddrSet::any().subtract(set) } else { set.clone() };
        self.plain.destination = self.plain.destination.intersect(&set);
    }

    pub(super) fn services(&mut self, set: &ServiceSet, negated: bool) {
        let set = if negated { super::space::all_services().subtract(set) } else { set.clone() };
        self.plain.services = self.plain.services.intersect(&set);
    }

    /// Ports of the protocols asked for so far.
    pub(super) fn ports(&mut self, ports: &[(u16, u16)], negated: bool) {
        let of = |first: u32, set: &[(u16, u16)]| {
            let ranges = set.iter().map(|&(low, high)| super::space::ports(first, low, high));
            ranges.fold(ServiceSet::empty(), |all, one| all.union(&one))
        };
        let firsts = [0, ServiceIndex::UDP, ServiceIndex::SCTP];
        let all = firsts.map(|first| of(first, &[(1, u16::MAX)]));
        let some = firsts.map(|first| of(first, ports));
        let union =
            |sets: [ServiceSet; 3]| sets.iter().fold(ServiceSet::empty(), |a, b| a.union(b));
        let (all, some) = (union(all), union(some));
        if !self.plain.services.is_empty() && self.plain.services.is_disjoint(&all) {
            self.unknown("ports of such a protocol");
            return;
        }
        self.services(&if negated { all.subtract(&some) } else { some }, false);
    }

    pub(super) fn protocol(&mut self, number: u8, negated: bool) {
        if number != 0 || negated {
            self.services(&protocol(number), negated);
        }
    }

    pub(super) fn came_in_by(&mut self, set: &Interfaces, negated: bool) {
        let set = if negated { set.complement() } else { set.clone() };
        self.plain.from = self.plain.from.intersect(&set);
    }

    pub(super) fn goes_out_by(&mut self, set: &Interfaces, negated: bool) {
        let set = if negated { set.complement() } else { set.clone() };
        self.plain.to = self.plain.to.intersect(&set);
    }

    /// A set of more than one dimension.
    pub(super) fn set(&mut self, must: Region, may: Region, negated: bool) {
        if !negated {
            self.sets.push((must, may));
            return;
        }
        let (outside, inside) = (may.complement(), must.complement());
        self.sets.push((outside.unwrap_or_default(), inside.unwrap_or_else(Region::all)));
    }

    /// The destination is this host, a broadcast or a multicast address.
    pub(super) fn destination_kind(&mut self, kind: &str, negated: bool) {
        let known = match kind.to_ascii_uppercase().as_str() {
            "LOCAL" => Some(Cast::LOCAL),
            "BROADCAST" => Some(Cast::BROADCAST),
            "MULTICAST" => None,
            _ => return self.unknown(format!("destinations of kind {kind}")),
        };
        let (inside, all) = (multicast(), AddrSet::any());
        let region = match known {
            None => Region::one(Boxed { destination: inside, ..Boxed::all() }),
            Some(cast) => {
                Region::one(Boxed { destination: all.subtract(&inside), cast, ..Boxed::all() })
            }
        };
        self.set(region.clone(), region, negated);
    }

    /// A condition that is not carried.
    pub(super) fn unknown(&mut self, what: impl Into<String>) {
        self.unknown.push(what.into());
    }

    /// A condition on how often or how much.
    pub(super) fn limit(&mut self, limit: Limit, negated: bool, what: impl Into<String>) {
        let within = (limit == Limit::Within) != negated;
        self.unknown.push(what.into());
        self.limited = true;
        if self.without_limits && !within {
            self.later = self.later.or(Some(Later::Limit));
        }
    }

    /// Only what a limit needs to remember.
    pub(super) fn counts(&mut self) {
        self.counts = true;
    }

    pub(super) fn states(&mut self, states: u8, negated: bool) {
        let all =
            state::NEW | state::ESTABLISHED | state::RELATED | state::INVALID | state::UNTRACKED;
        let states = if negated { all & !states } else { states };
        if states & state::NEW == 0 {
            let known = states & (state::ESTABLISHED | state::RELATED) != 0;
            let later = if known { Later::Known } else { Later::Invalid };
            self.later = self.later.or(Some(later));
        }
    }

    /// Packets that are dropped before any rule.
    pub(super) fn malformed(&mut self) {
        self.later = self.later.or(Some(Later::Malformed));
    }

    /// TCP flags: those of a SYN are what opens a connection.
    pub(super) fn flags(&mut self, mask: u8, value: u8, negated: bool) {
        const SYN: u8 = 2;
        self.protocol(proto::TCP, false);
        let matches = |flags: u8| (flags & mask == value) != negated;
        if !matches(SYN) {
            let possible = (0..64).any(|flags| matches(flags) && possible_flags(flags));
            let later = if possible { Later::Segments } else { Later::Malformed };
            self.later = self.later.or(Some(later));
        }
    }

    /// The line, and what is to be said about it.
    pub(super) fn line(
        self,
        verdict: Verdict,
        (place, text, comment): (Place, String, Option<String>),
        remarks: &mut Remarks,
    ) -> Line {
        let may = self
            .sets
            .iter()
            .try_fold(Region::one(self.plain.clone()), |all, (_, may)| all.intersect(may));
        let is_vague = may.is_none();
        let mut may = may.unwrap_or_else(|| Region::one(self.plain.clone()));
        let headers = extension_headers();
        let named = |one: &Boxed| one.services != all_services() && !one.services.is_empty();
        let are_headers = |one: &Boxed| named(one) && one.services.is_subset(&headers);
        let later = match self.later {
            None if !may.boxes().is_empty() && may.boxes().iter().all(are_headers) => {
                Some(Later::Header)
            }
            later => later,
        };
        if later.is_none()
            && may.boxes().iter().any(|one| named(one) && !one.services.is_disjoint(&headers))
        {
            remarks.note(HEADERS, Some(&place));
        }
        if later.is_some() {
            may = Region::empty();
        }
        let is_known = self.unknown.is_empty()
            || self.without_limits && self.limited && self.unknown.len() == 1;
        let must = if is_known && !is_vague {
            let sure = self.sets.iter().try_fold(may.clone(), |all, (must, _)| all.intersect(must));
            sure.unwrap_or_default()
        } else {
            Region::empty()
        };
        let mut loss = self.loss(verdict, &must, &may);
        let mut waived = false;
        if let Some(later) = later {
            loss = None;
            self.say_later(later, verdict, &place, &text, remarks);
        } else if let (Verdict::Accept, Some(_)) = (verdict, &loss)
            && self.is_baseline()
        {
            (loss, waived) = (None, true);
            remarks.note(BASELINE, Some(&place));
        }
        Line { place, text, comment, must, may, verdict, loss, waived }
    }

    fn loss(&self, verdict: Verdict, must: &Region, may: &Region) -> Option<String> {
        if self.counts && verdict == Verdict::Continue {
            return Some("remembers addresses for a limit: not carried".to_owned());
        }
        if self.unknown.is_empty() && (must == may || verdict == Verdict::Continue) {
            return None;
        }
        let what = match &*self.unknown {
            [] if verdict == Verdict::Drop => {
                return Some(
                    "entries of its set end by themselves; here they are denied for good"
                        .to_owned(),
                );
            }
            [] => "a set whose entries end by themselves, or are too many".to_owned(),
            unknown => unknown.join(", "),
        };
        if self.limited && self.without_limits {
            let effect = "taken for never reached, as asked (--without-limits)";
            return Some(format!("{what}: {effect}"));
        }
        let effect = match verdict {
            Verdict::Accept => "what it accepts is not allowed here",
            Verdict::Drop => {
                "all that it could drop is denied; if you can do without the condition, change \
                 the line and import again"
            }
            Verdict::Jump(_) | Verdict::Goto(_) | Verdict::Return => {
                "of the lines behind it only drops count"
            }
            Verdict::Rewrite => "the packets are rewritten",
            Verdict::Continue => return None,
        };
        let limits = if self.limited { " (--without-limits: taken for never reached)" } else { "" };
        Some(format!("{what}: {effect}{limits}"))
    }

    fn say_later(
        &self,
        later: Later,
        verdict: Verdict,
        place: &Place,
        text: &str,
        remarks: &mut Remarks,
    ) {
        let (note, loss) = match (later, verdict) {
            (Later::Known, Verdict::Drop) => (
                None,
                Some(
                    "later packets of a connection are judged \
                like the first: none of them is dropped alone",
                ),
            ),
            (Later::Invalid, Verdict::Accept) => (
                None,
                Some(
                    "packets that belong to nothing known are \
                judged by the rules, like others",
                ),
            ),
            (Later::Invalid, _) => (
                Some(
                    "packets that are malformed, or answers to nothing, are \
                dropped by themselves: `malformed`, `tcp-no-flow`",
                ),
                None,
            ),
            (Later::Malformed, _) => (
                Some(
                    "TCP flags and headers that no sound packet has are dropped by themselves: `malformed`",
                ),
                None,
            ),
            (Later::Segments, Verdict::Drop | Verdict::Jump(_) | Verdict::Goto(_)) => (
                None,
                Some(
                    "inbound connections keep no state here: a stray segment to an open port passes, and \
                 the kernel answers it with a reset",
                ),
            ),
            (Later::Header, _) => (
                None,
                Some(
                    "a protocol that is an extension header of IPv6 is passed over here: what \
                stands behind it is judged",
                ),
            ),
            (Later::Known | Later::Segments, _) => {
                (Some("later packets and answers pass by themselves: `established`"), None)
            }
            (Later::Limit, _) => {
                let what = self.unknown.join(", ");
                let reason =
                    format!("{what}: taken for never reached, as asked (--without-limits)");
                remarks.lost(place, text, reason);
                return;
            }
        };
        if let Some(note) = note {
            remarks.note(note, Some(place));
        }
        if let Some(loss) = loss {
            remarks.lost(place, text, loss);
        }
    }

    /// Whether all of it is what the baseline admits, under conditions of its own.
    fn is_baseline(&self) -> bool {
        let types = |first: u32, all: &[u32]| {
            ServiceSet::from_ranges(all.iter().map(|kind| (first + kind, first + kind)).collect())
        };
        let v4 = types(ServiceIndex::ICMP, &[3, 11, 12]);
        let v6 = types(
            ServiceIndex::ICMPV6,
            &[
                1, 2, 3, 4, 130, 131, 132, 133, 134, 135, 136, 141, 142, 143, 148, 149, 151, 152,
                153,
            ],
        );
        let dhcp = types(ServiceIndex::UDP, &[68, 546]);
        self.plain.services.is_subset(&v4.union(&v6).union(&dhcp))
    }
}

const HEADERS: &str = "protocols 0, 43, 44 and 60, extension headers of IPv6, are left out of \
                       what is named: what stands behind them is judged";

const BASELINE: &str = "neighbour discovery, ICMP errors and DHCP pass by the baseline, under \
                        conditions of its own: `firewall show baseline`";
