//! Counters that moved, by name.

use std::collections::BTreeMap;

use firewall_common::abi::counter::{INTERFACES, RuleCounter};
use firewall_common::request::Metric;
use firewall_common::verdict::{Direction, Reason};
use firewall_policy::compile::Generation;
use firewall_policy::ir;
use firewall_policy::world::Counted;
use firewall_userspace::kernel::sandbox::Ledger;

/// By how much each counter moved; those that did not are left out.
pub(crate) type Moves = BTreeMap<String, u64>;

/// What moved between two readings of the kernel's counters.
pub(crate) fn of_kernel(generation: &Generation, before: &Ledger, after: &Ledger) -> Moves {
    let mut moves = Moves::new();
    for interface in 0..INTERFACES {
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL {
                let at = |ledger: &Ledger| ledger.outcomes.get(interface, direction, *reason);
                let (old, new) = (at(before), at(after));
                if old == new {
                    continue;
                }
                let mut name = outcome(direction, *reason);
                if interface != 0 {
                    name = format!("{name} of interface place {interface}");
                }
                moves.extend(traffic(&name, new.packets - old.packets, new.bytes - old.bytes));
            }
        }
    }
    for (slot, (old, new)) in (0..).zip(before.rules.iter().zip(&after.rules)) {
        if old != new {
            let by = RuleCounter {
                packets: new.packets - old.packets,
                bytes: new.bytes - old.bytes,
                new_flows: new.new_flows - old.new_flows,
                reserved: new.reserved - old.reserved,
            };
            add_rule(&mut moves, &rule(generation, slot), by);
        }
    }
    for (slot, (old, new)) in (0..).zip(before.requests.iter().zip(&after.requests)) {
        for (metric, (old, new)) in Metric::ALL.iter().zip(old.iter().zip(new)) {
            add_request(&mut moves, generation, (slot, *metric), new - old);
        }
    }
    moves.retain(|_, by| *by != 0);
    moves
}

/// What the host has counted.
pub(crate) fn of_host(generation: &Generation, counted: &Counted) -> Moves {
    let mut moves = Moves::new();
    for (&(direction, reason), by) in &counted.outcomes {
        moves.extend(traffic(&outcome(direction, reason), by.packets, by.bytes));
    }
    for (&slot, &by) in &counted.rules {
        add_rule(&mut moves, &rule(generation, slot), by);
    }
    for (&place, &by) in &counted.requests {
        add_request(&mut moves, generation, place, by);
    }
    moves.retain(|_, by| *by != 0);
    moves
}

/// Packets and bytes of a counter.
pub(crate) fn traffic(name: &str, packets: u64, bytes: u64) -> [(String, u64); 2] {
    [(format!("{name}, packets"), packets), (format!("{name}, bytes"), bytes)]
}

/// The name of an outcome.
pub(crate) fn outcome(direction: Direction, reason: Reason) -> String {
    format!("{direction:?} {}", reason.name())
}

/// The name of the rule that counts in a slot.
pub(crate) fn rule(generation: &Generation, slot: u32) -> String {
    let rule = generation.rules.iter().find(|rule| rule.slot == slot);
    rule.map_or_else(
        || format!("rule slot {slot}, which is nobody's"),
        |rule| format!("{:?} rule `{}`", rule.direction, rule.name),
    )
}

/// Whether both words mean the same direction.
pub(crate) fn is(a: ir::Direction, b: Direction) -> bool {
    (a == ir::Direction::Ingress) == (b == Direction::Ingress)
}

fn add_rule(moves: &mut Moves, name: &str, by: RuleCounter) {
    moves.extend(traffic(name, by.packets, by.bytes));
    moves.insert(format!("{name}, new flows"), by.new_flows);
    moves.insert(format!("{name}, reserved word"), by.reserved);
}

fn add_request(moves: &mut Moves, generation: &Generation, (slot, metric): (u32, Metric), by: u64) {
    if by == 0 {
        return;
    }
    let counting = generation.rules.iter().find(|rule| rule.request_slot == Some(slot));
    let name = counting.map_or_else(
        || format!("request slot {slot}, which is nobody's"),
        |counting| rule(generation, counting.slot),
    );
    moves.insert(format!("{name}, {}", metric.name()), by);
}
