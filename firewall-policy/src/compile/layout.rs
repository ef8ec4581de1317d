//! Where in the words what stands, worked out before any is written.

use firewall_common::abi::tables::{Row as RowWords, Setting};
use firewall_common::service::ServiceIndex;

use super::address::AddressClasses;
use super::cells::{self, Form};
use super::context::Contexts;
use super::hosts::{self, Filter, NETWORKS_MAX};
use super::judge::Judge;
use super::lists::word;
use super::parallel;
use super::room::Room;
use super::trie::{self, Address as _, ROOT, Tally};

/// Sections begin at a cache line: a compare record never straddles two.
const ALIGN: usize = 16;

/// Words of the bitmap: a bit per /24.
const BITMAP: usize = 1 << 19;

/// A run of words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Section {
    first: usize,
    words: usize,
    /// Words until the next section.
    room: usize,
}

impl Section {
    /// Number of the first word; 0 if there is none, nor room.
    fn first(self) -> u32 {
        if self.room == 0 { 0 } else { word(self.first) }
    }

    /// Bytes of the section, with its room.
    pub(super) fn bytes(self) -> u64 {
        4 * self.room as u64
    }

    /// The section in words that begin at word `base` of the tables.
    fn of(self, words: &mut [u32], base: usize) -> &mut [u32] {
        &mut words[self.first - base..][..self.words]
    }
}

/// Where the next section begins.
struct Place<'r> {
    next: usize,
    room: Room<'r>,
}

impl Place<'_> {
    /// A section that is as long for every policy, or doubles.
    fn fixed(&mut self, words: usize) -> Section {
        self.take(words, words)
    }

    /// A section that a rule more makes longer, and where it begins is what a setting says.
    fn growing(&mut self, beginning: Setting, words: usize) -> Section {
        self.take(words, self.room.section(beginning, words))
    }

    /// The same for either direction.
    fn both(&mut self, beginnings: [Setting; 2], words: [usize; 2]) -> [Section; 2] {
        let [ingress, egress] = beginnings;
        [self.growing(ingress, words[0]), self.growing(egress, words[1])]
    }

    /// Blocks, of which a policy may have none.
    fn blocks(&mut self, words: usize) -> Section {
        self.take(words, self.room.perhaps_empty(Setting::Blocks, words))
    }

    fn take(&mut self, words: usize, room: usize) -> Section {
        let section = Section { first: self.next, words, room: room.next_multiple_of(ALIGN) };
        self.next += section.room;
        section
    }
}

/// What goes into the tables.
pub(super) struct Parts<'a> {
    pub(super) addresses: &'a AddressClasses,
    pub(super) tries: &'a Tries,
    pub(super) contexts: &'a Contexts,
    /// Ingress, egress.
    pub(super) chains: [(&'a Judge<'a>, &'a Form); 2],
    /// Request slot by rule slot; empty if nothing counts requests.
    pub(super) request_slots: &'a [u32],
    pub(super) seed: u32,
    pub(super) room: Room<'a>,
}

/// The tries of both families, and their lone addresses.
#[derive(Debug)]
pub(super) struct Tries {
    v4: trie::Plan,
    /// None if every address is of class 0.
    v6: Option<trie::Plan>,
    hosts_v4: hosts::Table,
    hosts_v6: hosts::Table,
}

impl Tries {
    pub(super) fn new(addresses: &AddressClasses, seed: u32) -> Self {
        Self {
            v4: trie::Plan::new(&addresses.v4),
            v6: (!addresses.is_v4_only()).then(|| trie::Plan::new(&addresses.v6)),
            hosts_v4: hosts::Table::new(&addresses.hosts_v4, seed),
            hosts_v6: hosts::Table::new(&addresses.hosts_v6, seed),
        }
    }

    fn v6(&self) -> Tally {
        self.v6.as_ref().map(trie::Plan::tally).unwrap_or_default()
    }

    /// Words of the records of both families. Those of IPv6 begin where one of them can.
    fn compare_words(&self) -> [usize; 2] {
        let v4 = self.v4.tally().compare_words::<u32>().next_multiple_of(u128::RECORD);
        [v4, self.v6().compare_words::<u128>()]
    }

    /// Writes roots, blocks and records.
    fn write(&self, addresses: &AddressClasses, tables: [&mut [u32]; 4]) {
        let [root_v4, root_v6, blocks, compares] = tables;
        let v4 = self.v4.tally();
        let (blocks_v4, blocks_v6) = blocks.split_at_mut(v4.block_words());
        let [before, _] = self.compare_words();
        let (compares_v4, compares_v6) = compares.split_at_mut(before);
        self.v4.write(&addresses.v4, root_v4, blocks_v4, compares_v4, Tally::default());
        if let Some(v6) = &self.v6 {
            let before = Tally { compares: word(before / u128::RECORD), ..v4 };
            v6.write(&addresses.v6, root_v6, blocks_v6, compares_v6, before);
        }
    }
}

/// The sections of the tables, in their order.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root_v4: Section,
    pub(super) root_v6: Section,
    pub(super) blocks: Section,
    pub(super) compares: Section,
    /// Ingress, egress; as all pairs here.
    pub(super) services: [Section; 2],
    pub(super) bitmap: Section,
    filter_of: Filter,
    pub(super) filter: Section,
    /// IPv4, IPv6.
    pub(super) hosts: [Section; 2],
    /// Dense cells, those of combined classes or of lines, or the pairs of the sparse form.
    cells: [Section; 2],
    rows: [Section; 2],
    /// Of lines: the narrow part, pairs of wide classes, ends.
    columns: [Section; 2],
    combined: [Section; 2],
    lines: [Section; 2],
    /// Of lines: their shape, words of bits in a record, number of the last slot of pairs.
    of_lines: [[u32; 3]; 2],
    local: [Section; 2],
    interfaces: Section,
    vlans: Section,
    flags: Section,
    requests: Section,
    end: usize,
}

impl Layout {
    pub(super) fn new(parts: &Parts<'_>) -> Self {
        let mut place = Place { next: 0, room: parts.room };
        let (v4, v6) = (parts.tries.v4.tally(), parts.tries.v6());
        let sctp = parts.chains.iter().any(|(judge, _)| judge.tells_sctp());
        let services = if sctp { ServiceIndex::END } else { ServiceIndex::END_WITHOUT_SCTP };
        let (networks, bitmap) = shortcut(parts.addresses, v4);
        let filter_of = Filter::new(parts.addresses.lone(), networks);
        let hosts = [&parts.tries.hosts_v4, &parts.tries.hosts_v6];
        let forms = parts.chains.each_ref().map(|(judge, form)| match form {
            Form::Dense => [judge.rows() * judge.columns(), 0, 0, 0, 0],
            Form::Sparse(form) => [form.pairs.len(), form.rows.len(), form.columns.len(), 0, 0],
            Form::Combined(form) => [form.cells.len(), 0, 0, form.classes.len(), 0],
            Form::Lines(form) => {
                [&form.cells, &form.rows, &form.narrow, &form.wide, &form.ends].map(Vec::len)
            }
        });
        Self {
            root_v4: place.fixed(ROOT),
            root_v6: place.fixed(if parts.tries.v6.is_some() { ROOT } else { 0 }),
            blocks: place.blocks(v4.plus(v6).block_words()),
            compares: place.growing(Setting::Compares, parts.tries.compare_words().iter().sum()),
            services: [services; 2].map(|words| place.fixed(words as usize)),
            bitmap: place.fixed(bitmap),
            filter_of,
            filter: place.fixed(filter_of.words),
            hosts: hosts.map(|table| place.fixed(table.words.len())),
            cells: place.both(
                [Setting::CellsIngress, Setting::CellsEgress],
                forms.map(|[cells, ..]| cells),
            ),
            rows: place
                .both([Setting::RowsIngress, Setting::RowsEgress], forms.map(|[_, rows, ..]| rows)),
            columns: place.both(
                [Setting::ColumnsIngress, Setting::ColumnsEgress],
                forms.map(|[_, _, columns, ..]| columns),
            ),
            combined: place.both(
                [Setting::CombinedIngress, Setting::CombinedEgress],
                forms.map(|[.., combined, _]| combined),
            ),
            lines: place.both(
                [Setting::LinesIngress, Setting::LinesEgress],
                forms.map(|[.., lines]| lines),
            ),
            of_lines: parts.chains.map(|(_, form)| {
                form.of_lines()
                    .map_or([0; 3], |form| [form.shape.0, form.summaries, form.pair_mask])
            }),
            local: place.both(
                [Setting::LocalIngress, Setting::LocalEgress],
                parts.chains.map(|(judge, _)| judge.sides.local_of.len()),
            ),
            interfaces: place.growing(Setting::Ifaces, parts.contexts.interface_words().len()),
            vlans: place.fixed(parts.contexts.vlans.classes.len()),
            flags: place.fixed(parts.contexts.flags.classes.len()),
            requests: place.growing(Setting::RequestSlots, parts.request_slots.len()),
            end: place.next,
        }
    }

    /// Bytes of all sections.
    pub(super) fn bytes(&self) -> u64 {
        4 * self.end as u64
    }

    /// Bytes of the cells of a direction, in whatever form.
    pub(super) fn cell_bytes(&self, direction: usize) -> u64 {
        let sections = [self.cells, self.rows, self.columns, self.combined, self.lines];
        sections.into_iter().map(|section| section[direction].bytes()).sum()
    }

    /// Takes the memory and writes everything.
    pub(super) fn write(&self, parts: &Parts<'_>) -> Vec<u32> {
        let mut words = vec![0; self.end];
        // The tries first, as they take longest.
        let base = self.services[0].first;
        let (tries, rest) = words.split_at_mut(base);
        let is_worth_it = parts.addresses.v4.len() > 1 << 14;
        parallel::both(
            is_worth_it,
            || self.write_tries(parts, tries),
            || self.write_rest(parts, rest, base),
        );
        words
    }

    fn write_tries(&self, parts: &Parts<'_>, words: &mut [u32]) {
        let (root_v4, words) = words.split_at_mut(self.root_v6.first);
        let (root_v6, words) = words.split_at_mut(self.blocks.first - self.root_v6.first);
        let (blocks, compares) = words.split_at_mut(self.compares.first - self.blocks.first);
        parts.tries.write(parts.addresses, [root_v4, root_v6, blocks, compares]);
    }

    fn write_rest(&self, parts: &Parts<'_>, words: &mut [u32], base: usize) {
        let mut write = |section: Section, from: &[u32]| {
            section.of(words, base).copy_from_slice(from);
        };
        write(self.interfaces, &parts.contexts.interface_words());
        write(self.vlans, &parts.contexts.vlans.classes);
        write(self.flags, &parts.contexts.flags.classes);
        write(self.requests, parts.request_slots);
        write(self.hosts[0], &parts.tries.hosts_v4.words);
        write(self.hosts[1], &parts.tries.hosts_v6.words);
        for (direction, (judge, form)) in parts.chains.iter().enumerate() {
            write(self.local[direction], &judge.sides.local_of);
            match form {
                // Worked out in place, below.
                Form::Dense => {}
                Form::Sparse(form) => {
                    write(self.cells[direction], &form.pairs);
                    write(self.rows[direction], &form.rows);
                    write(self.columns[direction], &form.columns);
                }
                Form::Combined(form) => {
                    write(self.cells[direction], &form.cells);
                    write(self.combined[direction], &form.classes);
                }
                Form::Lines(form) => {
                    write(self.cells[direction], &form.cells);
                    write(self.rows[direction], &form.rows);
                    write(self.columns[direction], &form.narrow);
                    write(self.combined[direction], &form.wide);
                    write(self.lines[direction], &form.ends);
                }
            }
        }
        if self.bitmap.words != 0 {
            parts.addresses.mark(self.bitmap.of(words, base));
        }
        if self.filter.words != 0 {
            let filter = self.filter.of(words, base);
            self.filter_of.fill(parts.addresses, parts.seed, filter);
        }
        for (direction, (judge, form)) in parts.chains.iter().enumerate() {
            judge.fill_services(self.services[direction].of(words, base));
            if let Form::Dense = form {
                cells::fill_dense(judge, self.cells[direction].of(words, base));
            }
        }
    }

    /// The settings that say where everything is.
    pub(super) fn settings(&self, parts: &Parts<'_>) -> Vec<(Setting, u32)> {
        let [(ingress, _), (egress, _)] = &parts.chains;
        let Tries { hosts_v4, hosts_v6, .. } = parts.tries;
        let probes = hosts_v4.probes.max(hosts_v6.probes);
        let steps = |setting, tally: Tally, step| parts.room.steps(setting, tally.steps, step);
        vec![
            (Setting::TableWords, word(self.end)),
            (Setting::ServicesIngress, self.services[0].first()),
            (Setting::ServicesEgress, self.services[1].first()),
            (Setting::ServiceWords, word(self.services[0].words)),
            (Setting::RootV4, self.root_v4.first()),
            (Setting::RootV6, self.root_v6.first()),
            (Setting::Probes, RowWords::PROBES),
            (Setting::StepsV4, steps(Setting::StepsV4, parts.tries.v4.tally(), 2)),
            (Setting::StepsV6, steps(Setting::StepsV6, parts.tries.v6(), 4)),
            (Setting::Blocks, self.blocks.first()),
            (Setting::Compares, self.compares.first()),
            (Setting::Bitmap, self.bitmap.first()),
            (Setting::Filter, self.filter.first()),
            (Setting::FilterMask, word(self.filter.words).saturating_sub(1)),
            (Setting::FilterNetworks, self.filter_of.has_networks.into()),
            (Setting::HostsV4, self.hosts[0].first()),
            (Setting::HostsV6, self.hosts[1].first()),
            (Setting::HostMaskV4, hosts_v4.mask(1)),
            (Setting::HostMaskV6, hosts_v6.mask(4)),
            (Setting::HostProbes, word(parts.room.classes(Setting::HostProbes, probes))),
            (Setting::CellsIngress, self.cells[0].first()),
            (Setting::CellsEgress, self.cells[1].first()),
            (Setting::AddressClasses, word(parts.addresses.count())),
            (Setting::ServiceClassesIngress, word(ingress.columns())),
            (Setting::ServiceClassesEgress, word(egress.columns())),
            (Setting::LocalIngress, self.local[0].first()),
            (Setting::LocalEgress, self.local[1].first()),
            (Setting::LocalClassesIngress, word(ingress.sides.locals())),
            (Setting::LocalClassesEgress, word(egress.sides.locals())),
            (Setting::Ifaces, self.interfaces.first()),
            (Setting::IfaceClasses, word(parts.contexts.interfaces.count())),
            (Setting::Vlans, self.vlans.first()),
            (Setting::VlanClasses, word(parts.contexts.vlans.count())),
            (Setting::Flags, self.flags.first()),
            (Setting::FlagClasses, word(parts.contexts.flags.count())),
            (Setting::RequestSlots, self.requests.first()),
            (Setting::ReplyContext, parts.contexts.asked.into()),
            (Setting::RowsIngress, self.rows[0].first()),
            (Setting::RowsEgress, self.rows[1].first()),
            (Setting::ColumnsIngress, self.columns[0].first()),
            (Setting::ColumnsEgress, self.columns[1].first()),
            (Setting::CombinedIngress, self.combined[0].first()),
            (Setting::CombinedEgress, self.combined[1].first()),
            (Setting::LinesIngress, self.lines[0].first()),
            (Setting::LinesEgress, self.lines[1].first()),
            (Setting::ShapeIngress, self.of_lines[0][0]),
            (Setting::ShapeEgress, self.of_lines[1][0]),
            (Setting::SummariesIngress, self.of_lines[0][1]),
            (Setting::SummariesEgress, self.of_lines[1][1]),
            (Setting::WordBits, u32::BITS),
            (Setting::PairMaskIngress, self.of_lines[0][2]),
            (Setting::PairMaskEgress, self.of_lines[1][2]),
        ]
    }
}

/// How packets from networks that nobody names are saved the walk below the root: by
/// /24s in the filter, of which it says how many, or by a bitmap of all, of which it
/// says how large.
///
/// Both are a look-up of their own, which is worth it where what lies below the root is
/// larger and so further from the CPU. The filter has 16 bits for each of few networks
/// and stays in the second-level cache; of many, it would be larger than a bit for every
/// /24 there is. Where half of them are named, too few packets are saved anything.
fn shortcut(addresses: &AddressClasses, tally: Tally) -> (Option<u32>, usize) {
    let (populated, bytes) = (addresses.populated(), tally.bytes::<u32>());
    if populated <= NETWORKS_MAX {
        let pays = bytes > FILTER_BYTES_MIN || !addresses.hosts_v4.is_empty();
        return (pays.then_some(populated), 0);
    }
    let pays = bytes > 4 * BITMAP as u64 && populated < 1 << 23;
    (None, if pays { BITMAP } else { 0 })
}

/// Bytes below the root from which on the filter pays.
const FILTER_BYTES_MIN: u64 = 1 << 17;
