//! A checked policy to the tables that the datapath walks.
//!
//! Everything whose cost grows with the number of rules happens here, once.
//! Values that no rule tells apart fall into one class; for every combination of
//! classes the decision is worked out and written down as a cell.
//!
//! | module | idea |
//! | --- | --- |
//! | `resolve` | numbers in place of sets and conditions |
//! | `classes` | values that no set tells apart |
//! | `address`, `service`, `context`, `sides` | the classes of each dimension |
//! | `judge`, `reply` | what the rules say of a combination |
//! | `cells`, `combined` | combinations to words: dense, sparse, or in two stages |
//! | `by_line`, `lines`, `wide`, `ends`, `pairs`, `rows`, `vectors` | rules to words, where combinations are too many |
//! | `trie`, `hosts` | address classes to words |
//! | `layout`, `memory`, `limit` | where each table stands, what it takes and may take |
//! | `room` | what stays in place when a policy changes by a little |
//! | `slots` | counters that survive |
//! | `generation`, `digest`, `ports` | what comes out |
//!
//! The tests hold it against [`crate::model`], which shares no code with it.

mod address;
mod by_line;
mod cells;
mod classes;
mod combined;
mod context;
mod digest;
mod ends;
mod error;
mod generation;
mod hosts;
mod interner;
mod judge;
mod layout;
mod limit;
mod lines;
mod lists;
mod memory;
mod pairs;
pub mod parallel;
mod ports;
mod reply;
mod resolve;
mod room;
mod rows;
mod service;
mod sides;
mod slots;
#[cfg(test)]
mod tests;
mod trie;
mod vectors;
mod wide;

use firewall_common::abi::tables::{Setting, features};

pub use error::CompileError;
pub use generation::{CountInfo, DefaultInfo, Generation, List, RuleInfo};
pub use memory::Memory;
pub use ports::Ports;
pub use room::Settings;
pub use slots::{SlotTable, rule_counters};

use address::AddressClasses;
use context::Contexts;
use judge::Judge;
use layout::{Layout, Parts, Tries};
use limit::Limit;
use resolve::Resolved;
use room::Room;
use slots::Assignment;

use crate::ir::{Action, Chain, Policy};

/// What of the host the tables depend on.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Name and index of each interface of this host.
    pub interfaces: Vec<(String, u32)>,
    /// Possible CPUs.
    pub cpus: u32,
    /// Slot of the program arrays that the generation goes to: 0 or 1.
    pub generation_slot: u32,
    /// A random number, new with each generation.
    pub seed: u32,
    /// What decides about the form of cells.
    pub budget: Budget,
    /// What the programs of that slot were told, if it has any: they need not be loaded anew
    /// where the numbers that this policy needs can be the same.
    pub told: Option<Settings>,
    /// Entries of the table of flows that is there, which keeps its size, if one is.
    pub flows: Option<u32>,
}

/// Bytes that the cells of one direction may take, by form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In the quick, dense form.
    pub dense_bytes: u64,
    /// Above that, in a form that keeps once what pairs of classes have in common; above
    /// this, too, they are those of lines.
    pub shared_bytes: u64,
    /// Above that, lines are found by vectors instead of rows.
    pub row_bytes: u64,
}

impl Budget {
    /// Keeps the cells of almost every policy dense, and those that packets touch in the
    /// second-level cache; and rows, which packets touch all over, in the third.
    pub const USUAL: Self =
        Self { dense_bytes: 16 << 20, shared_bytes: 128 << 20, row_bytes: 64 << 20 };
}

/// Compiles a policy.
///
/// The same policy, environment and slot table always give the same words. Slots
/// are given to new rules only if all else succeeds.
///
/// # Errors
///
/// [`CompileError`]: the policy does not fit; nothing has changed.
pub fn compile(
    policy: &Policy,
    environment: &Environment,
    slots: &mut SlotTable,
) -> Result<Generation, CompileError> {
    match compile_in(policy, environment, Room::of(environment.told.as_ref()), slots) {
        // It may fit where nothing is to stay.
        Err(CompileError::Memory { .. }) if environment.told.is_some() => {
            compile_in(policy, environment, Room::default(), slots)
        }
        compiled => compiled,
    }
}

/// Compiles a policy into the room that there is.
fn compile_in(
    policy: &Policy,
    environment: &Environment,
    room: Room<'_>,
    slots: &mut SlotTable,
) -> Result<Generation, CompileError> {
    let resolved = Resolved::new(policy);
    let (sets, seed) = (resolved.addresses.values(), environment.seed);
    let is_large =
        sets.iter().map(|set| set.v4.ranges().len() + set.v6.ranges().len()).sum::<usize>() > LARGE;
    // The digest here, because to divide addresses takes longer than to plan.
    let ((plan, hash), addresses) = parallel::both(
        is_large,
        || (slots::plan(slots, &resolved), digest::of(policy, &resolved)),
        || AddressClasses::new(sets, seed, room),
    );
    let (plan, addresses) = (plan?, addresses?);
    let (rules, tables) = parallel::both(
        is_large,
        || generation::rules(&resolved, &plan.assignments),
        || tables(policy, (environment, room), &resolved, &plan, &addresses),
    );
    let Tables { words, settings, memory } = tables?;
    let defaults = [&policy.ingress, &policy.egress].map(generation::default);
    *slots = plan.table;
    Ok(Generation { words, settings, rules, defaults, memory, hash })
}

/// Address ranges from which on threads pay.
const LARGE: usize = 10_000;

/// What the kernel gets.
struct Tables {
    words: Vec<u32>,
    settings: Settings,
    memory: Memory,
}

fn tables(
    policy: &Policy,
    (environment, room): (&Environment, Room<'_>),
    resolved: &Resolved<'_>,
    plan: &slots::Plan,
    addresses: &AddressClasses,
) -> Result<Tables, CompileError> {
    let contexts = Contexts::new(&resolved.conditions, &environment.interfaces)?;
    let limit = Limit::of(policy, environment, &plan.table);
    let judge = |direction: usize| {
        let sets = resolved.addresses.values().len();
        let (ranks, slots) = (&resolved.chains[direction], &plan.assignments[direction]);
        let judge = Judge::new(ranks, addresses, sets, &contexts, slots, (environment.seed, room))?;
        let form = limit.choose(&judge, ranks.direction)?;
        Ok((judge, form))
    };
    let is_large = addresses.v4.len() + addresses.v6.len() + addresses.lone() > LARGE;
    let (tries, judges) = parallel::both(
        is_large,
        || Tries::new(addresses, environment.seed),
        || [judge(0), judge(1)],
    );
    let [ingress, egress] = judges;
    let (ingress, egress) = (ingress?, egress?);
    let request_slots = request_slots(plan);
    let parts = Parts {
        addresses,
        tries: &tries,
        contexts: &contexts,
        chains: [(&ingress.0, &ingress.1), (&egress.0, &egress.1)],
        request_slots: &request_slots,
        seed: environment.seed,
        room,
    };
    let layout = Layout::new(&parts);
    let memory = limit.check(&layout, &parts)?;
    let mut settings = [0; Setting::COUNT];
    let found = layout.settings(&parts).into_iter();
    for (setting, value) in found.chain(chosen(policy, environment, &plan.table)) {
        settings[setting as usize] = value;
    }
    Ok(Tables { words: layout.write(&parts), settings, memory })
}

/// Request slot by rule slot; empty if nothing counts requests. A rule that
/// counts none has a number that no counter has.
fn request_slots(plan: &slots::Plan) -> Vec<u32> {
    let counting = |assigned: &Assignment| Some((assigned.slot, assigned.request_slot?));
    let counting: Vec<_> = plan.assignments.iter().flatten().filter_map(counting).collect();
    if counting.is_empty() {
        return Vec::new();
    }
    let mut words = vec![u32::MAX; plan.table.rules() as usize];
    for (slot, request_slot) in counting {
        words[slot as usize] = request_slot;
    }
    words
}

/// Settings that do not depend on the tables.
fn chosen(policy: &Policy, environment: &Environment, slots: &SlotTable) -> Vec<(Setting, u32)> {
    let (baseline, state) = (&policy.baseline, &policy.state);
    let counts = [&policy.ingress, &policy.egress]
        .into_iter()
        .flat_map(Chain::rules)
        .flat_map(|rule| &rule.counts)
        .fold(0, |bits, (_, count)| bits | features::counts(judge::kind(*count)));
    let features = [
        (features::BASELINE, baseline.host),
        (features::DHCP, baseline.dhcp),
        (features::NON_IP_ALL, baseline.non_ip_all),
        (features::FRAGMENTS_STRICT, baseline.fragments_strict),
        (features::PICKUP, state.pickup_loose),
        (features::DEFAULT_ALLOW_INGRESS, policy.ingress.default == Action::Allow),
        (features::DEFAULT_ALLOW_EGRESS, policy.egress.default == Action::Allow),
    ];
    vec![
        (
            Setting::Features,
            features.iter().map(|&(bit, on)| if on { bit } else { 0 }).fold(counts, |a, b| a | b),
        ),
        (Setting::PingPerSecond, baseline.ping_per_second),
        (Setting::TcpIdleSeconds, state.tcp_idle_s),
        (Setting::UdpIdleSeconds, state.udp_idle_s),
        (Setting::Generation, environment.generation_slot),
        (Setting::Seed, environment.seed),
        (Setting::Cpus, environment.cpus),
        (Setting::RuleSlots, slots.rules()),
        (Setting::RequestSlotCount, slots.requests()),
    ]
}
