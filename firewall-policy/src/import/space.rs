//! The packets that a rule of another firewall is about, as exact sets.
//!
//! A [`Boxed`] is what one line can ask for: source × destination × service ×
//! interfaces × kind of destination. A [`Region`] is a union of such boxes, so
//! that what one line leaves to the next is exact as well.

use std::sync::LazyLock;

use firewall_common::service::{ServiceIndex, proto};

use crate::ir::Direction;
use crate::set::{AddrSet, Point, RangeSet, ServiceSet};
use crate::value::ip_proto;

/// Names of interfaces: each name is the number that its bytes are.
pub(super) type Interfaces = RangeSet<u128>;

/// Bytes of an interface name (`IFNAMSIZ` of Linux, without the NUL).
const NAME_BYTES: usize = 15;

/// The number of an interface name; 0 is "no interface".
fn number(name: &str, fill: u8) -> u128 {
    let mut bytes = [fill; 16];
    bytes[15] = 0;
    for (place, byte) in bytes.iter_mut().zip(name.bytes().take(NAME_BYTES)) {
        *place = byte;
    }
    u128::from_be_bytes(bytes)
}

/// One interface by name, or all whose names begin with what is before `wildcard`.
pub(super) fn interface(name: &str, wildcard: char) -> Interfaces {
    match name.strip_suffix(wildcard) {
        Some(prefix) => RangeSet::range(number(prefix, 0), number(prefix, 0xff) | 0xff),
        None => RangeSet::range(number(name, 0), number(name, 0)),
    }
}

/// Every interface whose packets are judged: not the loopback.
pub(super) fn wires() -> Interfaces {
    RangeSet::range(1, u128::MAX).subtract(&interface("lo", '\0'))
}

/// A packet that has not come in, or will not go out, by any interface.
pub(super) fn nowhere() -> Interfaces {
    RangeSet::range(0, 0)
}

/// Patterns with `*` that stand for exactly these interfaces; empty for all of
/// them, `None` if no few patterns do.
pub(super) fn globs(set: &Interfaces) -> Option<Vec<String>> {
    if set.union(&interface("lo", '\0')).union(&nowhere()) == RangeSet::full() {
        return Some(Vec::new());
    }
    set.ranges().iter().map(|&(first, last)| glob(first, last)).collect()
}

fn glob(first: u128, last: u128) -> Option<String> {
    let bytes: Vec<u8> = first.to_be_bytes().into_iter().take_while(|&byte| byte != 0).collect();
    let name = String::from_utf8(bytes).ok()?;
    let possible =
        |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '*' | '?' | '[' | ']' | '{' | '}');
    if name.is_empty() || !name.chars().all(possible) {
        return None;
    }
    if first == last {
        return Some(name);
    }
    let glob = format!("{name}*");
    (interface(&glob, '*') == RangeSet::range(first, last) && glob.len() <= NAME_BYTES)
        .then_some(glob)
}

/// What a destination that is no multicast address may be. Which addresses are
/// broadcast addresses of a network, the rules of another firewall do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cast(u8);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the sets beside it")]
impl Cast {
    pub(super) const ANY: Self = Self(3);
    pub(super) const LOCAL: Self = Self(1);
    pub(super) const BROADCAST: Self = Self(2);

    fn intersect(self, other: &Self) -> Self {
        Self(self.0 & other.0)
    }

    fn subtract(self, other: &Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Packets that one line can ask for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Boxed {
    pub(super) source: AddrSet,
    pub(super) destination: AddrSet,
    pub(super) services: ServiceSet,
    /// Came in by.
    pub(super) from: Interfaces,
    /// Goes out by.
    pub(super) to: Interfaces,
    pub(super) cast: Cast,
}

/// Whether two sets have a point in common, without building anything.
pub(super) fn meet<T: Point>(a: &RangeSet<T>, b: &RangeSet<T>) -> bool {
    let (few, many) = if a.ranges().len() < b.ranges().len() { (a, b) } else { (b, a) };
    few.ranges().iter().any(|&(first, last)| {
        let after = many.ranges().partition_point(|&(start, _)| start <= last);
        after > 0 && many.ranges()[after - 1].1 >= first
    })
}

impl Boxed {
    /// Every packet of both families.
    pub(super) fn all() -> Self {
        Self {
            source: AddrSet::any(),
            destination: AddrSet::any(),
            services: all_services(),
            from: RangeSet::full(),
            to: RangeSet::full(),
            cast: Cast::ANY,
        }
    }

    /// Every packet of a direction that our firewall judges.
    pub(super) fn universe(direction: Direction, families: &AddrSet) -> Self {
        let (from, to) = match direction {
            Direction::Ingress => (wires(), nowhere()),
            Direction::Egress => (nowhere(), wires()),
        };
        Self { source: families.clone(), destination: families.clone(), from, to, ..Self::all() }
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { source, destination, services, from, to, cast } = self;
        !crate::check::region::has_family(source, destination)
            || services.is_empty()
            || from.is_empty()
            || to.is_empty()
            || cast.is_empty()
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        let both = |a: &AddrSet, b: &AddrSet| (meet(&a.v4, &b.v4), meet(&a.v6, &b.v6));
        let (source, destination) =
            (both(&self.source, &other.source), both(&self.destination, &other.destination));
        (source.0 && destination.0 || source.1 && destination.1)
            && meet(&self.services, &other.services)
            && meet(&self.from, &other.from)
            && meet(&self.to, &other.to)
            && !self.cast.intersect(&other.cast).is_empty()
    }

    pub(super) fn intersect(&self, other: &Self) -> Self {
        Self {
            source: self.source.intersect(&other.source),
            destination: self.destination.intersect(&other.destination),
            services: self.services.intersect(&other.services),
            from: self.from.intersect(&other.from),
            to: self.to.intersect(&other.to),
            cast: self.cast.intersect(&other.cast),
        }
    }

    /// Appends what is left of this without the other: disjoint boxes.
    fn subtract_to(self, other: &Self, rest: &mut Vec<Self>) {
        if !self.meets(other) {
            rest.push(self);
            return;
        }
        let mut inside = self;
        macro_rules! outside {
            ($($field:ident),*) => {$(
                let part = inside.$field.subtract(&other.$field);
                let part = Self { $field: part, ..inside.clone() };
                if !part.is_empty() {
                    rest.push(part);
                }
                inside.$field = inside.$field.intersect(&other.$field);
            )*};
        }
        outside!(source, destination, services, from, to, cast);
    }
}

/// A union of boxes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Region(Vec<Boxed>);

/// Boxes that one rule may become.
pub(super) const MAX_BOXES: usize = 64;
/// Boxes that are reckoned with. Beyond, whoever asked errs on the safe side.
const LIMIT: usize = 2048;

impl Region {
    pub(super) fn empty() -> Self {
        Self::default()
    }

    pub(super) fn of(boxes: Vec<Boxed>) -> Self {
        Self(boxes.into_iter().filter(|one| !one.is_empty()).collect())
    }

    pub(super) fn one(only: Boxed) -> Self {
        Self::of(vec![only])
    }

    pub(super) fn all() -> Self {
        Self(vec![Boxed::all()])
    }

    pub(super) fn boxes(&self) -> &[Boxed] {
        &self.0
    }

    pub(super) fn into_boxes(self) -> Vec<Boxed> {
        self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.meets(b)))
    }

    /// What is in both; `None` if that is too many boxes.
    pub(super) fn intersect(&self, other: &Self) -> Option<Self> {
        let mut both = Vec::new();
        for a in &self.0 {
            both.extend(other.0.iter().filter(|b| a.meets(b)).map(|b| a.intersect(b)));
            if both.len() > LIMIT {
                return None;
            }
        }
        Some(Self::of(both))
    }

    pub(super) fn union(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// What is left without the other; `None` if that is too many boxes.
    pub(super) fn subtract(self, other: &Self) -> Option<Self> {
        let mut left = self.0;
        for taken in &other.0 {
            let mut rest = Vec::with_capacity(left.len());
            for one in left {
                one.subtract_to(taken, &mut rest);
            }
            left = rest;
            if left.len() > LIMIT {
                return None;
            }
        }
        Some(Self(left))
    }

    pub(super) fn complement(&self) -> Option<Self> {
        Self::all().subtract(self)
    }

    /// Whether everything of the other is in this, as far as can be told.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.clone().subtract(self).is_some_and(|left| left.is_empty())
    }
}

/// Boxes, of which those that ask for one thing only become one.
#[derive(Debug, Default)]
pub(super) struct Pool {
    sources: Vec<AddrSet>,
    destinations: Vec<AddrSet>,
    services: Vec<(u32, u32)>,
    others: Vec<Boxed>,
}

impl Pool {
    pub(super) fn add(&mut self, one: Boxed) {
        let all = Boxed::all();
        if (Boxed { source: all.source.clone(), ..one.clone() }) == all {
            self.sources.push(one.source);
        } else if (Boxed { destination: all.destination.clone(), ..one.clone() }) == all {
            self.destinations.push(one.destination);
        } else if (Boxed { services: all.services.clone(), ..one.clone() }) == all {
            self.services.extend(one.services.ranges());
        } else {
            self.others.push(one);
        }
    }

    pub(super) fn region(self) -> Region {
        let mut boxes = self.others;
        boxes.push(Boxed { source: AddrSet::union_all(&self.sources), ..Boxed::all() });
        boxes.push(Boxed { destination: AddrSet::union_all(&self.destinations), ..Boxed::all() });
        boxes.push(Boxed { services: ServiceSet::from_ranges(self.services), ..Boxed::all() });
        Region::of(boxes)
    }
}

/// Multicast addresses of both families.
pub(super) fn multicast() -> AddrSet {
    AddrSet {
        v4: RangeSet::range(0xe000_0000, 0xefff_ffff),
        v6: RangeSet::range(0xff << 120, u128::MAX),
    }
}

/// Ports 1 to 65535 of a protocol; nothing is ever sent to port 0.
pub(super) fn ports(first: u32, low: u16, high: u16) -> ServiceSet {
    ServiceSet::range(first + u32::from(low.max(1)), first + u32::from(high))
}

/// What a protocol number is about; `None` for 0, which is every protocol.
pub(super) fn protocol(number: u8) -> ServiceSet {
    match number {
        proto::TCP => ports(0, 1, u16::MAX),
        proto::UDP => ports(ServiceIndex::UDP, 1, u16::MAX),
        proto::SCTP => ports(ServiceIndex::SCTP, 1, u16::MAX),
        proto::ICMP => ServiceSet::range(ServiceIndex::ICMP, ServiceIndex::ICMP + 255),
        proto::ICMPV6 => ServiceSet::range(ServiceIndex::ICMPV6, ServiceIndex::ICMPV6 + 255),
        other => {
            let index = ServiceIndex::OTHER + u32::from(other);
            ServiceSet::range(index, index)
        }
    }
}

/// Extension headers of IPv6 as protocols: they are passed over here, and no rule names them.
pub(super) fn extension_headers() -> ServiceSet {
    let all = ip_proto::EXTENSION_HEADERS.into_iter();
    ServiceSet::from_ranges(all.flat_map(|number| protocol(number).ranges().to_vec()).collect())
}

/// Every service that a packet can have.
pub(super) fn all_services() -> ServiceSet {
    static ALL: LazyLock<ServiceSet> = LazyLock::new(|| {
        let all = (0..=255).flat_map(|number| protocol(number).ranges().to_vec());
        ServiceSet::from_ranges(all.collect())
    });
    ALL.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_exact() {
        let eth = interface("eth+", '+');
        let eth0 = interface("eth0", '+');
        assert!(eth0.is_subset(&eth) && !interface("et", '+').is_subset(&eth));
        assert_eq!(globs(&eth), Some(vec!["eth*".into()]));
        assert_eq!(
            globs(&eth0.union(&interface("wg0", '+'))),
            Some(vec!["eth0".into(), "wg0".into()])
        );
        assert_eq!(globs(&wires()), Some(Vec::new()));
        assert_eq!(globs(&wires().subtract(&eth0)), None);
        assert_eq!(globs(&eth.subtract(&eth0)), None);
    }

    #[test]
    fn what_is_taken_away_is_gone_and_nothing_else() {
        let mut ssh = Boxed::all();
        ssh.services = ports(0, 22, 22);
        ssh.source = AddrSet::network("10.0.0.0".parse().unwrap(), 8);
        let ssh = Region::one(ssh);
        let rest = ssh.complement().unwrap();
        assert!(!rest.meets(&ssh) && rest.boxes().len() == 2);
        assert!(rest.union(ssh).covers(&Region::all()));
    }
}
