//! A router's rules: networks of every length at both ends, as lines.

use firewall_common::abi::tables::{Cell, Setting};
use firewall_common::service::ServiceIndex;

use super::equals_model::{check, wanted};
use super::*;
use crate::ir::Count;
use crate::set::RangeSet;

/// Numbers that look random: Marsaglia, "Xorshift RNGs", 2003.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 32).unwrap()
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.next() % bound
    }

    /// A network around one of a few places.
    fn network(&mut self) -> (u32, u32) {
        let host = (10 << 24 | self.below(40) << 16).wrapping_add(self.below(1 << 12));
        let span = u32::MAX.checked_shr(8 + self.below(25)).unwrap_or(0);
        (host & !span, host | span)
    }
}

fn of((first, last): (u32, u32)) -> AddrSet {
    AddrSet { v4: RangeSet::range(first, last), v6: RangeSet::empty() }
}

fn router(rules: u32, numbers: &mut Numbers) -> Policy {
    let (mut deny, mut allow) = (Vec::new(), Vec::new());
    for number in 0..rules {
        let port = numbers.below(2_000);
        let (remote, local) = (numbers.network(), numbers.network());
        let any = numbers.below(16);
        let rule = Rule {
            remote: if any == 0 { AddrSet::any() } else { of(remote) },
            local: if any == 1 { AddrSet::any() } else { of(local) },
            services: ServiceSet::range(port, port + numbers.below(3) * 500),
            ..rule(&format!("r{number}"))
        };
        if number % 2 == 0 { deny.push(rule) } else { allow.push(rule) }
    }
    policy_of(chain(vec![], deny, allow), chain(vec![], vec![], vec![]))
}

/// Compiles a router's policy within a budget, and asks it; its settings.
fn agrees(rules: u32, budget: Budget) -> [u32; Setting::COUNT] {
    let mut numbers = Numbers(0x5eed);
    let policy = router(rules, &mut numbers);
    let environment = Environment { budget, ..environment() };
    let generation = compile(&policy, &environment, &mut SlotTable::default()).unwrap();
    let mut decided = 0;
    for _ in 0..3_000 {
        let query = Query {
            direction: Direction::Ingress,
            remote: IpAddr::V4(numbers.network().0.into()),
            local: IpAddr::V4(numbers.network().1.into()),
            service: ServiceIndex(numbers.below(6_000)),
            context: Context::Packet { interface: "eth0", vlan: None, tcp_flags: 0 },
        };
        let wanted = wanted(&policy, &generation, &query);
        decided += usize::from(!wanted.has(Cell::DEFAULT));
        check(wanted, ask(&generation, &query), &query);
    }
    assert!((300..2_700).contains(&decided), "{decided} of 3,000 met a rule");
    assert_ne!(generation.settings[Setting::LinesIngress as usize], 0);
    generation.settings
}

#[test]
fn a_router_gets_rows_for_its_pairs() {
    let settings = agrees(800, LINES);
    assert_eq!(settings[Setting::SummariesIngress as usize], 0);
}

#[test]
fn a_router_with_too_many_pairs_gets_vectors() {
    // More lines with narrow ends than a word of bits has words: two of them.
    let settings = agrees(2_500, Budget { row_bytes: 4 << 20, ..LINES });
    assert!(settings[Setting::SummariesIngress as usize] > 1);
}

#[test]
fn a_router_without_room_for_rows_gets_nothing_but_vectors() {
    let settings = agrees(1_500, VECTORS);
    assert!(settings[Setting::SummariesIngress as usize] > 1);
}

#[test]
fn rules_without_a_line_leave_pairs_to_others() {
    let all = ServiceSet::range(80, 80);
    let counted = |name: &str| Rule {
        remote: of((1 << 24, 1 << 24)),
        local: of((2 << 24, 2 << 24)),
        services: all.clone(),
        counts: vec![(all.clone(), Count::Http1)],
        ..rule(name)
    };
    let nobody = Rule { services: all.clone(), ..rule("nobody") };
    let other = Rule { services: ServiceSet::range(81, 81), counts: vec![], ..counted("other") };
    let allow = vec![counted("one"), counted("two"), other];
    let policy = policy_of(chain(vec![], vec![nobody], allow), chain(vec![], vec![], vec![]));
    let environment = Environment { budget: LINES, ..environment() };
    let generation = compile(&policy, &environment, &mut SlotTable::default()).unwrap();
    assert_ne!(generation.settings[Setting::LinesIngress as usize], 0);
    assert_eq!(generation.settings[Setting::SummariesIngress as usize], 0, "rows for all");
}
