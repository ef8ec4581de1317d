//! Policies of many sizes are taken by the kernel, in every form that their cells can have.
//!
//! A verifier follows how indexes come about, and knows more of them where distances are powers of
//! two. What it then thinks possible has been outside of the tables, for a sparse policy of 512
//! classes and 157 local ends; these are smaller, and do not bring that one about again.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::tables::Setting;
use firewall_common::verdict::Verdict;
use firewall_policy::compile::Budget;
use firewall_policy::ir::{Policy, Rule};
use firewall_policy::set::{AddrSet, RangeSet, ServiceSet};
use firewall_tests::packet::{Frame, Ipv4, Tcp, flags};
use firewall_userspace::kernel::sandbox::Hook;

use crate::common::bench::Bench;
use crate::common::policy;
use crate::policies;

/// How many addresses rules name as remote and as local end.
const SIZES: [(u32, u32); 12] = [
    (5, 1),
    (23, 3),
    (60, 60),
    (108, 15),
    (123, 2),
    (246, 5),
    (250, 1),
    (356, 2),
    (445, 45),
    (500, 7),
    (547, 60),
    (1_010, 1),
];

fn host(base: u32, number: u32) -> AddrSet {
    let address = base + 2 * number;
    AddrSet { v4: RangeSet::range(address, address), v6: RangeSet::empty() }
}

const REMOTE: u32 = 0x0a00_0000;
const LOCAL: u32 = 0xc000_0200;

/// A rule for each remote address, which asks for one of the local ones, at one of a few ports;
/// the first one for an interface, too, if any is to.
fn policy_of(remotes: u32, locals: u32, asks_interface: bool) -> Result<Policy> {
    let mut policy = policy::read(
        "services: { http: { tcp: 80 } }
ingress: { allow: [{ name: rule, from: any, service: http }] }
",
    )?;
    let template = *policy.ingress.allow.pop().context("a rule was written")?;
    let rule = |number: u32| Rule {
        name: format!("rule-{number}"),
        remote: host(REMOTE, number),
        local: if locals == 1 { AddrSet::any() } else { host(LOCAL, number % locals) },
        services: ServiceSet::range(80 + number % 7, 80 + number % 7),
        ..template.clone()
    };
    policy.ingress.allow = (0..remotes).map(rule).map(Box::new).collect();
    if let Some(first) = policy.ingress.allow.first_mut().filter(|_| asks_interface) {
        first.interfaces = vec!["eth0".to_owned()];
    }
    Ok(policy)
}

fn frame(remote: u32, local: u32, port: u16) -> Vec<u8> {
    let [remote, local] = [REMOTE + 2 * remote, LOCAL + 2 * local].map(Ipv4Addr::from);
    let tcp = Tcp { flags: flags::SYN, ..Tcp::between(40_000, port) };
    Frame::ethernet().ipv4(Ipv4::between(remote, local)).tcp(tcp).bytes()
}

fn are_taken(budget: Budget, ask_interface: bool) -> Result<()> {
    for (remotes, locals) in SIZES {
        let generation = policy::compiled(&policy_of(remotes, locals, ask_interface)?, budget)?;
        let what = || format!("{remotes} remote addresses, {locals} local ones");
        let mut bench = Bench::new(generation).with_context(what)?;
        // The last rule, and a port of none.
        let last = remotes - 1;
        let port = 80 + u16::try_from(last % 7)?;
        for (port, wanted) in [(port, Verdict::Pass), (port + 7, Verdict::Drop)] {
            let judged = bench.judge(Hook::Xdp, &frame(last, last % locals, port), 1)?;
            ensure!(judged.kernel == wanted, "{}: port {port}: {judged:?}", what());
        }
    }
    Ok(())
}

#[test]
fn dense_cells() -> Result<()> {
    are_taken(Budget::USUAL, false)
}

#[test]
fn cells_in_two_stages() -> Result<()> {
    are_taken(policies::SHARED, false)
}

#[test]
fn sparse_cells() -> Result<()> {
    are_taken(policies::SHARED, true)
}

#[test]
fn lines() -> Result<()> {
    are_taken(policies::LINES, false)
}

#[test]
fn vectors() -> Result<()> {
    are_taken(policies::VECTORS, false)
}

/// What ends of a rule may be: whether remote and local are wide.
const ENDS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];
const RULES: u32 = 120;

/// Half of all addresses.
fn half(of: u32) -> AddrSet {
    let first = of & 1 << 31;
    AddrSet { v4: RangeSet::range(first, first | u32::MAX >> 1), v6: RangeSet::empty() }
}

/// Rules both ways, with ends of these kinds in turn, each kind at its own port.
fn with_ends(kinds: &[[bool; 2]]) -> Result<Policy> {
    let mut policy = policy_of(1, 1, false)?;
    let template = *policy.ingress.allow.pop().context("a rule was written")?;
    let rule = |number: u32| {
        let place = number as usize % kinds.len();
        let [remote, local] = kinds[place];
        let port = 80 + u32::try_from(place)?;
        anyhow::Ok(Box::new(Rule {
            name: format!("rule-{number}"),
            remote: if remote { half(REMOTE) } else { host(REMOTE, number) },
            local: if local { half(LOCAL) } else { host(LOCAL, number % 7) },
            services: ServiceSet::range(port, port),
            ..template.clone()
        }))
    };
    policy.ingress.allow = (0..RULES).map(rule).collect::<Result<_>>()?;
    policy.egress.allow.clone_from(&policy.ingress.allow);
    Ok(policy)
}

#[test]
fn lines_with_ends_of_every_kind() -> Result<()> {
    for chosen in 1..1_u32 << ENDS.len() {
        let kinds = (0..).zip(ENDS).filter(|(bit, _)| chosen >> bit & 1 != 0);
        let kinds: Vec<_> = kinds.map(|(_, kind)| kind).collect();
        for (budget, form) in [(policies::LINES, "rows"), (policies::VECTORS, "vectors")] {
            let what = || format!("{form}, ends {kinds:?}");
            let generation = policy::compiled(&with_ends(&kinds)?, budget)?;
            let of = |setting: Setting| generation.settings[setting as usize];
            let found = [of(Setting::LinesIngress), of(Setting::SummariesIngress)];
            ensure!(found.map(|first| first != 0) == [true, form == "vectors"], "{}", what());
            let mut bench = Bench::new(generation).with_context(what)?;
            for number in 0..RULES {
                let place = u16::try_from(number as usize % kinds.len())?;
                for (port, wanted) in [(80 + place, Verdict::Pass), (90, Verdict::Drop)] {
                    let frame = frame(number, number % 7, port);
                    let judged = bench.judge(Hook::Xdp, &frame, 1)?;
                    ensure!(judged.kernel == wanted, "{}: port {port}: {judged:?}", what());
                }
            }
        }
    }
    Ok(())
}
