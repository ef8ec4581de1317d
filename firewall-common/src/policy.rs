//! Policy look-up: a packet's fields to classes, classes to a [`Cell`].
//!
//! The cost does not depend on the number of rules: one word of the service
//! table often decides; else the address trie gives a class, and one cell holds
//! the answer that the compiler worked out for that pair of classes.
//!
//! A *side* folds the rarely asked dimensions into one number: local address
//! class, interface, VLAN and TCP flags. A policy that asks for none of them has
//! one side. Where some rule asks for interface, VLAN or flags, one more side per
//! local class answers for replies, of which those are not asked.

use crate::abi::tables::{
    Cell, Column, Compare, IFACES, Row, ServiceWord, Setting, TrieWord, features,
};
use crate::hosts;
use crate::lines::{self, Classes};
use crate::packet::{Address, Family, byte_of};
use crate::service::{PortPlace, ServiceIndex, proto};
use crate::verdict::Direction;

/// Load-time settings of one generation.
pub trait Settings {
    /// A setting.
    fn setting(&self, setting: Setting) -> u32;
}

/// The compiled policy of one generation.
///
/// The kernel implements it over the maps of the generation, the host over the
/// compiler's output, so that both walk the same words by the same code.
pub trait Tables: Settings {
    /// A word of the tables; [`MISSING`] past the end, which no correct table
    /// reaches.
    fn word(&self, index: u32) -> u32;
    /// So many words in a row; `None` if not all are within the tables. One look at bounds for
    /// all of them, and those that nobody uses are not read.
    #[inline(always)]
    fn words<const COUNT: usize>(&self, first: u32) -> Option<[u32; COUNT]> {
        let mut words = [0; COUNT];
        for (offset, word) in (0..).zip(&mut words) {
            *word = self.word(first.wrapping_add(offset));
        }
        (words.last() != Some(&MISSING)).then_some(words)
    }
    /// A word of the table that begins at a setting, as `offset` is within it: the kernel has
    /// no bounds but those that the verifier sees.
    #[inline(always)]
    fn at(&self, first: Setting, offset: u32) -> u32 {
        self.word(self.setting(first).wrapping_add(offset))
    }
    /// A number of which the compiler is to know nothing: it makes branches of what it knows,
    /// which wait for memory and go the wrong way half of the time.
    #[inline(always)]
    fn unseen(&self, number: u64) -> u64 {
        number
    }
    /// [`lines::vectors::line`], which the kernel calls out of line.
    fn line_of_vectors(&self, direction: Direction, classes: Classes) -> u32 {
        lines::vectors::line(self, direction, classes)
    }
    /// Whether a chain admits a tuple.
    #[inline(always)]
    fn admits(&self, tuple: &Tuple) -> bool {
        asked(self, tuple).admits()
    }
}

/// A packet that nobody has sent: what a reply is looked up by.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tuple {
    /// Which chain.
    pub direction: Direction,
    /// The other end.
    pub remote: Address,
    /// This host's end.
    pub local: Address,
    /// IP version of both.
    pub family: Family,
    /// Protocol and service port or type.
    pub service: ServiceIndex,
}

impl Tuple {
    /// Asks for a packet.
    #[inline(always)]
    pub(crate) const fn of_packet(&self, context: Context) -> Query {
        let mut query = self.query();
        query.context = Some(context);
        query
    }

    /// Asks whatever interface, VLAN and flags its packet had.
    #[inline(always)]
    const fn query(&self) -> Query {
        let Self { direction, remote, local, family, service } = *self;
        Query { direction, remote, local, family, service, context: None }
    }
}

/// What a word past the end of the tables reads as: no class, and a cell that
/// says [`Cell::BROKEN`].
pub const MISSING: u32 = ServiceWord::FINAL | Cell::BROKEN;

/// What the policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// Which chain.
    pub direction: Direction,
    /// The other end.
    pub remote: Address,
    /// This host's end.
    pub local: Address,
    /// IP version of both.
    pub family: Family,
    /// Protocol and service port or type.
    pub service: ServiceIndex,
    /// Interface, VLAN and flags; `None` when a reply is asked for.
    pub context: Option<Context>,
}

/// The rarely asked part of a query.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Interface index.
    pub ifindex: u32,
    /// VLAN id, [`Context::UNTAGGED`] for none.
    pub vlan: u16,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
}

impl Context {
    /// Index of the last word of the VLAN table: no tag.
    pub const UNTAGGED: u16 = 4096;
}

/// Settings of one direction's tables.
struct Chain {
    services: Setting,
    cells: Setting,
    service_classes: Setting,
    local: Setting,
    local_classes: Setting,
    rows: Setting,
    columns: Setting,
    combined: Setting,
    lines: Setting,
    default_allow: u32,
}

impl Chain {
    const INGRESS: Self = Self {
        services: Setting::ServicesIngress,
        cells: Setting::CellsIngress,
        service_classes: Setting::ServiceClassesIngress,
        local: Setting::LocalIngress,
        local_classes: Setting::LocalClassesIngress,
        rows: Setting::RowsIngress,
        columns: Setting::ColumnsIngress,
        combined: Setting::CombinedIngress,
        lines: Setting::LinesIngress,
        default_allow: features::DEFAULT_ALLOW_INGRESS,
    };
    const EGRESS: Self = Self {
        services: Setting::ServicesEgress,
        cells: Setting::CellsEgress,
        service_classes: Setting::ServiceClassesEgress,
        local: Setting::LocalEgress,
        local_classes: Setting::LocalClassesEgress,
        rows: Setting::RowsEgress,
        columns: Setting::ColumnsEgress,
        combined: Setting::CombinedEgress,
        lines: Setting::LinesEgress,
        default_allow: features::DEFAULT_ALLOW_EGRESS,
    };
}

/// The policy's answer; [`Cell::BROKEN`] if the tables contradict themselves,
/// which is counted as an internal error.
#[inline(always)]
pub fn decide<T: Tables + ?Sized>(tables: &T, query: &Query) -> Cell {
    match query.direction {
        Direction::Ingress => decide_in(tables, query, &Chain::INGRESS),
        Direction::Egress => decide_in(tables, query, &Chain::EGRESS),
    }
}

/// The policy's answer for a TCP or UDP port, which every table has, whatever
/// interface, VLAN and flags the packet had.
#[inline(always)]
pub fn decide_on_port<T: Tables + ?Sized>(tables: &T, tuple: &Tuple) -> Cell {
    let (query, PortPlace(place)) = (tuple.query(), PortPlace::of(tuple.service));
    match tuple.direction {
        Direction::Ingress => decide_at(tables, &query, &Chain::INGRESS, place),
        Direction::Egress => decide_at(tables, &query, &Chain::EGRESS, place),
    }
}

/// What a TCP or UDP port alone decides, not yet [`plain`](Cell::plain), or else the class
/// of its services.
///
/// # Errors
/// The word of the service table, for [`behind_port`].
#[inline(always)]
pub fn on_port<T: Tables + ?Sized>(
    tables: &T,
    direction: Direction,
    port: PortPlace,
) -> Result<Cell, u32> {
    let services = match direction {
        Direction::Ingress => Setting::ServicesIngress,
        Direction::Egress => Setting::ServicesEgress,
    };
    let word = tables.at(services, port.0);
    if word & ServiceWord::FINAL == 0 { Err(word) } else { Ok(Cell(word)) }
}

/// The answer where the port alone does not decide.
#[inline(always)]
pub fn behind_port<T: Tables + ?Sized>(tables: &T, tuple: &Tuple, class: u32) -> Cell {
    match tuple.direction {
        Direction::Ingress => decide_by_address(tables, &tuple.query(), &Chain::INGRESS, class),
        Direction::Egress => decide_by_address(tables, &tuple.query(), &Chain::EGRESS, class),
    }
}

#[inline(always)]
fn decide_in<T: Tables + ?Sized>(tables: &T, query: &Query, chain: &Chain) -> Cell {
    let mut place = query.service.place();
    if place >= tables.setting(Setting::ServiceWords) {
        place = ServiceIndex::OTHER + proto::SCTP as u32;
    }
    decide_at(tables, query, chain, place)
}

/// The answer for a query whose place in the service table is known.
#[inline(always)]
fn decide_at<T: Tables + ?Sized>(tables: &T, query: &Query, chain: &Chain, place: u32) -> Cell {
    let word = tables.word(tables.setting(chain.services).wrapping_add(place));
    match ServiceWord(word).decided() {
        Some(cell) => cell,
        None => decide_by_address(tables, query, chain, word),
    }
}

/// The answer for a query whose service is of a class.
#[inline(always)]
fn decide_by_address<T: Tables + ?Sized>(
    tables: &T,
    query: &Query,
    chain: &Chain,
    word: u32,
) -> Cell {
    let (word, class) = (ServiceWord(word), address_class(tables, query.family, query.remote));
    // Most of what nobody asked for ends here.
    if class == 0 && word.0 & ServiceWord::UNNAMED != 0 {
        return default(tables, chain);
    }
    let side = side(tables, query, chain);
    if tables.setting(chain.lines) != 0 {
        let classes = Classes { address: class, side, column: word.class() };
        return lines::cell(tables, query.direction, classes);
    }
    let mut row = side.wrapping_mul(tables.setting(Setting::AddressClasses)).wrapping_add(class);
    if tables.setting(chain.combined) != 0 {
        row = tables.word(tables.setting(chain.combined).wrapping_add(row));
    }
    if tables.setting(chain.rows) != 0 {
        return sparse(tables, chain, (side, row), word);
    }
    let column = row.wrapping_mul(tables.setting(chain.service_classes));
    let column = column.wrapping_add(word.class());
    Cell(tables.word(tables.setting(chain.cells).wrapping_add(column)))
}

/// The cell of a chain's default.
#[inline(always)]
fn default<T: Tables + ?Sized>(tables: &T, chain: &Chain) -> Cell {
    let allows = tables.setting(Setting::Features) & chain.default_allow != 0;
    Cell(Cell::NO_SLOT | Cell::DEFAULT | if allows { Cell::ALLOW } else { 0 })
}

/// The cell of a pair of classes in sparse form, see [`Row`]: the pair's own, or
/// the better of its row's and its column's.
#[inline(always)]
fn sparse<T: Tables + ?Sized>(
    tables: &T,
    chain: &Chain,
    (side, row): (u32, u32),
    word: ServiceWord,
) -> Cell {
    let (key, column) = (word.class().wrapping_add(1), word.class());
    let row = tables.setting(chain.rows).wrapping_add(row.wrapping_mul(Row::WORDS));
    // At once, and checked once: words one by one are places of which verifiers know both a
    // range and the lower bits, where many rows are one side's, and may take them for another
    // place, outside of the tables.
    let Some(row) = tables.words(row) else { return Cell(Cell::NO_SLOT | Cell::BROKEN) };
    let [cell, row_rank, mask, pairs, first, first_cell, second, second_cell] = row;
    const { assert!(Row::RANK == 1 && Row::MASK == 2 && Row::PAIRS == 3 && Row::INLINE == 4) };
    if first == key {
        return Cell(first_cell);
    }
    if second == key {
        return Cell(second_cell);
    }
    if mask != Row::WHOLE {
        let pairs = tables.setting(chain.cells).wrapping_add(pairs);
        if mask == Row::DIRECT {
            return Cell(tables.word(pairs.wrapping_add(column)));
        }
        let mut slot = pair_slot(tables.setting(Setting::Seed), column);
        // A bound that the compiler does not know is a loop that it does not unroll.
        for _ in 0..tables.setting(Setting::Probes) {
            let pair = pairs.wrapping_add((slot & mask) << 1);
            let found = tables.word(pair);
            if found == key {
                return Cell(tables.word(pair.wrapping_add(1)));
            }
            if found == 0 {
                break;
            }
            slot = slot.wrapping_add(1);
        }
    }
    if word.0 & ServiceWord::UNNAMED != 0 {
        let none = row_rank == Row::NOBODY;
        return if none { default(tables, chain) } else { Cell(cell) };
    }
    let place = side.wrapping_mul(tables.setting(chain.service_classes)).wrapping_add(column);
    let column = tables.setting(chain.columns).wrapping_add(place.wrapping_mul(Column::WORDS));
    let column_rank = tables.word(column.wrapping_add(Column::RANK));
    Cell(if row_rank <= column_rank { cell } else { tables.word(column) })
}

/// The slot, before masking, at which the search for a pair starts.
#[inline(always)]
#[must_use]
pub const fn pair_slot(seed: u32, column: u32) -> u32 {
    let product = column.wrapping_mul(seed | 1);
    product ^ product >> 15
}

/// The class of an address: which of the policy's address sets hold it.
#[inline(always)]
pub fn address_class<T: Tables + ?Sized>(tables: &T, family: Family, address: Address) -> u32 {
    match family {
        Family::V4 => {
            if tables.setting(Setting::Filter) != 0 {
                let class = named_v4(tables, address);
                if class != hosts::NONE {
                    return class;
                }
            }
            if tables.setting(Setting::Bitmap) != 0 {
                let network = address.v4() >> 8;
                let bits = tables.at(Setting::Bitmap, network >> 5);
                if bits >> (network & 31) & 1 == 0 {
                    return 0;
                }
            }
            let steps = tables.setting(Setting::StepsV4);
            walk::<_, 1>(tables, Setting::RootV4, address, steps)
        }
        Family::V6 => {
            if tables.setting(Setting::HostsV6) != 0 {
                let hash = hosts::hash(tables.setting(Setting::Seed), address);
                let line = hosts::line(tables.setting(Setting::FilterMask), hash);
                if hosts::is_filtered(tables, line, hash) {
                    let class = hosts::class(tables, family, address);
                    if class != hosts::NONE {
                        return class;
                    }
                }
            }
            if tables.setting(Setting::RootV6) == 0 { 0 } else { walk_v6(tables, address) }
        }
    }
}

/// The class of an IPv4 address if a look at the filter, and behind it at the table of
/// lone addresses, is enough; else [`hosts::NONE`].
#[inline(always)]
fn named_v4<T: Tables + ?Sized>(tables: &T, address: Address) -> u32 {
    let seed = tables.setting(Setting::Seed);
    let network = hosts::hash_v4(seed, hosts::network(address.v4()));
    let line = hosts::line(tables.setting(Setting::FilterMask), network);
    if tables.setting(Setting::HostsV4) != 0
        && hosts::is_filtered(tables, line, hosts::hash_v4(seed, address.v4()))
    {
        let class = hosts::class(tables, Family::V4, address);
        if class != hosts::NONE {
            return class;
        }
    }
    let is_unnamed =
        tables.setting(Setting::FilterNetworks) != 0 && !hosts::is_filtered(tables, line, network);
    if is_unnamed { 0 } else { hosts::NONE }
}

/// The walk of an IPv6 address.
#[inline(always)]
fn walk_v6<T: Tables + ?Sized>(tables: &T, address: Address) -> u32 {
    let steps = tables.setting(Setting::StepsV6);
    walk::<_, 4>(tables, Setting::RootV6, address, steps)
}

/// What a chain says of a tuple, whatever interface, VLAN and flags its packet had.
#[inline(always)]
pub fn asked<T: Tables + ?Sized>(tables: &T, tuple: &Tuple) -> Cell {
    decide(tables, &tuple.query())
}

/// Longest-prefix match in a multibit trie: 16 bits at the root, then a byte a
/// block, with runs of single-valued bytes folded into compare records. What it
/// returns is a class unless the tables are broken.
///
/// An address fills `WIDTH` words. The bound is a setting, so that the compiler does
/// not unroll what the verifier can count.
#[inline(always)]
fn walk<T: Tables + ?Sized, const WIDTH: u32>(
    tables: &T,
    root: Setting,
    address: Address,
    steps: u32,
) -> u32 {
    let mut here = tables.at(root, (address.hi >> 48) as u32);
    let mut depth: u32 = 2;
    for _ in 0..steps {
        let number = here & TrieWord::NUMBER;
        if here & TrieWord::BLOCK != 0 {
            let block = tables.setting(Setting::Blocks).wrapping_add(number << 8);
            // Of an IPv4 address there is nothing in the other half.
            let byte = if WIDTH == 1 { byte_of(address.hi, depth) } else { address.byte(depth) };
            here = tables.word(block.wrapping_add(byte));
            depth = depth.wrapping_add(1);
        } else if here & TrieWord::COMPARE != 0 {
            let Some(record) = Compared::read::<_, WIDTH>(tables, number) else { return MISSING };
            if is_inside::<WIDTH>((record.prefix, Compare::length(record.reach)), address) {
                (here, depth) = (record.inside, Compare::depth(record.reach));
            } else {
                here = record.outside;
            }
        } else {
            break;
        }
    }
    here
}

/// A [`Compare`] record that was read.
struct Compared {
    prefix: [u32; 4],
    reach: u32,
    inside: u32,
    outside: u32,
}

impl Compared {
    #[inline(always)]
    fn read<T: Tables + ?Sized, const WIDTH: u32>(tables: &T, number: u32) -> Option<Self> {
        let first = number.wrapping_mul(Compare::words(WIDTH));
        let first = tables.setting(Setting::Compares).wrapping_add(first);
        Some(if WIDTH == 1 {
            let [a, reach, inside, outside] = tables.words(first)?;
            Self { prefix: [a, 0, 0, 0], reach, inside, outside }
        } else {
            let [a, b, c, d, reach, inside, outside, _] = tables.words(first)?;
            Self { prefix: [a, b, c, d], reach, inside, outside }
        })
    }
}

/// Whether an address of `WIDTH` words begins as a prefix of a length does.
#[inline(always)]
fn is_inside<const WIDTH: u32>((prefix, length): ([u32; 4], u32), address: Address) -> bool {
    let [a, b, c, d] = prefix.map(u64::from);
    if WIDTH == 1 {
        // No length is above 32; the mask is for one that no table has.
        (address.hi >> 32 ^ a) >> (32_u32.wrapping_sub(length) & 63) == 0
    } else {
        let differs = Address { hi: address.hi ^ (a << 32 | b), lo: address.lo ^ (c << 32 | d) };
        differs.masked(length) == Address::UNSPECIFIED
    }
}

/// Folds local address, interface, VLAN and flags into one number.
#[inline(always)]
fn side<T: Tables + ?Sized>(tables: &T, query: &Query, chain: &Chain) -> u32 {
    let map = tables.setting(chain.local);
    let mut side = 0;
    if map != 0 {
        let class = address_class(tables, query.family, query.local);
        side = tables.word(map.wrapping_add(class));
    }
    if tables.setting(Setting::ReplyContext) == 0 {
        return side;
    }
    let contexts = tables
        .setting(Setting::IfaceClasses)
        .wrapping_mul(tables.setting(Setting::VlanClasses))
        .wrapping_mul(tables.setting(Setting::FlagClasses));
    let Some(context) = &query.context else {
        return tables.setting(chain.local_classes).wrapping_mul(contexts).wrapping_add(side);
    };
    side = side
        .wrapping_mul(tables.setting(Setting::IfaceClasses))
        .wrapping_add(iface_class(tables, context.ifindex));
    side = side.wrapping_mul(tables.setting(Setting::VlanClasses)).wrapping_add(class_of(
        tables,
        Setting::Vlans,
        context.vlan.into(),
    ));
    side.wrapping_mul(tables.setting(Setting::FlagClasses)).wrapping_add(class_of(
        tables,
        Setting::Flags,
        context.tcp_flags.into(),
    ))
}

/// The class of a small number by a direct table; 0 where there is none.
#[inline(always)]
fn class_of<T: Tables + ?Sized>(tables: &T, table: Setting, value: u32) -> u32 {
    let first = tables.setting(table);
    if first == 0 { 0 } else { tables.word(first.wrapping_add(value)) }
}

/// The class of an interface: a short list, as rules name few.
#[inline(always)]
fn iface_class<T: Tables + ?Sized>(tables: &T, ifindex: u32) -> u32 {
    let first = tables.setting(Setting::Ifaces);
    if first == 0 {
        return 0;
    }
    for pair in 0..IFACES {
        let listed = tables.word(first.wrapping_add(pair * 2));
        if listed == ifindex {
            return tables.word(first.wrapping_add(pair * 2 + 1));
        }
        if listed == 0 {
            break;
        }
    }
    0
}
