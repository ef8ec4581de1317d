//! What compiling gives.

use std::collections::HashMap;
use std::sync::Arc;

use firewall_common::abi::tables::Setting;
use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::ports::Ports;
use super::resolve::{Ranked, Resolved};
use super::slots::Assignment;
use crate::check::exposure::is_everybody;
use crate::ir::{Action, Chain, Count, Direction};
use crate::source::{Source, Span};

/// A compiled policy: what the kernel gets, and what people are told of it.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The tables, see [`firewall_common::abi::tables`].
    pub words: Vec<u32>,
    /// Load-time settings by number.
    pub settings: [u32; Setting::COUNT],
    /// Rules, ingress first, each direction in order of precedence.
    pub rules: Vec<RuleInfo>,
    /// Defaults: ingress, egress.
    pub defaults: [DefaultInfo; 2],
    /// What it takes.
    pub memory: Memory,
    /// Digest of everything that enforcement and counting depend on: SHA-256 in
    /// hexadecimal. Order of rules included, as it says whose hit a packet is;
    /// places, texts and tests left out.
    pub hash: String,
}

impl Generation {
    /// The digest as people see it: `7f3c91e`.
    #[must_use]
    pub fn short_hash(&self) -> &str {
        self.hash.get(..7).unwrap_or(&self.hash)
    }
}

/// Which list of a chain a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum List {
    /// Before everything but malformed packets.
    Failsafe,
    /// Any match wins over every allow.
    Deny,
    /// First in order gets the hit.
    Allow,
}

impl List {
    /// What rules of this list do.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::Failsafe | Self::Allow => Action::Allow,
            Self::Deny => Action::Drop,
        }
    }
}

/// A rule, as tables and explanations show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// Counter slot.
    pub slot: u32,
    /// The slot was given to this rule now: what is counted there is another's,
    /// and starts again at zero.
    pub new: bool,
    /// The rule's name.
    pub name: String,
    /// Its role; empty for a rule of a shared file.
    pub role: String,
    /// Its direction.
    #[serde(with = "DirectionWord")]
    pub direction: Direction,
    /// Its list.
    pub list: List,
    /// What it does.
    #[serde(with = "ActionWord")]
    pub action: Action,
    /// Where it was written: `rules/web.yaml:13`.
    pub place: String,
    /// The other end, in the user's words.
    pub remote_text: String,
    /// The services, in the user's words.
    pub service_text: String,
    /// Their ports.
    pub ports: Vec<Ports>,
    /// Whether the other end may be everybody, or nearly.
    pub everybody: bool,
    /// How its requests are counted, in the order written; empty if not.
    pub counts: Vec<CountInfo>,
    /// Request counter slot, if it counts requests.
    pub request_slot: Option<u32>,
}

impl RuleInfo {
    /// The name by which the rule is known where several roles are in force.
    #[must_use]
    pub fn full_name(&self) -> String {
        let slash = if self.role.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.role, self.name)
    }
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CountInfo(#[serde(with = "CountWord")] pub Count);

/// What happens to a packet that no rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultInfo {
    /// What is done.
    #[serde(with = "ActionWord")]
    pub action: Action,
    /// Where it was written.
    pub place: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Direction", rename_all = "lowercase")]
enum DirectionWord {
    Ingress,
    Egress,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Action", rename_all = "lowercase")]
enum ActionWord {
    Allow,
    Drop,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Count", rename_all = "lowercase")]
enum CountWord {
    Http1,
    Tls,
    Mysql,
    Dns,
}

/// The rules as people see them.
pub(super) fn rules(policy: &Resolved<'_>, slots: &[Vec<Assignment>; 2]) -> Vec<RuleInfo> {
    let mut lines = Lines::default();
    let chains = policy.chains.iter().zip(slots);
    let rules = chains.flat_map(|(chain, slots)| {
        chain.rules.iter().zip(slots).map(|(rule, slot)| (chain.direction, rule, slot))
    });
    rules.map(|(direction, rule, slot)| info(direction, rule, *slot, &mut lines)).collect()
}

fn info(
    direction: Direction,
    Ranked { rule, list, .. }: &Ranked<'_>,
    assigned: Assignment,
    lines: &mut Lines,
) -> RuleInfo {
    RuleInfo {
        slot: assigned.slot,
        new: assigned.is_new,
        name: rule.name.clone(),
        role: rule.role.clone(),
        direction,
        list: *list,
        action: list.action(),
        place: lines.place(&rule.span),
        remote_text: rule.remote_text.clone(),
        service_text: rule.service_text.clone(),
        ports: Ports::of(&rule.services),
        everybody: is_everybody(&rule.remote),
        counts: rule.counts.iter().map(|&(_, count)| CountInfo(count)).collect(),
        request_slot: assigned.request_slot,
    }
}

/// The default of a chain as people see it.
pub(super) fn default(chain: &Chain) -> DefaultInfo {
    DefaultInfo { action: chain.default, place: chain.default_span.place() }
}

/// Where the lines of each source begin: asking a [`Span`] itself reads its
/// source from the start, too slow for a hundred thousand rules.
#[derive(Default)]
struct Lines {
    starts: HashMap<*const Source, Vec<usize>>,
}

impl Lines {
    fn place(&mut self, span: &Span) -> String {
        let starts = self.starts.entry(Arc::as_ptr(&span.source)).or_insert_with(|| {
            let breaks = span.source.text.match_indices('\n');
            std::iter::once(0).chain(breaks.map(|(place, _)| place + 1)).collect()
        });
        let line = starts.partition_point(|&start| start <= span.start);
        format!("{}:{line}", span.source.name)
    }
}
