//! What a packet asks of the policy, and what the policy answers.
//!
//! Nothing else of a generation's tables matters to a verdict. So the programs that
//! parse and decide are loaded once, for all generations, and only the one that
//! answers is a generation's own. What they hand to each other is laid out
//! here.

use crate::abi::assert_layout;
use crate::abi::flow::FlowKey;
use crate::abi::tables::{Cell, Setting};
use crate::flow;
use crate::frame::Frame;
use crate::packet::{Address, Family, Packet};
use crate::parse;
use crate::pipeline::Arrival;
use crate::policy::{self, Context, Tables, Tuple};
use crate::service::{ServiceIndex, proto};
use crate::verdict::Direction;

/// What one packet asks.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Questions {
    /// What the packet itself is.
    tuple: Tuple,
    /// The packet that it answers: of the other direction, and nobody has it.
    counterpart: Tuple,
    /// The flow that an ICMP error speaks of.
    inner: FlowKey,
    /// Interface, VLAN and flags.
    context: Context,
    /// Which of the above are asked: a set of bits.
    asked: u32,
}
assert_layout!(Questions, 152, 8);

/// What the policy says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// Of the packet itself.
    pub cell: Cell,
    /// Row of its rule's request counters; no row where the rule counts none.
    pub request_slot: u32,
    /// Of the counterpart; nothing if there is none.
    counterpart: Cell,
    /// What else is known: a set of bits.
    known: u32,
}
assert_layout!(Answers, 16, 4);

impl Answers {
    /// No request counter has this row.
    pub const NO_REQUESTS: u32 = u32::MAX;

    /// Bit of `known`: an opening admits what is dropped by default.
    const OPENING: u32 = 1;
    /// Bit of `known`: the counterpart would not be admitted on the interface of this packet.
    const ELSEWHERE: u32 = 2;

    /// Whether the other chain, or an opening, admits what this packet would answer;
    /// false if it can answer nothing. On whichever interface it came: routes differ.
    #[inline(always)]
    #[must_use]
    pub const fn counterpart(self) -> bool {
        self.counterpart.admits()
    }

    /// Whether it needs no flow for what comes back: that is admitted where this packet leaves.
    #[inline(always)]
    #[must_use]
    pub const fn needs_no_flow(self) -> bool {
        self.counterpart() && self.known & Self::ELSEWHERE == 0
    }

    /// Whether an opening lets the packet in that no rule names.
    #[inline(always)]
    #[must_use]
    pub const fn opening(self) -> bool {
        self.known & Self::OPENING != 0
    }

    /// Those for a packet of which only the cell matters.
    #[must_use]
    pub const fn of_cell(cell: Cell, request_slot: u32) -> Self {
        Self { cell, request_slot, counterpart: Cell(0), known: 0 }
    }
}

impl Questions {
    /// Bit of `asked`: the counterpart.
    const COUNTERPART: u32 = 1;
    /// Bit of `asked`: the inner flow is known.
    const INNER: u32 = 2;
    /// Bit of `asked`: the counterpart, on the interface that the packet leaves by.
    const HERE: u32 = 4;

    /// No packet's.
    pub const EMPTY: Self = Self {
        tuple: NO_TUPLE,
        counterpart: NO_TUPLE,
        inner: FlowKey {
            local: [0; 2],
            remote: [0; 2],
            local_port: 0,
            remote_port: 0,
            protocol: 0,
            family: 0,
            reserved: 0,
        },
        context: Context { ifindex: 0, vlan: 0, tcp_flags: 0 },
        asked: 0,
    };

    /// Writes down what a packet asks.
    #[inline(always)]
    pub(crate) fn ask<F: Frame>(&mut self, frame: &F, packet: &Packet, arrival: &Arrival) {
        let direction = arrival.direction;
        let (remote, local) = match direction {
            Direction::Ingress => (packet.source, packet.destination),
            Direction::Egress => (packet.destination, packet.source),
        };
        self.tuple =
            Tuple { direction, remote, local, family: packet.family, service: packet.service() };
        self.context =
            Context { ifindex: arrival.ifindex, vlan: packet.vlan, tcp_flags: packet.tcp_flags };
        self.asked = 0;
        if packet.is_icmp_error() {
            if let Some(inner) = parse::embedded(frame, packet) {
                self.inner = flow::embedded_key(&inner, packet.family as u8, direction);
                self.counterpart = inbound(&self.inner, inner.destination_port);
                self.asked = Self::COUNTERPART | Self::INNER;
            }
            return;
        }
        let key = flow::key(packet, direction);
        match direction {
            // The reversed look-up: what this host sends may answer what is admitted.
            Direction::Egress if flow::could_answer(packet) && !opens(packet) => {
                self.counterpart = inbound(&key, request_type(packet));
                // Flags of TCP are another packet's.
                if packet.protocol != proto::TCP {
                    self.asked = Self::HERE;
                }
            }
            // A segment of a flow that this host may have opened, but not its first.
            Direction::Ingress if packet.protocol == proto::TCP && !packet.opens_tcp() => {
                self.counterpart = tuple(&key, Direction::Egress, key.remote_port);
            }
            _ => return,
        }
        self.asked |= Self::COUNTERPART;
    }

    /// The flow that an ICMP error speaks of, if it is one that can be read.
    #[inline(always)]
    #[must_use]
    pub const fn inner(&self) -> Option<&FlowKey> {
        if self.asked & Self::INNER != 0 { Some(&self.inner) } else { None }
    }
}

/// Asks the policy.
#[inline(always)]
pub fn answer<T: Tables>(tables: &T, questions: &Questions) -> Answers {
    let cell = policy::decide(tables, &questions.tuple.of_packet(questions.context));
    let mut answers = of_cell(tables, cell);
    if questions.asked & Questions::COUNTERPART != 0 {
        answers.counterpart = policy::asked(tables, &questions.counterpart);
    }
    if questions.asked & Questions::HERE != 0 {
        let here = questions.counterpart.of_packet(questions.context);
        if !policy::decide(tables, &here).admits() {
            answers.known |= Answers::ELSEWHERE;
        }
    }
    answers
}

/// The answers for a packet of which only the cell matters.
#[inline(always)]
pub fn of_cell<T: Tables>(tables: &T, cell: Cell) -> Answers {
    Answers::of_cell(cell, request_slot(tables, cell))
}

/// Asks the openings where the policy has answered that no rule names a packet from
/// outside: this one, or the one that it would answer. `admits` is
/// [`opening::admits`](crate::opening::admits), which the kernel calls out of line.
#[inline(always)]
pub fn ask_openings<F: Fn(Address, u32, ServiceIndex) -> bool>(
    questions: &Questions,
    answers: &mut Answers,
    admits: F,
) {
    let opens = |tuple: &Tuple, cell: Cell| {
        matches!(tuple.direction, Direction::Ingress)
            && cell.drops_by_default()
            && admits(tuple.remote, tuple.family as u32, tuple.service)
    };
    if opens(&questions.tuple, answers.cell) {
        answers.known |= Answers::OPENING;
    }
    if opens(&questions.counterpart, answers.counterpart) {
        answers.counterpart = Cell(Cell::NO_SLOT | Cell::ALLOW);
        answers.known &= !Answers::ELSEWHERE;
    }
}

/// The row of a rule's request counters.
#[inline(always)]
fn request_slot<T: Tables>(tables: &T, cell: Cell) -> u32 {
    let first = tables.setting(Setting::RequestSlots);
    if first == 0 || cell.count() == 0 {
        return Answers::NO_REQUESTS;
    }
    tables.word(first.wrapping_add(cell.slot()))
}

const NO_TUPLE: Tuple = Tuple {
    direction: Direction::Ingress,
    remote: Address::UNSPECIFIED,
    local: Address::UNSPECIFIED,
    family: Family::V4,
    service: ServiceIndex(0),
};

#[inline(always)]
const fn opens(packet: &Packet) -> bool {
    packet.protocol == proto::TCP && packet.opens_tcp()
}

/// The packet from outside that began a flow; for ICMP, `icmp_type` says of which
/// type.
#[inline(always)]
const fn inbound(key: &FlowKey, icmp_type: u16) -> Tuple {
    let value = match key.protocol {
        proto::ICMP | proto::ICMPV6 => icmp_type,
        _ => key.local_port,
    };
    tuple(key, Direction::Ingress, value)
}

#[inline(always)]
const fn tuple(key: &FlowKey, direction: Direction, value: u16) -> Tuple {
    let [local_hi, local_lo] = key.local;
    let [remote_hi, remote_lo] = key.remote;
    Tuple {
        direction,
        remote: Address { hi: remote_hi, lo: remote_lo },
        local: Address { hi: local_hi, lo: local_lo },
        family: if key.family == Family::V4 as u8 { Family::V4 } else { Family::V6 },
        service: ServiceIndex::of(key.protocol, value),
    }
}

/// The type of the message that an echo reply answers.
#[inline(always)]
const fn request_type(packet: &Packet) -> u16 {
    match packet.family {
        Family::V4 => flow::ECHO_V4,
        Family::V6 => flow::ECHO_V6,
    }
}
