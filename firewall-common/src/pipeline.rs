//! One packet, from frame to verdict, in the order in which stages win:
//!
//! malformed, failsafe, baseline, bans, established, deny, allow, openings, default.
//!
//! The policy look-up comes first because it is the cheapest, and most packets
//! need nothing else; *established* is asked only for a packet that deny or
//! default would drop, which gives the same verdict as asking it before.
//!
//! A packet that is not a common one takes three steps: [`read`] finds what is asked
//! of the policy, [`question::answer`] asks the tables, [`conclude`] decides. In the
//! kernel each is a program, and only the middle one belongs to a generation. Openings,
//! which are of no generation, are asked before the last.

use crate::abi::flow::FlowKey;
use crate::abi::opening::{OPENINGS, Opening};
use crate::abi::tables::{Cell, Setting, features};
use crate::ban::{self, Bans};
use crate::baseline;
use crate::fast::{self, Rest};
use crate::flow::table::{self, Opened, Part, Seen, Slots};
use crate::flow::{self, Clock};
use crate::fragment;
use crate::frame::Frame;
use crate::guard::{self, Guard};
use crate::opening;
use crate::packet::{Address, Family, Fragment, Network, Packet};
use crate::parse;
use crate::passes::Pass;
use crate::policy::{Settings, Tables};
use crate::question::{self, Answers, Questions};
use crate::request;
use crate::service::proto;
use crate::verdict::{Decision, Direction, Reason, Verdict};

/// State that a verdict reads or writes, beside the policy's tables.
///
/// The kernel implements it over maps, the host over ordinary collections. A
/// look-up that fails is `None`; each caller says which way it fails.
pub trait World: Settings + Bans {
    /// The flows that this host opened.
    fn flows(&mut self) -> impl Slots;
    /// The token bucket of this CPU for flows that it opens; `None` if nobody counts.
    fn flow_rate(&mut self) -> Option<&mut u64>;
    /// [`Arrival::segments`], which the kernel reads where it is asked for.
    fn segments(&self, arrival: &Arrival) -> u32 {
        arrival.segments
    }
    /// A clock that costs nothing to read.
    fn jiffies(&self) -> u64;
    /// Whether a packet's flow is in force, or the flow that it speaks of if `None`; notes
    /// the packet: [`flow::see`], which the kernel calls out of line.
    fn sees_flow(&mut self, key: &FlowKey, direction: Option<Direction>) -> bool
    where
        Self: Sized,
    {
        let clock = clock(self);
        let port = flow::port_index(key.protocol, key.local_port);
        let stamp = port.and_then(|index| self.flow_port(index)).copied();
        let stamp = stamp.unwrap_or(flow::STAMP_UNKNOWN);
        let part = Part::of(direction);
        let seen = flow::see(&mut self.flows(), stamp, key.words(), part, &clock);
        if matches!(seen, Seen::Noted) {
            note_port(self, key);
        }
        !matches!(seen, Seen::No)
    }
    /// Opens a flow: [`table::open`], which the kernel calls out of line.
    fn open_flow(&mut self, key: &FlowKey, slot: u32) -> Opened
    where
        Self: Sized,
    {
        let clock = clock(self);
        let mut rate = self.flow_rate().copied();
        let opened = table::open(&mut self.flows(), rate.as_mut(), key, slot, &clock);
        if let (Some(to), Some(left)) = (self.flow_rate(), rate) {
            *to = left;
        }
        opened
    }
    /// This CPU's place for a flow with that hash among what it let out; without, the whole pipeline
    /// judges.
    fn pass(&mut self, _hash: u64) -> Option<&mut Pass> {
        None
    }
    /// The control word: another one after each swap, never 0 where anything is remembered.
    fn control_word(&self) -> u64 {
        0
    }
    /// A word of `FLOW_PORTS`; `None` if every flow is to be looked up.
    fn flow_port(&mut self, index: u32) -> Option<&mut u32>;
    /// Whether the kernel has a TCP socket, other than a listening one, for a
    /// tuple.
    fn has_socket(&mut self, key: &FlowKey) -> bool;
    /// The same for a segment that may itself begin the connection: of a SYN
    /// answered by a cookie the kernel has kept nothing.
    fn has_connection(&mut self, key: &FlowKey, _: &Packet) -> bool {
        self.has_socket(key)
    }
    /// The openings, if any place is in use.
    fn openings(&self) -> Option<&[Opening; OPENINGS]> {
        None
    }
    /// The decision as it is: in the kernel by a way that the verifier does not follow.
    fn settle(&mut self, decision: Decision) -> Decision {
        decision
    }
    /// A slot of the guards.
    fn guard(&mut self, slot: u32) -> Option<&mut u64>;
    /// A slot of the fragments.
    fn fragment(&mut self, slot: u32) -> Option<&mut u64>;
    /// A bucket of the table of connections whose requests are counted.
    fn request_bucket(&mut self, number: u32) -> &mut request::Bucket;
    /// Puts `new` in the place of `old`; false if something else stands there by now.
    fn swap(word: &mut u64, old: u64, new: u64) -> bool {
        let is_there = *word == old;
        if is_there {
            *word = new;
        }
        is_there
    }
    /// Adds to the counters of an outcome, and to those of the rule if one decided;
    /// once per packet.
    fn count(&mut self, decision: &Decision, packets: u64, bytes: u64);
    /// Adds to a rule's request counters.
    fn count_request(&mut self, request_slot: u32, metric: request::Metric, add: u64);
    /// Whether a drop is one of those that no event is sent of, because there were
    /// enough; counts it then. The source is read only if it matters.
    fn keeps_back(&mut self, decision: &Decision, source: impl FnOnce() -> Address) -> bool;
    /// Raises a sampled event.
    fn event(&mut self, decision: &Decision, packet: &Packet);
}

/// What the hook knows of a frame beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Which hook.
    pub direction: Direction,
    /// Interface index.
    pub ifindex: u32,
    /// VLAN id that was taken off the frame before the hook saw it, or
    /// [`Context::UNTAGGED`](crate::policy::Context::UNTAGGED).
    pub tag: u16,
    /// Wire packets the frame stands for, at least 1.
    pub segments: u32,
    /// Bytes of the frame as the hook sees it.
    pub length: u32,
}

/// Judges a frame and counts it: the short way if it is a common one, else in full.
#[inline(always)]
pub fn process<W: World + Tables, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
    packet: &mut Packet,
) -> Decision {
    match fast::process(world, frame, arrival) {
        Ok((_, decision)) => return decision,
        Err(Rest::Requests(decision)) => {
            let answers = question::of_cell(world, decision.cell);
            fast::describe(frame, packet);
            count_requests(world, frame, packet, answers, arrival.direction);
            return decision;
        }
        Err(Rest::Suspect) => {
            if let Some(source) = fast::source(frame)
                && let Some(decision) = fast::drop_banned(world, source, arrival)
            {
                return decision;
            }
        }
        Err(Rest::Any) => {}
    }
    in_full(world, frame, arrival, packet)
}

/// The same, whatever frame it is: the long way.
#[inline(always)]
pub fn in_full<W: World + Tables, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
    packet: &mut Packet,
) -> Decision {
    let mut questions = Questions::EMPTY;
    if let Some(decision) = read(world, frame, arrival, packet, &mut questions) {
        return decision;
    }
    let mut answers = question::answer(world, &questions);
    if let Some(openings) = world.openings() {
        let now = world.now();
        question::ask_openings(&questions, &mut answers, |remote, version, service| {
            opening::admits(openings, remote, version, service, now)
        });
    }
    let decision = conclude(world, packet, &questions, answers, arrival);
    if counts_requests(world, &decision) {
        count_requests(world, frame, packet, answers, arrival.direction);
    }
    decision
}

/// Counts requests, with a tally of its own.
fn count_requests<W: World, F: Frame>(
    world: &mut W,
    frame: &F,
    packet: &Packet,
    answers: Answers,
    direction: Direction,
) {
    let mut tally = request::Tally::EMPTY;
    request::count(world, frame, packet, answers, direction, &mut tally);
}

/// Whether a packet that was judged in full may be a request to count.
#[inline(always)]
pub fn counts_requests<S: Settings>(settings: &S, decision: &Decision) -> bool {
    settings.setting(Setting::Features) & features::REQUESTS != 0
        && decision.cell.count() != 0
        && matches!(decision.reason.verdict(), Verdict::Pass)
}

/// Parses a frame, whatever it is, and writes down what it asks of the policy. One
/// for which the policy does not matter is judged and counted here.
///
/// `packet` and `questions` are scratch memory: in the kernel a map value, whose
/// content the verifier does not follow. On the stack it would check everything
/// behind the parser once for every way through it.
#[inline(always)]
pub fn read<W: World, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
    packet: &mut Packet,
    questions: &mut Questions,
) -> Option<Decision> {
    *packet = Packet::EMPTY;
    let reason = match parse::parse(frame, arrival.tag, packet) {
        Ok(Network::Ip) => {
            questions.ask(&frame.again(), packet, arrival);
            return None;
        }
        Ok(Network::Other) => baseline::non_ip(world, packet.ethertype),
        Err(reason) => reason,
    };
    let decision = world.settle(because(reason));
    account(world, &decision, packet, arrival);
    Some(decision)
}

/// Decides on a packet for which the policy has answered, and counts it; its
/// requests are left to the caller.
#[inline(always)]
pub fn conclude<W: World>(
    world: &mut W,
    packet: &Packet,
    questions: &Questions,
    answers: Answers,
    arrival: &Arrival,
) -> Decision {
    let decision = judge(world, packet, questions, answers, arrival.direction);
    let mut decision = world.settle(decision);
    if answers.opening() && by_default(decision.reason) {
        decision = world.settle(because(Reason::Opening));
    }
    if matches!(packet.fragment, Fragment::First) && !answers.cell.has(Cell::BROKEN) {
        remember(world, packet, arrival.direction, decision.reason.verdict());
    }
    account(world, &decision, packet, arrival);
    decision
}

/// Decides on a packet.
#[inline(always)]
fn judge<W: World>(
    world: &mut W,
    packet: &Packet,
    questions: &Questions,
    answers: Answers,
    direction: Direction,
) -> Decision {
    let cell = answers.cell;
    if cell.has(Cell::BROKEN) {
        return because(internal_error(world, direction));
    }
    if matches!(packet.fragment, Fragment::Later) {
        return later(world, packet, cell, direction);
    }
    staged(world, packet, questions, answers, direction)
}

/// The stages behind *malformed*.
#[inline(always)]
fn staged<W: World>(
    world: &mut W,
    packet: &Packet,
    questions: &Questions,
    answers: Answers,
    direction: Direction,
) -> Decision {
    let cell = answers.cell;
    if cell.has(Cell::FAILSAFE) {
        return admit(world, packet, answers, Reason::Failsafe, direction);
    }
    if packet.protocol != proto::TCP
        && world.setting(Setting::Features) & features::BASELINE != 0
        && let Some(reason) = baseline::admit(world, packet, questions, answers, direction)
    {
        return because(reason);
    }
    if matches!(direction, Direction::Ingress) && banned(world, packet) {
        return because(Reason::Banned);
    }
    if let Some(reason) = admitted_by(cell) {
        return admit(world, packet, answers, reason, direction);
    }
    match established(world, packet, answers, direction) {
        Established::Yes => because(Reason::Established),
        _ if !cell.has(Cell::DEFAULT) => Decision { reason: Reason::Deny, cell, new_flow: false },
        Established::Forgotten => because(Reason::TcpNoFlow),
        Established::No if is_noise(packet, direction) => because(Reason::Noise),
        Established::No => Decision { reason: Reason::DefaultDrop, cell, new_flow: false },
    }
}

/// The reason for which a cell lets a packet pass, if it does.
#[inline(always)]
pub(crate) const fn admitted_by(cell: Cell) -> Option<Reason> {
    if !cell.has(Cell::ALLOW) {
        None
    } else if !cell.has(Cell::FAILSAFE | Cell::DEFAULT) {
        Some(Reason::Rule)
    } else if cell.has(Cell::FAILSAFE) {
        Some(Reason::Failsafe)
    } else {
        Some(Reason::DefaultAllow)
    }
}

/// Bytes on the wire of a super-packet: each of its segments had the headers that it shows once.
#[inline(always)]
pub(crate) const fn wire_bytes(length: u64, segments: u64, headers: u64) -> u64 {
    length + (segments - 1) * headers
}

/// Whether a packet is dropped only because no rule names it.
#[inline(always)]
const fn by_default(reason: Reason) -> bool {
    matches!(reason, Reason::DefaultDrop | Reason::TcpNoFlow | Reason::Noise)
}

/// A decision that no rule took.
#[inline(always)]
const fn because(reason: Reason) -> Decision {
    Decision { reason, cell: Cell(Cell::NO_SLOT), new_flow: false }
}

/// Lets a packet pass; on egress that may open a flow.
#[inline(always)]
fn admit<W: World>(
    world: &mut W,
    packet: &Packet,
    answers: Answers,
    reason: Reason,
    direction: Direction,
) -> Decision {
    let cell = answers.cell;
    let new_flow = match direction {
        Direction::Ingress => packet.protocol == proto::TCP && packet.opens_tcp(),
        Direction::Egress => match open(world, packet, answers) {
            Ok(new) => new,
            Err(refused) => return because(refused),
        },
    };
    Decision { reason, cell, new_flow }
}

/// Notes a packet that this host sends and a rule admits; true if it opened a
/// flow. An answer to a packet that is admitted where this one leaves opens none, so that
/// nobody outside makes this host write an entry.
///
/// # Errors
/// The reason for which the packet is dropped: the table would not take the flow.
#[inline(always)]
pub(crate) fn open<W: World>(
    world: &mut W,
    packet: &Packet,
    answers: Answers,
) -> Result<bool, Reason> {
    if !flow::could_open(packet) {
        return Ok(false);
    }
    let key = flow::key(packet, Direction::Egress);
    if world.sees_flow(&key, Some(Direction::Egress)) {
        return Ok(false);
    }
    if answers.needs_no_flow() {
        return Ok(false);
    }
    note_port(world, &key);
    let refused = match world.open_flow(&key, answers.cell.slot()) {
        Opened::Yes => return Ok(true),
        Opened::Full => Reason::FlowTableFull,
        Opened::TooMany => Reason::FlowRate,
    };
    // What is answered on a running connection is picked up by its socket.
    let pickup = world.setting(Setting::Features) & features::PICKUP != 0;
    let runs = packet.protocol == proto::TCP && !packet.opens_tcp();
    if runs && pickup { Ok(false) } else { Err(refused) }
}

/// What a packet that no rule admits is to the flows in force.
enum Established {
    Yes,
    No,
    /// TCP that a flow of ours might have had, but none is known.
    Forgotten,
}

#[inline(always)]
fn established<W: World>(
    world: &mut W,
    packet: &Packet,
    answers: Answers,
    direction: Direction,
) -> Established {
    if !flow::could_be_reply(packet) {
        return Established::No;
    }
    let key = flow::key(packet, direction);
    if world.sees_flow(&key, Some(direction)) {
        return Established::Yes;
    }
    match direction {
        _ if !answers.counterpart() => Established::No,
        Direction::Egress => Established::Yes,
        Direction::Ingress => forgotten(world, &key),
    }
}

/// A TCP segment of a flow that the egress policy would let this host open, and the
/// table has lost: it passes if the kernel has the socket.
#[inline(always)]
fn forgotten<W: World>(world: &mut W, key: &FlowKey) -> Established {
    let pickup = world.setting(Setting::Features) & features::PICKUP != 0;
    if pickup && world.has_socket(key) { Established::Yes } else { Established::Forgotten }
}

/// Notes that a port has a flow.
#[inline(always)]
fn note_port<W: World>(world: &mut W, key: &FlowKey) {
    let now = clock(world).stamp();
    if let Some(index) = flow::port_index(key.protocol, key.local_port)
        && let Some(stamp) = world.flow_port(index)
        && *stamp != now
    {
        *stamp = now;
    }
}

/// Whether an ICMP error speaks of a flow we know, or of a packet that the
/// ingress policy, or an opening, admits.
#[inline(always)]
pub(crate) fn known<W: World>(world: &mut W, key: &FlowKey, answers: Answers) -> bool {
    world.sees_flow(key, None) || answers.counterpart()
}

/// Whether the source is banned; counts the hit.
#[inline(always)]
fn banned<W: World>(world: &mut W, packet: &Packet) -> bool {
    if !world.any_bans(packet.family) {
        return false;
    }
    let place = world.ban_of(packet.source, packet.family);
    if place == ban::NOWHERE {
        return false;
    }
    ban::hit(world, place);
    true
}

/// A later fragment: the verdict of its first fragment, else what rules without
/// ports say, else a rate.
#[inline(never)]
fn later<W: World>(world: &mut W, packet: &Packet, cell: Cell, direction: Direction) -> Decision {
    let now = world.now();
    let datagram = fragment::datagram(world.setting(Setting::Seed), direction, packet);
    match world.fragment(datagram.slot).and_then(|word| datagram.recall(*word, now)) {
        Some(Verdict::Pass) => return because(Reason::FragmentFollows),
        Some(Verdict::Drop) => return because(Reason::FragmentFollowsDrop),
        None => {}
    }
    if cell.has(Cell::FAILSAFE) {
        return Decision { reason: Reason::Failsafe, cell, new_flow: false };
    }
    if matches!(direction, Direction::Ingress) && banned(world, packet) {
        return because(Reason::Banned);
    }
    if let Some(reason) = admitted_by(cell) {
        return Decision { reason, cell, new_flow: false };
    }
    if !cell.has(Cell::DEFAULT) {
        return Decision { reason: Reason::Deny, cell, new_flow: false };
    }
    let features = world.setting(Setting::Features);
    let rate = guard::UNKNOWN_FRAGMENTS_PER_SECOND;
    if features & features::BASELINE != 0
        && features & features::FRAGMENTS_STRICT == 0
        && baseline::within(world, Guard::Fragment, packet.family, packet.source, rate)
    {
        return because(Reason::FragmentUnknown);
    }
    because(Reason::FragmentUnknownDrop)
}

/// Remembers the verdict of a first fragment for the later ones.
#[inline(never)]
fn remember<W: World>(world: &mut W, packet: &Packet, direction: Direction, verdict: Verdict) {
    let now = world.now();
    let datagram = fragment::datagram(world.setting(Setting::Seed), direction, packet);
    if let Some(word) = world.fragment(datagram.slot) {
        *word = datagram.remember(verdict, now);
    }
}

/// Broadcast and multicast datagrams that nobody asked for: every segment is
/// full of them, so they raise no event.
#[inline(always)]
fn is_noise(packet: &Packet, direction: Direction) -> bool {
    let multicast = match packet.family {
        Family::V4 => packet.destination.v4() >> 28 == 0xe || packet.destination.v4() == u32::MAX,
        Family::V6 => packet.destination.byte(0) == 0xff,
    };
    multicast && packet.protocol == proto::UDP && matches!(direction, Direction::Ingress)
}

/// The tables failed: the chain's default holds.
#[inline(always)]
pub fn internal_error<S: Settings>(settings: &S, direction: Direction) -> Reason {
    let open = match direction {
        Direction::Ingress => features::DEFAULT_ALLOW_INGRESS,
        Direction::Egress => features::DEFAULT_ALLOW_EGRESS,
    };
    if settings.setting(Setting::Features) & open != 0 {
        Reason::InternalErrorPass
    } else {
        Reason::InternalErrorDrop
    }
}

/// The clock of flows.
#[inline(always)]
fn clock<W: World>(world: &W) -> Clock {
    Clock::new(world, world.jiffies())
}

/// Counts a packet once by outcome, once by rule, and tells a person about it if
/// it is worth telling.
#[inline(always)]
fn account<W: World>(world: &mut W, decision: &Decision, packet: &Packet, arrival: &Arrival) {
    let packets = u64::from(world.segments(arrival));
    let length = u64::from(arrival.length.max(packet.length));
    let bytes = wire_bytes(length, packets, packet.payload_offset.into());
    world.count(decision, packets, bytes);
    let dropped = matches!(decision.reason.verdict(), Verdict::Drop);
    let quiet = decision.cell.has(Cell::QUIET) || matches!(decision.reason, Reason::Noise);
    if (dropped && !quiet) || decision.cell.has(Cell::SAMPLE) {
        world.event(decision, packet);
    }
}
