//! What one chain says of every tuple of classes.
//!
//! A tuple is a *row* (an address class on one side) and a *column* (a service
//! class). Of the rules that hold for a tuple, the one of lowest rank decides:
//!
//! - rules for any address give each side a *base*, a rank per column;
//! - rules for any service give each row a rank of its own;
//! - rules that name both give single pairs.
//!
//! Only service classes whose verdict depends on anything have a column; for the
//! others the service table holds the cell itself.

use firewall_common::abi::tables::{Cell, ServiceWord, Setting};

use super::address::AddressClasses;
use super::context::Contexts;
use super::error::CompileError;
use super::generation::List;
use super::lists::{Lists, word};
use super::reply;
use super::resolve::{Rank, Ranked, Ranks};
use super::room::Room;
use super::service::ServiceClasses;
use super::sides::Sides;
use super::slots::Assignment;
use crate::ir::{Action, Count, Direction, Log};

/// No rule.
pub(super) const NOBODY: Rank = Rank::MAX;

/// Not a column.
const FINAL: u32 = u32::MAX;

/// Ranks of all bases together, at most: 1 GiB.
const BASES_MAX: usize = 1 << 28;

/// What differs in a row from the base of its side.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Best rule for any service, or [`NOBODY`].
    pub(super) rank: Rank,
    /// Columns that neither this nor the base gets right, and the rule there.
    pub(super) pairs: Vec<(u32, Rank)>,
}

/// Room for the work on a row, so that rows need no memory of their own.
#[derive(Debug)]
pub(super) struct Scratch {
    best: Vec<Rank>,
    touched: Vec<u32>,
    /// One row per context, for replies.
    pub(super) rows: Vec<Row>,
}

/// A rule that names an address set as remote end, and what it asks beside.
#[derive(Clone, Copy, Debug)]
struct Asked {
    rank: Rank,
    /// First and one past the last of its columns; `None` for all.
    columns: Option<(u32, u32)>,
    /// A local end, an interface, a VLAN or flags.
    asks_side: bool,
}

/// One chain, ready to answer.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    rules: &'a [Ranked<'a>],
    /// What a row asks of the rules of [`Self::rules_of_set`], in their order and apart: rules
    /// are many, and far from each other.
    asked: Vec<Asked>,
    /// By rank, whether a rule counts requests: apart as well, since few do and each cell asks.
    counting: Vec<bool>,
    /// Cell by rank, the default's last; without the count kind.
    cells: Vec<u32>,
    services: ServiceClasses,
    /// Service class of each column.
    columns: Vec<u32>,
    /// Address classes that no address is of, columns that no service class has.
    spare: [usize; 2],
    /// Column of each service class, or [`FINAL`].
    column_of: Vec<u32>,
    /// For each service set, its columns.
    columns_of_set: Lists,
    /// For each address class, the address sets that hold it.
    addresses: &'a Lists,
    /// For each address set, the rules with it as remote end, by rank.
    rules_of_set: Lists,
    pub(super) sides: Sides<'a>,
    /// Best rule for any address, by side and service class.
    base: Vec<Vec<Rank>>,
    /// By local class, where answers to replies need more than a base: the
    /// columns whose base differs between contexts.
    uneven: Vec<Vec<u32>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        ranks: &'a Ranks<'a>,
        addresses: &'a AddressClasses,
        address_sets: usize,
        contexts: &'a Contexts,
        slots: &[Assignment],
        (seed, room): (u32, Room<'_>),
    ) -> Result<Self, CompileError> {
        let services = ServiceClasses::new(ranks.services.values(), seed)?;
        let named = (0..).zip(&ranks.rules).filter_map(|(rank, rule)| Some((rule.remote?, rank)));
        let rules_of_set = Lists::from_pairs(address_sets, named);
        let classes = services.count();
        let [columns, locals] = match ranks.direction {
            Direction::Ingress => [Setting::ServiceClassesIngress, Setting::LocalClassesIngress],
            Direction::Egress => [Setting::ServiceClassesEgress, Setting::LocalClassesEgress],
        };
        let mut judge = Self {
            rules: &ranks.rules,
            asked: Vec::new(),
            counting: ranks.rules.iter().map(|rule| !rule.counts.is_empty()).collect(),
            cells: cells(ranks, slots),
            columns: Vec::new(),
            spare: [addresses.spare, 0],
            column_of: vec![FINAL; classes],
            columns_of_set: Lists::default(),
            addresses: &addresses.members,
            rules_of_set,
            sides: Sides::new(&ranks.rules, &addresses.members, contexts, (room, locals)),
            base: Vec::new(),
            uneven: Vec::new(),
            services,
        };
        let sides = judge.sides.count();
        if sides.saturating_mul(classes) > BASES_MAX {
            return Err(CompileError::Combinations { sides, services: classes });
        }
        judge.base = (0..judge.sides.asked()).map(|side| judge.base_of(side)).collect();
        judge.choose_columns(|count| room.columns(columns, count));
        judge.asked =
            judge.rules_of_set.entries().iter().map(|&rank| judge.asked_of(rank)).collect();
        reply::add(&mut judge);
        Ok(judge)
    }

    /// How many rules the chain has.
    pub(super) fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Rows: address classes times sides.
    pub(super) fn rows(&self) -> usize {
        self.sides.count() * self.addresses.len()
    }

    /// Address classes, and room.
    pub(super) fn address_classes(&self) -> usize {
        self.addresses.len()
    }

    /// Columns: service classes whose verdict depends on anything, and room.
    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Address classes and columns that something is of, for people.
    pub(super) fn classes(&self) -> [usize; 2] {
        let [addresses, columns] = self.spare;
        [self.addresses.len() - addresses, self.columns.len() - columns]
    }

    /// Pairs of all rows together, those counted twice that several rules name.
    pub(super) fn pairs_max(&self) -> u64 {
        let columns = |rank: &u32| {
            let services = self.rules[*rank as usize].services;
            services.map_or(0, |set| self.columns_of_set.of(set).len() as u64)
        };
        let of_set = |set| self.rules_of_set.of(set).iter().map(columns).sum();
        let of_set: Vec<u64> = (0..word(self.rules_of_set.len())).map(of_set).collect();
        let pairs: u64 = self.addresses.pairs().map(|(_, set)| of_set[set as usize]).sum();
        pairs.saturating_mul(self.sides.count() as u64)
    }

    /// Whether the service table must have the ports of SCTP.
    pub(super) fn tells_sctp(&self) -> bool {
        self.services.tells_sctp()
    }

    /// Writes the service table.
    pub(super) fn fill_services(&self, table: &mut [u32]) {
        let default = word(self.rules.len());
        let is_blank = self.is_blank();
        self.services.fill(table, |class| match self.column_of[class as usize] {
            FINAL => ServiceWord::FINAL | self.cell_of_class(self.base[0][class as usize], class),
            column => {
                let unnamed =
                    is_blank && self.base.iter().all(|base| base[class as usize] == default);
                column | if unnamed { ServiceWord::UNNAMED } else { 0 }
            }
        });
    }

    /// Whether address class 0 has nothing of its own, on any side.
    fn is_blank(&self) -> bool {
        let (mut scratch, mut row) = (self.scratch(), Row::default());
        (0..self.sides.count()).all(|side| {
            self.row(side, 0, &mut scratch, &mut row);
            row.rank == NOBODY && row.pairs.is_empty()
        })
    }

    /// The best rule for any address.
    pub(super) fn base(&self, side: usize, column: u32) -> Rank {
        self.base[side][self.columns[column as usize] as usize]
    }

    /// The cell of a rule in a column.
    pub(super) fn cell(&self, rank: Rank, column: u32) -> u32 {
        self.cell_of_class(rank, self.columns[column as usize])
    }

    /// The cell of a rule for services that it does not count.
    pub(super) fn plain_cell(&self, rank: Rank) -> u32 {
        self.cells.get(rank as usize).copied().unwrap_or_default()
    }

    fn cell_of_class(&self, rank: Rank, class: u32) -> u32 {
        let cell = self.cells[rank as usize];
        if !self.counting.get(rank as usize).is_some_and(|counts| *counts) {
            return cell;
        }
        let mut counts = self.rules[rank as usize].counts.iter();
        let counted = counts.find(|&&(set, _)| self.services.of_set.contains(set, class));
        cell | counted.map_or(0, |&(_, count)| kind(count)) << Cell::COUNT_SHIFT
    }

    fn asked_of(&self, rank: Rank) -> Asked {
        let rule = &self.rules[rank as usize];
        let columns = rule.services.map(|set| {
            let places = self.columns_of_set.places(set);
            (word(places.start), word(places.end))
        });
        Asked { rank, columns, asks_side: rule.local.is_some() || rule.asks_context() }
    }

    /// The rules that name an address class as remote end.
    pub(super) fn naming(&self, class: u32) -> impl Iterator<Item = Rank> + '_ {
        let sets = self.addresses.of(class).iter();
        sets.flat_map(|&set| self.rules_of_set.of(set).iter().copied())
    }

    /// The local classes that a rule is about; `None` for all.
    pub(super) fn locals_of(&self, rank: Rank) -> Option<&[u32]> {
        self.rules[rank as usize].local.map(|set| self.sides.held_by(set))
    }

    /// The columns that a rule is about; `None` for all.
    pub(super) fn columns_of(&self, rank: Rank) -> Option<&[u32]> {
        self.rules[rank as usize].services.map(|set| self.columns_of_set.of(set))
    }

    /// Sets of services of which a rule counts requests.
    pub(super) fn counts(&self, rank: Rank) -> usize {
        self.rules[rank as usize].counts.len()
    }

    /// The sets that a rule names as remote and as local end; `None` for any address.
    pub(super) fn ends_of(&self, rank: Rank) -> (Option<u32>, Option<u32>) {
        let rule = &self.rules[rank as usize];
        (rule.remote, rule.local)
    }

    /// For each address set, the classes that it holds, ascending.
    pub(super) fn classes_of_sets(&self) -> Lists {
        self.addresses.inverted(self.rules_of_set.len())
    }

    /// Room for the work on this chain's rows.
    pub(super) fn scratch(&self) -> Scratch {
        Scratch { best: vec![NOBODY; self.columns()], touched: Vec::new(), rows: Vec::new() }
    }

    /// Works out a row: what an address class on a side has of its own.
    pub(super) fn row(&self, side: usize, class: u32, scratch: &mut Scratch, row: &mut Row) {
        match self.sides.reply(side) {
            Some(local) => reply::row(self, local, class, scratch, row),
            None => self.asked_row(side, class, scratch, row),
        }
    }

    /// Works out a row of a side on which interface, VLAN and flags are known.
    pub(super) fn asked_row(&self, side: usize, class: u32, scratch: &mut Scratch, row: &mut Row) {
        row.rank = NOBODY;
        row.pairs.clear();
        for &set in self.addresses.of(class) {
            for &Asked { rank, columns, asks_side } in &self.asked[self.rules_of_set.places(set)] {
                if rank > row.rank {
                    break;
                }
                if asks_side && !self.sides.admit(side, &self.rules[rank as usize]) {
                    continue;
                }
                let Some((first, end)) = columns else {
                    row.rank = rank;
                    continue;
                };
                for &column in &self.columns_of_set.entries()[first as usize..end as usize] {
                    let best = &mut scratch.best[column as usize];
                    if *best == NOBODY {
                        scratch.touched.push(column);
                    }
                    *best = rank.min(*best);
                }
            }
        }
        self.add_counted(side, scratch, row);
        for column in scratch.touched.drain(..) {
            let best = std::mem::replace(&mut scratch.best[column as usize], NOBODY);
            if best < row.rank && best < self.base(side, column) {
                row.pairs.push((column, best));
            }
        }
    }

    /// A rule for any service that counts some of them: its cells are not all
    /// alike, so those where it counts are pairs.
    fn add_counted(&self, side: usize, scratch: &Scratch, row: &mut Row) {
        let Some(rule) = self.rules.get(row.rank as usize) else { return };
        for &(set, _) in &rule.counts {
            for &column in self.columns_of_set.of(set) {
                let others = scratch.best[column as usize].min(self.base(side, column));
                if row.rank < others {
                    row.pairs.push((column, row.rank));
                }
            }
        }
    }

    /// The best rule for any address, by service class.
    fn base_of(&self, side: usize) -> Vec<Rank> {
        let default = word(self.rules.len());
        let holds = |rule: &Ranked<'_>| rule.remote.is_none() && self.sides.admit(side, rule);
        let first_for_all =
            self.rules.iter().position(|rule| rule.services.is_none() && holds(rule));
        let floor = first_for_all.map_or(default, word);
        let mut base = vec![floor; self.services.count()];
        for rank in (0..floor).rev() {
            let rule = &self.rules[rank as usize];
            if let Some(services) = rule.services.filter(|_| holds(rule)) {
                for &class in self.services.of_set.of(services) {
                    base[class as usize] = rank;
                }
            }
        }
        base
    }

    /// Gives a column to each service class on which sides or addresses differ.
    fn choose_columns(&mut self, with_room: impl Fn(usize) -> usize) {
        let mut depends = vec![false; self.services.count()];
        for base in &self.base {
            for (class, depends) in depends.iter_mut().enumerate() {
                *depends |= base[class] != self.base[0][class];
            }
        }
        for (side, base) in self.base.iter().enumerate() {
            if depends.iter().all(|depends| *depends) {
                break;
            }
            let mut for_all = NOBODY;
            for (rank, rule) in (0..).zip(self.rules) {
                if rule.remote.is_none() || !self.sides.admit(side, rule) {
                    continue;
                }
                match rule.services {
                    None => for_all = for_all.min(rank),
                    Some(services) => {
                        for &class in self.services.of_set.of(services) {
                            depends[class as usize] |= rank < base[class as usize];
                        }
                    }
                }
            }
            for (depends, base) in depends.iter_mut().zip(base) {
                *depends |= for_all < *base;
            }
        }
        for (class, _) in depends.iter().enumerate().filter(|(_, depends)| **depends) {
            self.column_of[class] = word(self.columns.len());
            self.columns.push(word(class));
        }
        let spare = with_room(self.columns.len()) - self.columns.len();
        let first = self.columns.first().copied().unwrap_or_default();
        self.columns.extend(std::iter::repeat_n(first, spare));
        self.spare[1] = spare;
        let with_column = |&(_, class): &(u32, u32)| self.column_of[class as usize] != FINAL;
        let columns = self.services.of_set.pairs().filter(with_column);
        let columns = columns.map(|(set, class)| (set, self.column_of[class as usize]));
        self.columns_of_set = Lists::from_pairs(self.services.of_set.len(), columns);
    }

    /// How a rule's word would be received where several contexts have one; the
    /// lowest is the most welcome, see [`reply`].
    pub(super) fn welcome(&self, rank: Rank) -> u8 {
        match self.rules.get(rank as usize).map(|rule| rule.list) {
            Some(List::Failsafe) => 0,
            Some(List::Allow) => 1,
            None => 2,
            Some(List::Deny) => 3,
        }
    }

    /// Columns whose base differs between contexts, for a local class.
    pub(super) fn uneven(&self, local: usize) -> &[u32] {
        &self.uneven[local]
    }

    /// Adds the side of replies to a local class.
    pub(super) fn add_reply_side(&mut self, base: Vec<Rank>, uneven: Vec<u32>) {
        self.base.push(base);
        self.uneven.push(uneven);
    }

    /// Base of a side by service class.
    pub(super) fn base_by_class(&self, side: usize) -> &[Rank] {
        &self.base[side]
    }

    /// Service class of each column.
    pub(super) fn classes_of_columns(&self) -> &[u32] {
        &self.columns
    }
}

/// The cell of each rule, and of the default.
fn cells(ranks: &Ranks<'_>, slots: &[Assignment]) -> Vec<u32> {
    let of_rule = |(rule, assigned): (&Ranked<'_>, &Assignment)| {
        let action = match rule.list {
            List::Failsafe => Cell::FAILSAFE | Cell::ALLOW,
            List::Deny => 0,
            List::Allow => Cell::ALLOW,
        };
        let log = match rule.rule.log {
            Log::Default => 0,
            Log::Off => Cell::QUIET,
            Log::Sampled => Cell::SAMPLE,
        };
        assigned.slot | action | log
    };
    let default = match ranks.chain.default {
        Action::Allow => Cell::NO_SLOT | Cell::DEFAULT | Cell::ALLOW,
        Action::Drop => Cell::NO_SLOT | Cell::DEFAULT,
    };
    ranks.rules.iter().zip(slots).map(of_rule).chain([default]).collect()
}

/// The number of a count kind in a cell.
pub(super) const fn kind(count: Count) -> u32 {
    use firewall_common::request::Kind;
    let kind = match count {
        Count::Http1 => Kind::Http1,
        Count::Tls => Kind::Tls,
        Count::Mysql => Kind::Mysql,
        Count::Dns => Kind::Dns,
    };
    kind as u32
}
