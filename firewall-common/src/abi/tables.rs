//! The compiled policy of one generation: a run of 32-bit words, and the
//! load-time settings that say where in it what is.
//!
//! Map `TABLES`: array of one value. Written by user space through a mapping while the
//! generation's slot is not in force; read by the datapath.
//!
//! A packet needs at most: one word of the service table; one to a few words of
//! the address trie; one cell. See [`crate::policy`] for the walk.

/// A load-time setting: a number that the loader writes into the instructions of a
/// generation's programs, so that the verifier knows it and deletes the branches
/// which a policy does not use.
///
/// Programs that belong to no generation read it from the map `GENERATIONS`: array of
/// one value, the settings of either slot. Written by user space before the slot is
/// put in force.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Length of the tables, words.
    TableWords = 0,
    /// First word of the ingress service table.
    ServicesIngress = 1,
    /// First word of the egress service table.
    ServicesEgress = 2,
    /// Words of each service table: `ServiceIndex::END` or `END_WITHOUT_SCTP`.
    ServiceWords = 3,
    /// First word of the IPv4 root, 65,536 words.
    RootV4 = 4,
    /// First word of the IPv6 root, 65,536 words; 0 = no rule names an IPv6
    /// network, every address is of class 0.
    RootV6 = 5,
    /// First word of the trie blocks, 256 words each.
    Blocks = 6,
    /// First word of the compare records, [`Compare::words`] words each: those
    /// of IPv4, then those of IPv6.
    Compares = 7,
    /// First word of the bitmap of /24s that hold more than class 0, 524,288
    /// words; 0 = absent.
    Bitmap = 8,
    /// First word of the ingress cells.
    CellsIngress = 9,
    /// First word of the egress cells.
    CellsEgress = 10,
    /// Address classes: rows of a cell table.
    AddressClasses = 11,
    /// Service classes on ingress: columns.
    ServiceClassesIngress = 12,
    /// Service classes on egress: columns.
    ServiceClassesEgress = 13,
    /// First word of the map from address class to ingress local class; 0 = no
    /// ingress rule asks for this host's address.
    LocalIngress = 14,
    /// The same for egress.
    LocalEgress = 15,
    /// Local classes on ingress, at least 1.
    LocalClassesIngress = 16,
    /// Local classes on egress, at least 1.
    LocalClassesEgress = 17,
    /// First word of the interface classes, [`IFACES`] pairs of (ifindex,
    /// class), terminated by ifindex 0; 0 = no rule asks for the interface.
    Ifaces = 18,
    /// Interface classes, at least 1; class 0 is "none of the listed".
    IfaceClasses = 19,
    /// First word of the VLAN classes, 4,097 words, the last for untagged;
    /// 0 = no rule asks.
    Vlans = 20,
    /// VLAN classes, at least 1.
    VlanClasses = 21,
    /// First word of the TCP flag classes, 256 words; 0 = no rule asks.
    Flags = 22,
    /// TCP flag classes, at least 1.
    FlagClasses = 23,
    /// First word of the map from rule slot to request slot; 0 = nothing counts
    /// requests.
    RequestSlots = 24,
    /// Rule slots: bound of a counter row.
    RuleSlots = 25,
    /// Bits of [`features`].
    Features = 26,
    /// Echo requests admitted per second and source; 0 = judged by the rules.
    PingPerSecond = 27,
    /// Idle time of a TCP flow, seconds.
    TcpIdleSeconds = 28,
    /// Idle time of an unanswered UDP flow, seconds.
    UdpIdleSeconds = 29,
    /// Slot of this generation in the program arrays.
    Generation = 30,
    /// Random number of this slot: attackers choose addresses, not hashes.
    Seed = 31,
    /// Possible CPUs: rows of a counter map.
    Cpus = 32,
    /// Request slots: bound of a request row.
    RequestSlotCount = 33,
    /// Whether the side "asked by a reply" has cells of its own, see
    /// [`crate::policy`]: 1 or 0.
    ReplyContext = 34,
    /// First word of the rows of the ingress cells in sparse form, [`Row::WORDS`] words each,
    /// or of those of lines, see [`lines::Row`](crate::lines::Row); 0 = neither has any.
    RowsIngress = 35,
    /// The same for egress.
    RowsEgress = 36,
    /// First word of the columns of the ingress cells in sparse form, [`Column::WORDS`] words
    /// each; or of the narrow part of lines, see [`lines`](crate::lines).
    ColumnsIngress = 37,
    /// The same for egress.
    ColumnsEgress = 38,
    /// First word of the table of lone IPv4 addresses, [`Host`] slots; 0 = absent.
    HostsV4 = 39,
    /// The same for IPv6.
    HostsV6 = 40,
    /// Slots of the IPv4 table, a power of two, less one.
    HostMaskV4 = 41,
    /// Slots of the IPv6 table, a power of two, less one.
    HostMaskV6 = 42,
    /// Slots in which a lone address is looked for.
    HostProbes = 43,
    /// First word of the filter, see [`crate::hosts`]; 0 = absent.
    Filter = 44,
    /// Slots in which a pair of the sparse form is looked for: [`Row::PROBES`].
    Probes = 45,
    /// Bound of the steps of an IPv4 walk: the longest of these tables, rounded up.
    StepsV4 = 46,
    /// The same for IPv6, at most [`MAX_STEPS`].
    StepsV6 = 47,
    /// Words of the filter, a power of two, less one.
    FilterMask = 48,
    /// Whether the filter has the /24s that hold more than class 0: 1 or 0.
    FilterNetworks = 49,
    /// First word of the map from a row of the ingress chain, an address class on a
    /// side, to the row of cells that it shares with others; or of the lines of pairs of wide
    /// classes. 0 = rows share nothing, no line has two wide ends.
    CombinedIngress = 50,
    /// The same for egress.
    CombinedEgress = 51,
    /// Places of the table of flows, less one.
    FlowMask = 52,
    /// Seed of the table of flows: it lives as long as the table.
    FlowSeed = 53,
    /// Jiffies in a second.
    Hz = 54,
    /// First word of the ends of the ingress chain's lines, an [`End`](crate::lines::End) for
    /// each class of addresses, then for each side; 0 = its cells have another form.
    LinesIngress = 55,
    /// The same for egress.
    LinesEgress = 56,
    /// Words of bits in a record of the ingress chain; 0 = no line has a bit.
    SummariesIngress = 57,
    /// The same for egress.
    SummariesEgress = 58,
    /// Bits of a word: 32.
    WordBits = 59,
    /// Number of the last slot of pairs of the ingress chain, see
    /// [`Slots`](crate::lines::Slots).
    PairMaskIngress = 60,
    /// The same for egress.
    PairMaskEgress = 61,
    /// What the ingress chain's lines are like, a [`Shape`](crate::lines::Shape).
    ShapeIngress = 62,
    /// The same for egress.
    ShapeEgress = 63,
}

impl Setting {
    /// Settings there is room for; part of the ABI.
    pub const COUNT: usize = 64;

    /// Upper half of the 64-bit number that stands for a setting in the object;
    /// the lower half says which. No address or constant of ours looks like it.
    pub const MARK: u32 = 0x5e77_1d6b;
    /// The same for the address of the table's word that a setting names.
    pub const PLACE: u32 = 0x5e77_1d6c;

    /// What stands for this setting in the object.
    #[must_use]
    pub const fn marked(self, mark: u32) -> u64 {
        (mark as u64) << 32 | self as u64
    }
}

/// Bits of [`Setting::Features`].
pub mod features {
    /// The baseline is on.
    pub const BASELINE: u32 = 1 << 0;
    /// DHCP client traffic is part of it.
    pub const DHCP: u32 = 1 << 1;
    /// EtherTypes that nobody knows are admitted.
    pub const NON_IP_ALL: u32 = 1 << 2;
    /// A later fragment without a known first one is dropped.
    pub const FRAGMENTS_STRICT: u32 = 1 << 3;
    /// Forgotten flows with a live socket are picked up.
    pub const PICKUP: u32 = 1 << 4;
    /// The ingress default is allow.
    pub const DEFAULT_ALLOW_INGRESS: u32 = 1 << 6;
    /// The egress default is allow.
    pub const DEFAULT_ALLOW_EGRESS: u32 = 1 << 7;
    /// Some rule counts requests of any kind.
    pub const REQUESTS: u32 = 0xff << 8;

    /// Some rule counts requests of a [`Kind`](crate::request::Kind).
    #[inline(always)]
    #[must_use]
    pub const fn counts(kind: u32) -> u32 {
        1 << (8 + (kind & 7))
    }
}

/// Longest list of interfaces that rules may tell apart.
pub const IFACES: u32 = 16;

/// A word of the service table: what a (protocol, port) leads to.
///
/// Bit 31 set: the rest is a [`Cell`], whatever the addresses. Clear: bit 30 is
/// [`ServiceWord::UNNAMED`], the rest a service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceWord(pub u32);

impl ServiceWord {
    /// The verdict does not depend on addresses, interface, VLAN or flags.
    pub const FINAL: u32 = 1 << 31;
    /// Where no rule names the address, the default of the chain decides: address
    /// class 0 has nothing of its own, and no rule for any address holds.
    pub const UNNAMED: u32 = 1 << 30;

    /// The service class.
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> u32 {
        self.0 & !(Self::FINAL | Self::UNNAMED)
    }

    /// The cell, if this word decides at once.
    #[inline(always)]
    #[must_use]
    pub const fn decided(self) -> Option<Cell> {
        if self.0 & Self::FINAL != 0 { Some(Cell(self.0 & !Self::FINAL)) } else { None }
    }
}

/// The answer of the policy for a tuple of classes.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0-19 | rule slot, [`Cell::NO_SLOT`] for the default |
/// | 20 | allow |
/// | 21 | a failsafe rule decided |
/// | 22 | no rule matched: the default decided |
/// | 23 | never raise an event |
/// | 24-26 | how requests are counted, a [`crate::request::Kind`] |
/// | 27 | raise events for passes, too |
/// | 28-29 | room for limits and audit |
/// | 30 | read past the end of the tables |
/// | 31 | nothing: [`ServiceWord::FINAL`] of the word that it was |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(pub u32);

impl Cell {
    /// Mask of the rule slot.
    pub const SLOT: u32 = 0xf_ffff;
    /// The slot of a cell that no rule decided.
    pub const NO_SLOT: u32 = Self::SLOT;
    /// Allow.
    pub const ALLOW: u32 = 1 << 20;
    /// A failsafe rule decided.
    pub const FAILSAFE: u32 = 1 << 21;
    /// No rule matched.
    pub const DEFAULT: u32 = 1 << 22;
    /// Never raise an event.
    pub const QUIET: u32 = 1 << 23;
    /// Where the count kind starts.
    pub const COUNT_SHIFT: u32 = 24;
    /// Mask of the count kind.
    pub const COUNT: u32 = 7 << Self::COUNT_SHIFT;
    /// Raise events for passes, too.
    pub const SAMPLE: u32 = 1 << 27;
    /// Read past the end of the tables: they contradict themselves.
    pub const BROKEN: u32 = 1 << 30;

    /// The cell without what it has of the service word that it was.
    #[inline(always)]
    #[must_use]
    pub const fn plain(self) -> Self {
        Self(self.0 & !ServiceWord::FINAL)
    }

    /// The rule slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 & Self::SLOT
    }

    /// Whether a bit is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// Whether a rule or the default allows, as far as tables that hold say.
    #[inline(always)]
    #[must_use]
    pub const fn admits(self) -> bool {
        self.has(Self::ALLOW) && !self.has(Self::BROKEN)
    }

    /// Whether this is a drop for no other reason than that no rule matched.
    #[inline(always)]
    #[must_use]
    pub const fn drops_by_default(self) -> bool {
        self.has(Self::DEFAULT) && !self.has(Self::ALLOW | Self::BROKEN)
    }

    /// How requests are counted; 0 = not.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        (self.0 >> Self::COUNT_SHIFT) & 7
    }
}

/// A row of the sparse form of cells: an address class on one side.
///
/// Where address classes times service classes are too many, a cell is kept only
/// for a pair that some rule names by both. Any other pair follows from its row
/// (what holds there for every service) and its column (what holds there for
/// every address): of the two cells the one with the lower rank.
///
/// Words: cell, rank of the cell, mask, first word of the row's pairs counted from the
/// chain's cells; then up to two pairs, so that most rows are half a cache line and
/// nothing else. A pair is two words, column + 1 (0 = none) and cell. Further pairs are
/// in `mask + 1` slots, found by [`crate::policy::pair_slot`]; with the mask
/// [`Row::DIRECT`] there is a cell for each column instead, with [`Row::WHOLE`] nothing.
pub struct Row;

impl Row {
    /// Words of a row.
    pub const WORDS: u32 = 8;
    /// Offset of the cell's rank; lower wins, [`Row::NOBODY`] never does.
    pub const RANK: u32 = 1;
    /// Offset of the mask.
    pub const MASK: u32 = 2;
    /// Offset of the place of the pairs.
    pub const PAIRS: u32 = 3;
    /// Offset of the pairs in the row itself.
    pub const INLINE: u32 = 4;
    /// The mask of a row with a cell for each column.
    pub const DIRECT: u32 = u32::MAX;
    /// The mask of a row without further pairs.
    pub const WHOLE: u32 = u32::MAX - 1;
    /// The rank of a row without a cell.
    pub const NOBODY: u32 = u32::MAX;
    /// A pair is found in so many slots, or it is not there.
    pub const PROBES: u32 = 8;
}

/// A column of the sparse form: a service class on one side, for every address.
///
/// Words: cell, rank.
pub struct Column;

impl Column {
    /// Words of a column.
    pub const WORDS: u32 = 2;
    /// Offset of the cell's rank.
    pub const RANK: u32 = 1;
}

/// A record of the form by bit vectors, see [`crate::lines::vectors`]: a class of addresses, a
/// side, or a service class; in this order.
///
/// Words: first word of its vector, counted from the narrow part's first; then a bit for
/// each word of the vector, set where that word is not 0.
pub struct Record;

impl Record {
    /// Offset of the first bits.
    pub const SUMMARY: u32 = 1;

    /// Words of a record with so many words of bits: whole cache lines.
    #[inline(always)]
    #[must_use]
    pub const fn words(summaries: u32) -> u32 {
        (summaries + Self::SUMMARY + 15) & !15
    }
}

/// A word of the address trie: a class, or where to look next.
///
/// The two upper bits tell which; the rest is the number. A *block* is 256
/// words, indexed by the next byte of the address. A *compare record* stands for
/// a run of bytes in which only one value leads anywhere, so that a lone host
/// costs 16 or 32 bytes instead of a block per byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrieWord(pub u32);

impl TrieWord {
    /// Number part.
    pub const NUMBER: u32 = 0x3fff_ffff;
    /// The number is a block.
    pub const BLOCK: u32 = 1 << 30;
    /// The number is a compare record.
    pub const COMPARE: u32 = 1 << 31;
}

/// A compare record: do the first `length` bits of the address equal `prefix`?
///
/// Words: prefix (1 for IPv4; 4 for IPv6, most significant first), [`Compare::reach`], trie
/// word inside, trie word outside; for IPv6 one more, so that no record straddles two cache
/// lines.
pub struct Compare;

impl Compare {
    /// Words of a record of a prefix of so many: 4 or 8.
    #[inline(always)]
    #[must_use]
    pub const fn words(prefix: u32) -> u32 {
        (prefix + 3).next_power_of_two()
    }

    /// The prefix's length in bits (1-128), and the byte of the address at which a block
    /// inside is indexed.
    #[must_use]
    pub const fn reach(length: u32, depth: u32) -> u32 {
        length | depth << 8
    }

    /// The length of a [`reach`](Self::reach).
    #[inline(always)]
    #[must_use]
    pub const fn length(reach: u32) -> u32 {
        reach & 0xff
    }

    /// The depth of a [`reach`](Self::reach).
    #[inline(always)]
    #[must_use]
    pub const fn depth(reach: u32) -> u32 {
        reach >> 8
    }
}

/// A slot of the table of lone addresses: the address, most significant word first,
/// then its class, [`NONE`](crate::hosts::NONE) in an empty slot. Two words for IPv4,
/// eight for IPv6.
pub struct Host;

impl Host {
    /// Log2 of the words of a slot, for keys of so many words.
    #[inline(always)]
    #[must_use]
    pub const fn shift(width: usize) -> u32 {
        if width == 1 { 1 } else { 3 }
    }
}

/// Most steps of a walk: every byte after the root's two, through a compare
/// record and a block each.
pub const MAX_STEPS: usize = 28;
