//! From the pinned maps to a [`Snapshot`].
//!
//! [`Sample`] is what one reading of the maps gives; a [`History`] of samples
//! gives rates. Shared by the agent, which samples once a second, and by
//! commands that find no agent.

pub(crate) mod bans;
pub(crate) mod openings;
mod rates;
mod sample;

use std::collections::BTreeMap;

use firewall_common::request::Metric;
use firewall_common::verdict::{Direction, Reason};
use firewall_policy::compile::RuleInfo;

use crate::host::selection::Selection;
use crate::host::{self, interfaces};
use crate::kernel::attach::{Attachment, Hook as Attached};
use crate::kernel::meta::Meta;
use crate::report::history::{History, Window};
use crate::report::snapshot::{
    Action, Agent, Bans, Enforcement, Events, Flows, Hook, Interface, Opened, Outcome, Policy,
    Rule, SCHEMA, Snapshot, Source, Way,
};

use sample::metrics_of;
pub(crate) use sample::{Known, Sample, Series};

/// What only the agent knows, or what is read less often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// The agent, if it lives.
    pub agent: Option<Agent>,
    /// Flow table.
    pub flows: Flows,
    /// Bans.
    pub bans: Bans,
    /// Kernel memory of all that is pinned, if the kernel tells.
    pub held_bytes: Option<u64>,
    /// Openings in force.
    pub openings: Vec<Opened>,
    /// Events read so far.
    pub events_read: u64,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// What the policy means to containers.
    pub containers: Option<String>,
}

/// Everything at one moment.
pub(crate) fn snapshot(
    sample: &Sample,
    known: Option<&Known>,
    history: &History<Series>,
    extra: Extra,
) -> Snapshot {
    let Extra { agent, flows, bans, held_bytes, openings, events_read, warnings, containers } =
        extra;
    let interfaces = interfaces_of(sample, known, history);
    let enforcement = match known {
        // An agent knows the policy that was on trial here until somebody applies another.
        Some(_) if sample.passes_all => Enforcement::NoPolicy,
        None => Enforcement::NoPolicy,
        Some(_) => enforcement(&interfaces),
    };
    let source = if agent.is_some() { Source::Agent } else { Source::Maps };
    Snapshot {
        schema: SCHEMA,
        source,
        host: host::name(),
        time_ms: sample.time_ms,
        enforcement,
        agent,
        policy: known.filter(|_| !sample.passes_all).map(|known| {
            let policy = policy(&known.meta, sample);
            Policy { held_bytes, ..policy }
        }),
        interfaces,
        recent: rates::recent(sample, known, history),
        flows,
        events: Events { sent: events_read, suppressed: sample.suppressed, lost: sample.lost },
        bans,
        openings,
        outcomes: outcomes(sample),
        rules: known.map_or_else(Vec::new, |known| rules(sample, known)),
        rates: known.map_or_else(Vec::new, |known| rates::rates(sample, known, history)),
        containers,
        warnings,
    }
}

fn enforcement(interfaces: &[Interface]) -> Enforcement {
    let present = || interfaces.iter().filter(|one| one.ifindex.is_some());
    let closed = present().filter(|one| one.ingress.is_some() && one.egress.is_some()).count();
    let touched = present().any(|one| one.ingress.is_some() || one.egress.is_some());
    match (present().count(), closed) {
        (all, closed) if all == closed && all > 0 => Enforcement::Enforcing,
        _ if touched => Enforcement::Partly,
        _ => Enforcement::Detached,
    }
}

fn policy(meta: &Meta, sample: &Sample) -> Policy {
    let action = |word: &String| if word == "allow" { Action::Allow } else { Action::Drop };
    Policy {
        generation: meta.generation,
        hash: meta.hash.clone(),
        roles: meta.roles.clone(),
        applied_ms: meta.applied_at * 1000,
        applied_by: meta.applied_by.clone(),
        confirmed: sample.trial.is_none(),
        deadline_ms: sample
            .trial
            .map(|left| sample.time_ms + u64::try_from(left.as_millis()).unwrap_or_default()),
        default_in: action(&meta.defaults[0]),
        default_out: action(&meta.defaults[1]),
        files: meta.files.clone(),
        memory_bytes: Some(meta.memory_bytes),
        generation_bytes: Some(meta.generation_bytes),
        held_bytes: None,
    }
}

/// Interfaces that are attached, or should be.
fn interfaces_of(
    sample: &Sample,
    known: Option<&Known>,
    history: &History<Series>,
) -> Vec<Interface> {
    let wanted = known
        .map(|Known { remembered, .. }| Selection::of(&remembered.matches, &remembered.ignore));
    let wanted = |name: &str| wanted.as_ref().is_some_and(|wanted| wanted.judges(name));
    let hook = |ifindex: u32, ingress: bool| {
        let of = |link: &&Attachment| link.ifindex == ifindex && link.hook.is_ingress() == ingress;
        sample.attached.iter().find(of).map(|link| shown(link.hook))
    };
    let mut found = Vec::new();
    for one in interfaces::all() {
        let (ingress, egress) = (hook(one.ifindex, true), hook(one.ifindex, false));
        if ingress.is_none() && egress.is_none() && !wanted(&one.name) {
            continue;
        }
        let pps = |way| history.rate(&Series::Interface(way, one.ifindex), Window::Second);
        found.push(Interface {
            in_pps: pps(Way::Ingress),
            out_pps: pps(Way::Egress),
            name: one.name,
            ifindex: Some(one.ifindex),
            mtu: one.mtu,
            ingress,
            egress,
        });
    }
    found
}

const fn shown(hook: Attached) -> Hook {
    match hook {
        Attached::XdpNative => Hook::XdpNative,
        Attached::XdpGeneric => Hook::XdpGeneric,
        Attached::TcxIngress | Attached::TcxEgress => Hook::Tcx,
    }
}

fn outcomes(sample: &Sample) -> Vec<Outcome> {
    let names: BTreeMap<u32, String> =
        interfaces::all().into_iter().map(|one| (one.ifindex, one.name)).collect();
    let mut found = Vec::new();
    for (place, ifindex) in (0..).zip(sample.places) {
        let name = match ifindex {
            0 => "other".to_owned(),
            gone => names.get(&gone).cloned().unwrap_or_else(|| "other".to_owned()),
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL {
                let traffic = sample.outcomes.get(place, direction, *reason);
                if traffic.packets == 0 {
                    continue;
                }
                let (way, bytes) = (direction.into(), traffic.bytes);
                let one = Outcome::of(name.clone(), way, *reason, traffic.packets, bytes);
                merge(&mut found, one);
            }
        }
    }
    found
}

/// Adds an outcome to the one of the same interface, direction and reason:
/// interfaces that are gone share a name.
fn merge(found: &mut Vec<Outcome>, one: Outcome) {
    let same = |other: &&mut Outcome| {
        other.interface == one.interface
            && other.direction == one.direction
            && other.reason == one.reason
    };
    match found.iter_mut().find(same) {
        Some(other) => {
            other.packets += one.packets;
            other.bytes += one.bytes;
        }
        None => found.push(one),
    }
}

fn rules(sample: &Sample, known: &Known) -> Vec<Rule> {
    let rule = |(info, name): (&RuleInfo, &String)| {
        let counter = sample.rules.get(info.slot as usize).copied().unwrap_or_default();
        Rule {
            name: name.clone(),
            role: info.role.clone(),
            direction: info.direction.into(),
            list: info.list.into(),
            place: info.place.clone(),
            remote: info.remote_text.clone(),
            service: info.service_text.clone(),
            ports: info.ports.clone(),
            everybody: info.everybody,
            packets: counter.packets,
            bytes: counter.bytes,
            new_flows: counter.new_flows,
            requests: requests(sample, info),
        }
    };
    known.meta.rules.iter().zip(&known.names).map(rule).collect()
}

fn requests(sample: &Sample, info: &RuleInfo) -> BTreeMap<String, u64> {
    let row = info.request_slot.and_then(|slot| sample.requests.get(slot as usize));
    let Some(row) = row else { return BTreeMap::new() };
    let counted = info.counts.iter().flat_map(|count| metrics_of(count.0));
    let of = |metric: &Metric| row.get(*metric as usize).copied().unwrap_or_default();
    counted.map(|metric| (metric.name().to_owned(), of(metric))).collect()
}
