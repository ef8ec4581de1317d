//! Shuffling the rules of a list, or the roles of a host, changes no verdict.

use anyhow::{Context as _, Result, anyhow, ensure};
use firewall_common::verdict::{Direction, Verdict};
use firewall_policy::compile::Budget;
use firewall_policy::ir::Policy;
use firewall_policy::source::MemoryFiles;
use firewall_policy::world::{self, HostWorld};
use firewall_policy::{Options, Subject, load};
use firewall_userspace::kernel::clock;
use firewall_userspace::kernel::sandbox::Hook;

use crate::common::policy;
use crate::frames::Frames;
use crate::pair::Pair;
use crate::policies::{self, Kind, Places};
use crate::rng::Rng;

/// Frames put to each pair of policies.
const FRAMES: usize = 10_000;
const RUN: usize = 500;

#[test]
fn shuffled_rules_give_the_same_verdicts_in_the_kernel() -> Result<()> {
    let mut rng = Rng::from_environment("shuffled rules")?;
    let kind = Kind { locals: true, contexts: true, ..Kind::default() };
    let policy = policies::random(&mut rng, kind)?;
    let shuffled = shuffle(&mut rng, &policy);
    let [mut one, mut other] =
        [&policy, &shuffled].map(|policy| Pair::new(policy::compiled(policy, Budget::USUAL)?));
    let (one, other) = (
        one.as_mut().map_err(|e| anyhow!("{e:#}"))?,
        other.as_mut().map_err(|e| anyhow!("{e:#}"))?,
    );
    let mut frames = Frames::new(Places::of(&policy));
    for run in 0..FRAMES / RUN {
        one.begin()?;
        other.begin()?;
        for number in 0..RUN {
            let (direction, frame) = frames.next(&mut rng);
            let hook = if direction == Direction::Ingress { Hook::Xdp } else { Hook::TcEgress };
            let context = || format!("run {run}, frame {number}: {frame:02x?}");
            let a = one.judge(hook, &frame, 1).with_context(context)?;
            let b = other.judge(hook, &frame, 1).with_context(context)?;
            ensure!(a.map(|a| a.reason) == b.map(|b| b.reason), "{a:?} or {b:?}, {}", context());
        }
    }
    Ok(())
}

#[test]
fn shuffled_rules_give_the_same_verdicts_on_the_host() -> Result<()> {
    let mut rng = Rng::from_environment("shuffled rules on the host")?;
    for number in 0..20 {
        let kind = Kind {
            locals: number % 2 == 0,
            contexts: number % 3 == 0,
            counts: true,
            long_list: None,
        };
        let policy = policies::random(&mut rng, kind)?;
        let shuffled = shuffle(&mut rng, &policy);
        let budget = if number % 4 == 0 { policies::SHARED } else { Budget::USUAL };
        agree(&mut rng, &policy, &[&policy, &shuffled], budget, 2000)?;
    }
    Ok(())
}

#[test]
fn roles_give_the_same_verdicts_in_every_order() -> Result<()> {
    let role = |name: &str, port: u16, peer: &str| {
        format!(
            "version: 1
role: {name}
groups: {{ peers: [{peer}], all-{name}: [10.0.0.0/8, \"2001:db8::/32\"] }}
services: {{ own: {{ tcp: {port}, udp: {port} }}, ssh: {{ tcp: 22 }}, web: {{ tcp: 80 }} }}
failsafe: {{ ingress: [{{ name: ssh-{name}, from: peers, service: ssh }}] }}
ingress:
  deny:  [{{ name: no-{name}, from: {{ group: all-{name}, except: [peers] }}, service: own }}]
  allow: [{{ name: own-{name}, from: any, service: own }}, {{ name: web-{name}, from: all-{name}, service: web }}]
egress:
  allow: [{{ name: out-{name}, to: peers, service: own }}]
"
        )
    };
    let files = MemoryFiles::new()
        .with("rules/a.yaml", role("a", 8001, "10.1.2.0/24, \"2001:db8:2::/48\""))
        .with("rules/b.yaml", role("b", 8002, "10.1.0.0/16, \"2001:db8:2::20\""))
        .with("rules/c.yaml", role("c", 8001, "10.1.2.77, \"2001:db8:2::/47\""));
    let orders = [
        ["a", "b", "c"],
        ["a", "c", "b"],
        ["b", "a", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["c", "b", "a"],
    ];
    let read = |order: [&str; 3]| {
        let subject = Subject::Roles(order.map(str::to_owned).to_vec());
        let loaded = load(&files, &subject, &Options::default());
        loaded.map(|loaded| loaded.policy).map_err(|report| anyhow!("{report}"))
    };
    let policies: Vec<Policy> = orders.into_iter().map(read).collect::<Result<_>>()?;
    let first = policies.first().context("there are six")?;
    let mut rng = Rng::from_environment("roles")?;
    agree(&mut rng, first, &policies.iter().collect::<Vec<_>>(), Budget::USUAL, 20_000)
}

/// Puts frames about `of` to every policy, on the host.
fn agree(
    rng: &mut Rng,
    of: &Policy,
    policies: &[&Policy],
    budget: Budget,
    count: usize,
) -> Result<()> {
    let compiled = policies.iter().map(|policy| policy::compiled(policy, budget));
    let generations: Vec<_> = compiled.collect::<Result<_>>()?;
    let mut worlds: Vec<_> = generations.iter().map(HostWorld::new).collect();
    let mut frames = Frames::new(Places::of(of));
    for number in 0..count {
        let (direction, frame) = frames.next(rng);
        let arrival = world::arrival(direction, &frame);
        let judge = |world: &mut HostWorld| {
            world.now = firewall_common::time::Nanos(clock::monotonic_ns());
            world.guards.clear();
            let arrival = firewall_common::pipeline::Arrival { ifindex: 1, ..arrival };
            world.judge(&arrival, &frame).reason
        };
        let reasons: Vec<_> = worlds.iter_mut().map(judge).collect();
        let verdicts: Vec<Verdict> = reasons.iter().map(|reason| reason.verdict()).collect();
        ensure!(
            reasons.windows(2).all(|two| two[0] == two[1]),
            "frame {number}: {reasons:?}, {verdicts:?}: {frame:02x?}"
        );
    }
    Ok(())
}

/// The same policy with the rules of every list in another order.
fn shuffle(rng: &mut Rng, policy: &Policy) -> Policy {
    let mut shuffled = policy.clone();
    for chain in [&mut shuffled.ingress, &mut shuffled.egress] {
        for list in [&mut chain.failsafe, &mut chain.deny, &mut chain.allow] {
            rng.shuffle(list);
        }
    }
    shuffled
}
