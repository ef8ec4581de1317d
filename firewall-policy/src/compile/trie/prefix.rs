//! Prefixes, and regions that few of them make.

/// Consecutive addresses of one class.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) class: u32,
}

/// The addresses that share their first `length` bits with `bits`.
#[derive(Clone, Copy)]
pub(super) struct Prefix {
    pub(super) bits: u128,
    pub(super) length: u32,
}

/// A class painted over what was there.
pub(super) type Paint = (Prefix, u32);

/// Up to two of them.
pub(super) type Paints = [Option<Paint>; 2];

/// Runs of a region that at most two prefixes can make.
pub(super) const FEW: usize = 5;

/// Spans that make up a region, as at most two prefixes painted on a background,
/// if that can be: the background, and what is painted, in that order.
pub(super) fn few(spans: &[Span]) -> Option<(u32, Paints)> {
    // Most often by far: one odd prefix.
    if let [head, odd, tail] = spans
        && head.class == tail.class
        && let Some(prefix) = exact(odd.first, odd.last)
    {
        return Some((head.class, [Some((prefix, odd.class)), None]));
    }
    let mut found: Option<(u32, Paints)> = None;
    for (place, span) in spans.iter().enumerate() {
        let is_tried = spans[..place].iter().any(|before| before.class == span.class);
        if is_tried || found.is_some_and(|(_, paints)| paints[1].is_none()) {
            continue;
        }
        if let Some(paints) = paint(spans, span.class)
            && (found.is_none() || paints[1].is_none())
        {
            found = Some((span.class, paints));
        }
    }
    found
}

/// Spans as at most two prefixes painted on a background.
fn paint(spans: &[Span], background: u32) -> Option<Paints> {
    if let Some(paints) = side_by_side(spans, background) {
        return Some(paints);
    }
    // One in the other.
    let mut odd = spans.iter().enumerate().filter(|(_, span)| span.class != background);
    let (start, first) = odd.next()?;
    let (end, last) = odd.next_back()?;
    let outer = exact(first.first, last.last)?;
    [first.class, last.class].into_iter().find_map(|class| {
        match side_by_side(&spans[start..=end], class)? {
            [inner, None] => Some([Some((outer, class)), inner]),
            _ => None,
        }
    })
}

/// Spans as at most two disjoint prefixes painted on a background.
fn side_by_side(spans: &[Span], background: u32) -> Option<Paints> {
    let mut paints = [None; 2];
    let mut free = paints.iter_mut();
    for span in spans.iter().filter(|span| span.class != background) {
        let mut first = span.first;
        loop {
            let prefix = longest_start(first, span.last);
            *free.next()? = Some((prefix, span.class));
            let last = prefix.bits | below(prefix.length);
            if last == span.last {
                break;
            }
            first = last + 1;
        }
    }
    Some(paints)
}

/// The largest prefix that starts at `first` and does not pass `last`.
fn longest_start(first: u128, last: u128) -> Prefix {
    let room = last - first;
    // The largest power of two in `room + 1` addresses.
    let fits = if room == u128::MAX { 128 } else { (room + 1).ilog2() };
    Prefix { bits: first, length: 128 - first.trailing_zeros().min(fits) }
}

/// The prefix that is exactly `first..=last`.
fn exact(first: u128, last: u128) -> Option<Prefix> {
    let prefix = common(first, last);
    let is_exact = prefix.bits == first && prefix.bits | below(prefix.length) == last;
    is_exact.then_some(prefix)
}

/// The longest prefix of both.
pub(super) fn common(first: u128, last: u128) -> Prefix {
    let length = (first ^ last).leading_zeros();
    Prefix { bits: first & !below(length), length }
}

/// The bits behind the first `length`.
pub(super) fn below(length: u32) -> u128 {
    u128::MAX.checked_shr(length).unwrap_or(0)
}
