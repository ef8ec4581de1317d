//! Random frames under random policies.

use anyhow::{Context as _, Result, bail, ensure};
use firewall_common::abi::ban::Ban;
use firewall_common::abi::tables::Setting;
use firewall_common::service::ServiceIndex;
use firewall_common::verdict::{Direction, Reason};
use firewall_policy::compile::{Budget, Generation};
use firewall_policy::ir::Policy;
use firewall_userspace::kernel::sandbox::Hook;
use firewall_userspace::kernel::{bans, openings};

use crate::captures::ONE_PAGE;
use crate::common::policy;
use crate::frames::Frames;
use crate::pair::Pair;
use crate::policies::{self, Kind, LongList, Places};
use crate::rng::Rng;

/// Frames put to each policy.
const FRAMES: usize = 40_000;

/// Names how many policies there are to be of each kind, in place of one.
const VARIABLE: &str = "FIREWALL_POLICIES";

/// Frames between two readings of all counters, which also bounds what of flows
/// and fragments is remembered, and for how long.
const RUN: usize = 500;

#[test]
fn plain_policies() -> Result<()> {
    compare("plain", Kind { counts: true, ..Kind::default() }, Budget::USUAL)
}

#[test]
fn policies_that_ask_for_local_addresses_interfaces_tags_and_flags() -> Result<()> {
    compare("sides", Kind { locals: true, contexts: true, ..Kind::default() }, Budget::USUAL)
}

#[test]
fn policies_in_the_sparse_form() -> Result<()> {
    compare("sparse", Kind { locals: true, contexts: true, ..Kind::default() }, policies::SHARED)
}

#[test]
fn policies_whose_cells_are_those_of_lines() -> Result<()> {
    compare("lines", Kind { locals: true, counts: true, ..Kind::default() }, policies::LINES)
}

#[test]
fn policies_whose_lines_are_found_by_vectors() -> Result<()> {
    compare("vectors", Kind { locals: true, counts: true, ..Kind::default() }, policies::VECTORS)
}

#[test]
fn policies_with_a_list_of_so_many_hosts_that_they_have_a_table() -> Result<()> {
    let long_list = Some(LongList::Hosts);
    compare("hosts", Kind { long_list, locals: true, ..Kind::default() }, Budget::USUAL)
}

#[test]
fn policies_with_a_list_so_long_that_there_is_a_bitmap() -> Result<()> {
    let long_list = Some(LongList::Networks);
    compare("bitmap", Kind { long_list, locals: true, ..Kind::default() }, Budget::USUAL)
}

fn compare(what: &str, kind: Kind, budget: Budget) -> Result<()> {
    let policies = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{VARIABLE}={text} is no number"))?,
        Err(_) => 1,
    };
    let mut rng = Rng::from_environment(what)?;
    (0..policies).try_for_each(|number| {
        compare_one(what, &mut rng, kind, budget)
            .with_context(|| format!("{what}, policy {number}"))
    })
}

fn compare_one(what: &str, rng: &mut Rng, kind: Kind, budget: Budget) -> Result<()> {
    let (policy, generation) = drawn(rng, kind, budget)?;
    let mut pair = Pair::new(generation)?;
    let mut frames = Frames::new(Places::of(&policy));
    let mut seen = std::collections::HashMap::<Reason, usize>::new();
    for run in 0..FRAMES / RUN {
        pair.begin()?;
        ban(rng, &mut pair)?;
        open(rng, &mut pair)?;
        for number in 0..RUN {
            let (direction, frame) = frames.next(rng);
            let hook = match direction {
                Direction::Egress => Hook::TcEgress,
                Direction::Ingress if frame.len() > ONE_PAGE => Hook::Xdp,
                Direction::Ingress => {
                    rng.pick(&[Some(Hook::Xdp), Some(Hook::TcIngress)]).unwrap_or(Hook::Xdp)
                }
            };
            let segments = if hook != Hook::Xdp && rng.once_in(20) {
                1 + u32::from(rng.byte() & 15)
            } else {
                1
            };
            let judged = pair
                .judge(hook, &frame, segments)
                .with_context(|| format!("{what}, run {run}, frame {number}"))?;
            if let Some(decision) = judged {
                *seen.entry(decision.reason).or_default() += 1;
            }
        }
        pair.end().with_context(|| format!("{what}, run {run}"))?;
    }
    let mut seen: Vec<_> = seen.into_iter().collect();
    seen.sort_unstable_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason as u8));
    for (reason, count) in &seen {
        eprintln!("{count:6} {}", reason.name());
    }
    ensure!(seen.len() > 30, "frames met {} reasons only", seen.len());
    Ok(())
}

/// A policy whose tables have the form that the test is about: one in a few has so
/// few rules that it needs no rows.
fn drawn(rng: &mut Rng, kind: Kind, budget: Budget) -> Result<(Policy, Generation)> {
    for _ in 0..20 {
        let policy = policies::random(rng, kind)?;
        let generation = policy::compiled(&policy, budget)?;
        let has = |setting: Setting| generation.settings[setting as usize] != 0;
        let is_by_line = has(Setting::LinesIngress);
        let is_sparse = has(Setting::RowsIngress) && !is_by_line;
        let form = [is_sparse, is_by_line, has(Setting::SummariesIngress)];
        let is = |other: &Budget| budget == *other;
        let lines = is(&policies::LINES) || is(&policies::VECTORS);
        let wanted = [is(&policies::SHARED), lines, is(&policies::VECTORS)];
        let list = match (has(Setting::HostsV4), has(Setting::Bitmap)) {
            (true, false) => Some(LongList::Hosts),
            (false, true) => Some(LongList::Networks),
            _ => None,
        };
        if kind.long_list == list && form == wanted {
            return Ok((policy, generation));
        }
    }
    bail!("none of 20 policies has the form")
}

/// Bans some networks, or nobody.
fn ban(rng: &mut Rng, pair: &mut Pair) -> Result<()> {
    let networks = [
        "10.0.0.0/8",
        "10.1.2.77/32",
        "198.51.100.0/24",
        "2001:db8:2::/64",
        "2001:db8:2::20/128",
        "fe80::/10",
    ];
    for network in networks {
        if rng.once_in(8) {
            let (address, length) = network.split_once('/').unwrap_or_default();
            let until_ns = rng.pick(&[u64::MAX, u64::MAX, 1]);
            let ban = Ban { until_ns, since_ns: 0, hits: 0, reason: [0; 40] };
            pair.bench.ban(bans::key(address.parse()?, length.parse()?), ban)?;
        }
    }
    Ok(())
}

/// Opens some services to some networks, or nothing to nobody.
fn open(rng: &mut Rng, pair: &mut Pair) -> Result<()> {
    let networks =
        [("0.0.0.0", 0), ("10.1.2.0", 24), ("198.51.100.0", 24), ("2001:db8:2::", 64), ("::", 0)];
    let services = [
        (0, ServiceIndex::UDP - 1),
        (22, 90),
        (ServiceIndex::UDP, ServiceIndex::ICMP - 1),
        (ServiceIndex::ICMP, ServiceIndex::OTHER - 1),
        (0, ServiceIndex::END - 1),
    ];
    for (address, length) in networks {
        if rng.once_in(8) {
            let (services, until_ns) = (rng.pick(&services), rng.pick(&[u64::MAX, u64::MAX, 1]));
            let network = (address.parse()?, length);
            pair.bench.open(openings::opening(network, services, "", (0, until_ns)))?;
        }
    }
    Ok(())
}
