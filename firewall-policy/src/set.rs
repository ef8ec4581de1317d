//! Exact sets of integers as sorted, disjoint, non-adjacent inclusive ranges.
//!
//! Addresses ([`AddrSet`]) and services ([`ServiceSet`]) are both such sets, so
//! union, difference and intersection are written once, and every statement the
//! policy checks make about a policy is exact.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// An unsigned integer that a [`RangeSet`] can hold.
pub trait Point: Copy + Ord + Hash + fmt::Debug + 'static {
    /// The smallest value.
    const MIN: Self;
    /// The largest value.
    const MAX: Self;
    /// Every value.
    const ALL: &[(Self, Self)];
    /// How a set of one range keeps it: in place, or apart if it is large.
    type One: Clone + Eq + Hash + Borrow<(Self, Self)> + From<(Self, Self)>;
    /// The value after this one; `None` at the end.
    fn next(self) -> Option<Self>;
    /// The value before this one; `None` at the start.
    fn prev(self) -> Option<Self>;
    /// Brings ranges into the order of their first values.
    fn sort(ranges: &mut Vec<(Self, Self)>);
}

macro_rules! point {
    ($($t:ty: $one:ty, $sort:ident;)*) => {$(impl Point for $t {
        const MIN: Self = <$t>::MIN;
        const MAX: Self = <$t>::MAX;
        const ALL: &[(Self, Self)] = &[(<$t>::MIN, <$t>::MAX)];
        type One = $one;
        fn next(self) -> Option<Self> { self.checked_add(1) }
        fn prev(self) -> Option<Self> { self.checked_sub(1) }
        fn sort(ranges: &mut Vec<(Self, Self)>) { $sort(ranges) }
    })*};
}
point! {
    u32: (u32, u32), by_digits;
    u128: Arc<(u128, u128)>, by_comparing;
}

/// Much of it often comes sorted, which this way of sorting makes use of.
fn by_comparing<T: Point>(ranges: &mut [(T, T)]) {
    ranges.sort_by_key(|&(first, _)| first);
}

/// Ranges from which on comparing takes longer than going through all a few times.
const MANY: usize = 1 << 12;
/// Bits of a digit: as many places are written to in turn as the first-level cache has lines
/// to spare.
const DIGIT: u32 = 8;

/// By the lowest digits, then by the next ones, of which a number has four: for
/// hundreds of thousands of addresses in any order.
fn by_digits(ranges: &mut Vec<(u32, u32)>) {
    if ranges.len() < MANY || ranges.is_sorted_by_key(|&(first, _)| first) {
        return by_comparing(ranges);
    }
    let mut from = std::mem::take(ranges);
    let mut to = vec![(0, 0); from.len()];
    for shift in [0, DIGIT, 2 * DIGIT, 3 * DIGIT] {
        let digit = |&(first, _): &(u32, u32)| (first >> shift & ((1 << DIGIT) - 1)) as usize;
        distribute::<_, { 1 << DIGIT }>(&from, &mut to, digit);
        std::mem::swap(&mut from, &mut to);
    }
    *ranges = from;
}

/// Writes entries in the order of a key below `KEYS`, those of one key in the order in which
/// they come: a counting sort.
pub(crate) fn distribute<E: Copy, const KEYS: usize>(
    from: &[E],
    to: &mut [E],
    key: impl Fn(&E) -> usize,
) {
    let mut places = [0; KEYS];
    for entry in from {
        places[key(entry)] += 1;
    }
    let mut next = 0;
    for place in &mut places {
        (*place, next) = (next, next + *place);
    }
    for entry in from {
        let place = &mut places[key(entry)];
        to[*place] = *entry;
        *place += 1;
    }
}

/// A set of integers: sorted, disjoint, non-adjacent inclusive ranges.
///
/// Copies are cheap: most sets are one range, and many ranges are shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RangeSet<T: Point> {
    ranges: Ranges<T>,
}

/// None, every value, one range or more, so that equal sets are equally kept.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Ranges<T: Point> {
    None,
    All,
    One(T::One),
    Many(Arc<Vec<(T, T)>>),
}

impl<T: Point> Default for RangeSet<T> {
    fn default() -> Self {
        Self { ranges: Ranges::None }
    }
}

impl<T: Point> fmt::Debug for RangeSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ranges()).finish()
    }
}

impl<T: Point> RangeSet<T> {
    /// The empty set.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Every value.
    #[must_use]
    pub fn full() -> Self {
        Self { ranges: Ranges::All }
    }

    /// The values from `first` to `last`, both included; empty if `first > last`.
    #[must_use]
    pub fn range(first: T, last: T) -> Self {
        let ranges = match (first, last) {
            _ if first > last => Ranges::None,
            _ if (first, last) == (T::MIN, T::MAX) => Ranges::All,
            one => Ranges::One(one.into()),
        };
        Self { ranges }
    }

    /// The union of ranges in any order, overlapping or not.
    #[must_use]
    pub fn from_ranges(mut ranges: Vec<(T, T)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        T::sort(&mut ranges);
        ranges.dedup_by(|(first, last), previous| {
            let touches = previous.1.next().is_none_or(|after| *first <= after);
            if touches {
                previous.1 = previous.1.max(*last);
            }
            touches
        });
        Self::of(ranges)
    }

    /// Of ranges that are sorted, disjoint and not adjacent.
    fn of(ranges: Vec<(T, T)>) -> Self {
        match *ranges {
            [] => Self::empty(),
            [(first, last)] => Self::range(first, last),
            _ => Self { ranges: Ranges::Many(Arc::new(ranges)) },
        }
    }

    /// The ranges, ascending.
    #[must_use]
    pub fn ranges(&self) -> &[(T, T)] {
        match &self.ranges {
            Ranges::None => &[],
            Ranges::All => T::ALL,
            Ranges::One(one) => std::slice::from_ref(one.borrow()),
            Ranges::Many(ranges) => ranges,
        }
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges().is_empty()
    }

    /// Whether every value is in the set.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.ranges, Ranges::All)
    }

    /// Whether `value` is in the set.
    #[must_use]
    pub fn contains(&self, value: T) -> bool {
        let ranges = self.ranges();
        let after = ranges.partition_point(|&(first, _)| first <= value);
        after > 0 && value <= ranges[after - 1].1
    }

    /// What is in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other.clone(),
            (_, true) => self.clone(),
            _ => Self::from_ranges([self.ranges(), other.ranges()].concat()),
        }
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        if self.is_full() || other.is_full() {
            return if self.is_full() { other.clone() } else { self.clone() };
        }
        let [few, many] = self.fewer_first(other);
        let (mut rest, mut ranges) = (many.ranges(), Vec::new());
        for &(first, last) in few.ranges() {
            rest = from(rest, first);
            for &(start, end) in rest.iter().take_while(|&&(start, _)| start <= last) {
                ranges.push((first.max(start), last.min(end)));
            }
        }
        Self::of(ranges)
    }

    /// Both, the one of fewer ranges first.
    fn fewer_first<'a>(&'a self, other: &'a Self) -> [&'a Self; 2] {
        let is_first = self.ranges().len() <= other.ranges().len();
        if is_first { [self, other] } else { [other, self] }
    }

    /// What is not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges().len() + 1);
        let mut from = Some(T::MIN);
        for &(first, last) in self.ranges() {
            if let (Some(start), Some(end)) = (from, first.prev())
                && start <= end
            {
                ranges.push((start, end));
            }
            from = last.next();
        }
        if let Some(start) = from {
            ranges.push((start, T::MAX));
        }
        Self::of(ranges)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        let mut rest = other.ranges();
        let mut ranges = Vec::new();
        for &(first, last) in self.ranges() {
            rest = from(rest, first);
            // What is left of this range begins here.
            let mut left = Some(first);
            for &(start, end) in rest.iter().take_while(|&&(start, _)| start <= last) {
                if let (Some(first), Some(last)) = (left, start.prev())
                    && first <= last
                {
                    ranges.push((first, last));
                }
                left = end.next();
            }
            if let Some(first) = left.filter(|&first| first <= last) {
                ranges.push((first, last));
            }
        }
        Self::of(ranges)
    }

    /// Whether everything in this set is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        let mut rest = other.ranges();
        // Ranges never touch, so one of the other set holds all of one of this.
        self.ranges().iter().all(|&(first, last)| {
            rest = from(rest, first);
            matches!(rest, [(from, to), ..] if *from <= first && last <= *to)
        })
    }

    /// Whether nothing is in both sets.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        let [few, many] = self.fewer_first(other);
        let mut rest = many.ranges();
        few.ranges().iter().all(|&(first, last)| {
            rest = from(rest, first);
            rest.first().is_none_or(|&(from, _)| last < from)
        })
    }
}

/// The ranges that do not end before `first`: soon found if it is one of the next.
fn from<T: Point>(ranges: &[(T, T)], first: T) -> &[(T, T)] {
    let ends_before = |&(_, last): &(T, T)| last < first;
    let mut near = 1;
    while ranges.get(near).is_some_and(ends_before) {
        near *= 2;
    }
    let near = &ranges[..ranges.len().min(near + 1)];
    &ranges[near.partition_point(ends_before)..]
}

/// A set of services: ranges of [`ServiceIndex`](firewall_common::service::ServiceIndex) values.
pub type ServiceSet = RangeSet<u32>;

/// A set of addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddrSet {
    /// IPv4 addresses as host-order integers.
    pub v4: RangeSet<u32>,
    /// IPv6 addresses as host-order integers.
    pub v6: RangeSet<u128>,
}

macro_rules! both {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self, other: &Self) -> Self {
            Self { v4: self.v4.$name(&other.v4), v6: self.v6.$name(&other.v6) }
        }
    )*};
}

impl AddrSet {
    /// No address.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Every address of both families: `any`.
    #[must_use]
    pub fn any() -> Self {
        Self { v4: RangeSet::full(), v6: RangeSet::full() }
    }

    /// The network `address/length`; host bits are ignored, `length` is capped
    /// at the family's width.
    #[must_use]
    pub fn network(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                let first = u32::from(address) & !host;
                Self { v4: RangeSet::range(first, first | host), v6: RangeSet::empty() }
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                let first = u128::from(address) & !host;
                Self { v4: RangeSet::empty(), v6: RangeSet::range(first, first | host) }
            }
        }
    }

    /// Whether no address of either family is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether every address of both families is in the set.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.v4.is_full() && self.v6.is_full()
    }

    /// Whether `address` is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }

    /// Whether everything in this set is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.v4.is_subset(&other.v4) && self.v6.is_subset(&other.v6)
    }

    /// Whether nothing is in both sets.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.v4.is_disjoint(&other.v4) && self.v6.is_disjoint(&other.v6)
    }

    both! {
        /// What is in either set.
        union,
        /// What is in both sets.
        intersect,
        /// What is in this set and not in the other.
        subtract
    }

    /// What is in any of the sets.
    #[must_use]
    pub fn union_all(sets: &[Self]) -> Self {
        if let [one] = sets {
            return one.clone();
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend_from_slice(set.v4.ranges());
            v6.extend_from_slice(set.v6.ranges());
        }
        Self { v4: RangeSet::from_ranges(v4), v6: RangeSet::from_ranges(v6) }
    }

    /// The lowest address of the set, IPv4 first: a witness for messages.
    #[must_use]
    pub fn first(&self) -> Option<IpAddr> {
        let v4 = self.v4.ranges().first().map(|&(a, _)| IpAddr::V4(Ipv4Addr::from(a)));
        v4.or_else(|| self.v6.ranges().first().map(|&(a, _)| IpAddr::V6(Ipv6Addr::from(a))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_are_sorted_as_few_are() {
        let firsts = (1_u32..).map(|n| n.wrapping_mul(0x9e37_79b1).rotate_left(n % 32));
        let firsts: Vec<u32> = firsts.take(2 * MANY).collect();
        for spread in [u32::MAX, 0xffff, 0x00ff_f000, 1] {
            let mut ranges: Vec<_> = (0..).zip(&firsts).map(|(n, at)| (at & spread, n)).collect();
            let mut compared = ranges.clone();
            by_digits(&mut ranges);
            by_comparing(&mut compared);
            assert!(ranges == compared, "{spread:x}");
        }
    }

    proptest! {
        #[test]
        fn questions_agree_with_the_sets_they_are_about(
            a in vec((0_u32..60, 0_u32..8), 0..12),
            b in vec((0_u32..60, 0_u32..30), 0..12),
        ) {
            let set = |ranges: Vec<(u32, u32)>| {
                RangeSet::from_ranges(ranges.iter().map(|&(at, more)| (at, at + more)).collect())
            };
            let (a, b) = (set(a), set(b));
            prop_assert_eq!(a.is_subset(&b), a.subtract(&b).is_empty());
            prop_assert_eq!(a.is_disjoint(&b), a.intersect(&b).is_empty());
            prop_assert_eq!(b.is_disjoint(&a), a.is_disjoint(&b));
            prop_assert!(a.intersect(&b).is_subset(&a) && a.subtract(&b).is_disjoint(&b));
            for value in 0..100 {
                let (in_a, in_b) = (a.contains(value), b.contains(value));
                prop_assert_eq!(a.intersect(&b).contains(value), in_a && in_b);
                prop_assert_eq!(a.subtract(&b).contains(value), in_a && !in_b);
                prop_assert_eq!(a.union(&b).contains(value), in_a || in_b);
                prop_assert_eq!(a.complement().contains(value), !in_a);
            }
            prop_assert_eq!(a.subtract(&b), a.intersect(&b.complement()));
        }
    }
}
