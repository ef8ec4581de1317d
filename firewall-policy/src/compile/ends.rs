//! Rows of lines with a wide end, see [`firewall_common::lines`].

use firewall_common::lines::{End, Shape};

use super::judge::Judge;
use super::lines::Lines;
use super::lists::word;
use super::pairs::Pairs;
use super::rows::{self, Rows};
use super::wide::Wide;

/// A row for each wide class.
type OfWide = [u32; End::WIDE_MAX as usize];

/// The ends of a chain's rules.
#[derive(Debug)]
pub(super) struct Ends {
    remote: Wide,
    local: Wide,
    /// For each class of addresses, then for each side, what stands for the rows that it has
    /// with each wide class of the other end.
    rows: Vec<OfWide>,
}

impl Ends {
    /// Ends of which none is wide.
    pub(super) fn narrow(judge: &Judge<'_>) -> Self {
        let remote = Wide::none(judge.address_classes());
        let local = Wide::none(judge.sides.locals());
        let rows = vec![[0; _]; judge.address_classes() + judge.sides.locals()];
        Self { remote, local, rows }
    }

    /// Without rows yet.
    pub(super) fn new(judge: &Judge<'_>, lines: &Lines<'_>) -> Self {
        let ends = || (0..word(judge.rules())).map(|rank| judge.ends_of(rank));
        let remotes = ends().filter_map(|(remote, _)| Some((remote?, lines.remotes(remote?))));
        let locals = ends().filter_map(|(_, local)| Some((local?, judge.sides.held_by(local?))));
        Self {
            remote: Wide::new(judge.address_classes(), remotes),
            local: Wide::new(judge.sides.locals(), locals),
            rows: Vec::new(),
        }
    }

    /// How many classes the narrow ends of all rules hold together: steps to be taken.
    pub(super) fn steps(&self, judge: &Judge<'_>, lines: &Lines<'_>) -> usize {
        let held = |rank| {
            let (remote, local) = judge.ends_of(rank);
            let remote = remote.filter(|&set| !self.remote.has(Some(set)));
            let local = local.filter(|&set| !self.local.has(Some(set)));
            remote.map_or(0, |set| lines.remotes(set).len())
                + local.map_or(0, |set| judge.sides.held_by(set).len())
        };
        (0..word(judge.rules())).map(held).sum()
    }

    /// Which rules have such ends: whether remote and local are wide.
    pub(super) fn with(&self, judge: &Judge<'_>, wide: [bool; 2]) -> Vec<bool> {
        let is_one = |rank| {
            let (remote, local) = judge.ends_of(rank);
            [self.remote.has(remote), self.local.has(local)] == wide
        };
        (0..word(judge.rules())).map(is_one).collect()
    }

    /// Finds the rows that an end has with each wide class of the other, and adds those that
    /// are new.
    pub(super) fn find_rows(&mut self, judge: &Judge<'_>, lines: &Lines<'_>, rows: &mut Rows) {
        let remotes = lines.ranks_of_remotes(judge, &self.with(judge, [false, true]));
        let locals = Lines::ranks_of_locals(judge, &self.with(judge, [true, false]));
        let remotes = (0..word(remotes.len())).map(|class| {
            let holds = |rank, wide| self.local.holds(judge.ends_of(rank).1, wide);
            of_wide(remotes.of(class), (lines, rows), self.local.count(), holds)
        });
        let mut found: Vec<OfWide> = remotes.collect();
        found.extend((0..word(locals.len())).map(|class| {
            let holds = |rank, wide| self.remote.holds(judge.ends_of(rank).0, wide);
            of_wide(locals.of(class), (lines, rows), self.remote.count(), holds)
        }));
        self.rows = found;
    }

    /// Rows of an end.
    pub(super) fn rows(&self) -> u32 {
        self.remote.count().max(self.local.count())
    }

    /// Which kinds of lines with a wide end there are, bits of [`Shape`].
    pub(super) fn kinds(&self, judge: &Judge<'_>) -> u32 {
        let kinds = [
            ([true, true], Shape::BOTH_WIDE),
            ([false, true], Shape::LOCAL_WIDE),
            ([true, false], Shape::REMOTE_WIDE),
        ];
        let are_there = |wide| self.with(judge, wide).contains(&true);
        kinds.into_iter().filter(|(wide, _)| are_there(*wide)).map(|(_, kind)| kind).sum()
    }

    /// Words of both tables.
    pub(super) fn words(&self, shape: Shape, columns: usize) -> usize {
        self.rows.len() * shape.end_words() as usize + wide_words(shape, columns)
    }

    /// The ends, with what each adds to the number of a pair.
    pub(super) fn ends(&self, judge: &Judge<'_>, pairs: Option<&Pairs>, shape: Shape) -> Vec<u32> {
        let added = pairs.map_or(Vec::new(), |pairs| [&pairs.remote[..], &pairs.local].concat());
        let classes = word(judge.address_classes());
        let mut words = Vec::with_capacity(self.rows.len() * shape.end_words() as usize);
        for (number, rows) in (0..).zip(&self.rows) {
            let local = u32::checked_sub(number, classes);
            let wide = local.map_or_else(|| self.remote.of(number), |local| self.local.of(local));
            let pair = added.get(number as usize).copied().unwrap_or_default();
            let end = [pair, wide].into_iter().chain(rows.iter().copied());
            words.extend(end.take(shape.end_words() as usize));
        }
        words
    }

    /// The lines of pairs of wide classes.
    pub(super) fn wide(&self, (judge, lines): (&Judge<'_>, &Lines<'_>), shape: Shape) -> Vec<u32> {
        let mut words = vec![lines.last(); wide_words(shape, judge.columns())];
        if words.is_empty() {
            return words;
        }
        let wide: Vec<u32> = (0..)
            .zip(self.with(judge, [true, true]))
            .filter_map(|(rank, is_wide)| is_wide.then_some(rank))
            .collect();
        for (remote, local) in each_pair(self.remote.count(), self.local.count()) {
            let holds = |rank: &&u32| {
                let (remote_end, local_end) = judge.ends_of(**rank);
                self.remote.holds(remote_end, remote) && self.local.holds(local_end, local)
            };
            let held = wide.iter().filter(holds).flat_map(|&rank| lines.of_rule(rank));
            let place = (remote * shape.rows() + local) as usize * judge.columns();
            rows::fill(&mut words[place..][..judge.columns()], held.copied(), lines);
        }
        words
    }
}

/// Words of the lines of pairs of wide classes.
fn wide_words(shape: Shape, columns: usize) -> usize {
    if shape.has(Shape::BOTH_WIDE) { shape.rows().pow(2) as usize * columns } else { 0 }
}

/// The rows of rules with one narrow end, for each of so many wide classes of the other.
fn of_wide(
    ranks: &[u32],
    (lines, rows): (&Lines<'_>, &mut Rows),
    count: u32,
    holds: impl Fn(u32, u32) -> bool,
) -> OfWide {
    let mut of_wide: OfWide = [0; _];
    let count = if ranks.is_empty() { 0 } else { count };
    for (row, wide) in of_wide.iter_mut().zip(0..count) {
        let held = ranks.iter().filter(|rank| holds(**rank, wide));
        let held: Vec<u32> = held.flat_map(|&rank| lines.of_rule(rank)).copied().collect();
        *row = rows.word(&held, lines);
    }
    of_wide
}

/// Every pair of numbers below these.
fn each_pair(firsts: u32, seconds: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..firsts).flat_map(move |first| (0..seconds).map(move |second| (first, second)))
}
