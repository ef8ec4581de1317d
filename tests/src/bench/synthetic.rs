//! Large rule sets, made as the checked policies that the compiler takes.
//!
//! Written as YAML they would be read and checked first, which is priced apart
//! (section `load`) and which refuses what a person would not mean, such as an
//! allow that a deny hides. From the compiler on everything is the product's.

use anyhow::{Context as _, Result, anyhow};
use firewall_policy::compile::{Budget, Environment, compile};
use firewall_policy::ir::{Policy, Rule};
use firewall_policy::set::{AddrSet, RangeSet, ServiceSet};
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Options, Subject, load};
use firewall_userspace::kernel::maps::{self, Capacity};

use super::ours::Ours;
use super::policy::{self, Files};
use super::traffic::Random;
use crate::pair::Pair;

/// Reads and checks files as `firewall apply` does.
pub(super) fn read(files: &Files) -> Result<Policy> {
    let tree = files
        .iter()
        .fold(MemoryFiles::new(), |tree, (path, text)| tree.with(path, text.as_bytes()));
    let loaded = load(&tree, &Subject::Host, &Options::default());
    Ok(loaded.map_err(|report| anyhow!("refused: {:?}", report.diagnostics.first()))?.policy)
}

/// Compiles a policy and puts it in force, attached to nothing.
pub(super) fn install(pair: &Pair, name: &str, policy: &Policy) -> Result<Ours> {
    // A first generation makes the shared maps and the roots.
    let ours = Ours::new(pair, name, &policy::ports())?;
    let mut store = ours.store()?;
    let mut meta = store.meta()?.context("no policy in force")?;
    let environment = Environment {
        interfaces: Vec::new(),
        cpus: maps::cpus()?,
        generation_slot: u32::from(meta.slot == 0),
        seed: 1,
        budget: Budget::USUAL,
        told: None,
        flows: None,
    };
    let generation = compile(policy, &environment, &mut meta.slots)?;
    let (rules, requests) = (meta.slots.rules(), meta.slots.requests());
    meta.capacity = Capacity::new(policy.state.flows, rules, requests)?;
    meta.generation += 1;
    meta.hash.clone_from(&generation.hash);
    meta.rules.clone_from(&generation.rules);
    meta.generation_bytes = generation.memory.generation_bytes();
    meta.memory_bytes = generation.memory.total_bytes();
    store.install(&generation, &mut meta, None)?;
    Ok(ours)
}

/// A policy with this many rules, each a /24 and a port: the same as
/// [`policy::rules`].
pub(super) fn rules(count: u32, egress: bool) -> Result<Policy> {
    let mut policy = read(&policy::rules(1, egress))?;
    let chain = if egress { &mut policy.egress } else { &mut policy.ingress };
    let template = *chain.allow.pop().context("no rule to copy")?;
    chain.allow = (0..count)
        .map(|number| {
            let (first, port) = (policy::network(number), policy::port(number).into());
            Box::new(Rule {
                name: format!("r{number}"),
                remote: v4(vec![(first, first | 0xff)]),
                services: ServiceSet::range(port, port),
                ..template.clone()
            })
        })
        .collect();
    Ok(policy)
}

/// The same on ingress, and a deny of a set of addresses all over the address space.
pub(super) fn rules_and_set(count: u32, set: u32) -> Result<Policy> {
    let mut policy = rules(count, false)?;
    let template = policy.ingress.allow.first().context("no rule to copy")?;
    let hosts = crowd(set).map(|host| (host, host)).collect();
    let crowd = Rule {
        name: "crowd".into(),
        remote: v4(hosts),
        services: ServiceSet::full(),
        ..(**template).clone()
    };
    policy.ingress.deny.push(crowd.into());
    Ok(policy)
}

/// Who is in the set of [`rules_and_set`].
pub(super) fn crowd(set: u32) -> impl Iterator<Item = u32> {
    let mut random = Random::new(0x5e7);
    (0..set).map(move |_| random.address())
}

/// A set of IPv4 addresses.
pub(super) fn v4(ranges: Vec<(u32, u32)>) -> AddrSet {
    AddrSet { v4: RangeSet::from_ranges(ranges), v6: RangeSet::empty() }
}
