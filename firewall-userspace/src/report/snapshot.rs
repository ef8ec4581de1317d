//! What is known of this host's firewall at one moment.
//!
//! Computed by the agent once a second, or by a command from the pinned maps
//! when no agent lives. Tables, JSON and metrics are encoders over it, and it is
//! what crosses the agent's socket. Fields are only ever added; [`SCHEMA`] is
//! raised when one changes its meaning.

use std::collections::BTreeMap;

use firewall_common::request::Metric;
use firewall_common::verdict::{Reason, Verdict};
use firewall_policy::compile::Ports;
use serde::{Deserialize, Serialize};

pub use super::words::{Action, Hook, Level, List, Unit, Way};

/// Version of every JSON document that the program writes.
pub const SCHEMA: u32 = 1;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where the numbers come from.
    pub source: Source,
    /// Host name.
    pub host: String,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
    /// Whether packets are judged.
    pub enforcement: Enforcement,
    /// The agent, if it lives.
    pub agent: Option<Agent>,
    /// The policy in force; `None` if none is.
    pub policy: Option<Policy>,
    /// Interfaces that the policy names or a hook is on.
    pub interfaces: Vec<Interface>,
    /// What was added in the last minute.
    pub recent: Option<Recent>,
    /// Table of flows that this host opened.
    pub flows: Flows,
    /// Sampled events.
    pub events: Events,
    /// Bans in force.
    pub bans: Bans,
    /// Openings in force; those of an older agent are not known.
    #[serde(default)]
    pub openings: Vec<Opened>,
    /// Packets by interface, direction and reason; only what is not zero.
    pub outcomes: Vec<Outcome>,
    /// Rules in the order of the files, failsafe and deny first.
    pub rules: Vec<Rule>,
    /// Named series of the policy, then the busiest rules and the defaults.
    pub rates: Vec<Rate>,
    /// What the policy means to containers that leave as this host; `None` if
    /// there are none, or everything may leave.
    #[serde(default)]
    pub containers: Option<String>,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// Where numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The agent: with rates over time.
    Agent,
    /// The pinned maps: totals only.
    Maps,
}

/// Whether packets are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// On every interface that the policy names.
    Enforcing,
    /// On some of them.
    Partly,
    /// A policy is loaded, and attached to nothing: every packet passes.
    Detached,
    /// No policy is loaded: every packet passes.
    NoPolicy,
}

/// The running agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started, milliseconds since 1970.
    pub started_ms: u64,
    /// When somebody last asked it for `/metrics`; `None` if nobody has yet.
    #[serde(default)]
    pub scraped_ms: Option<u64>,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Number of the generation.
    pub generation: u64,
    /// Hash of what it says; equal policies have equal hashes.
    pub hash: String,
    /// Roles in force.
    pub roles: Vec<String>,
    /// When it came into force, milliseconds since 1970.
    pub applied_ms: u64,
    /// Who applied it.
    pub applied_by: String,
    /// Whether it stays whatever the clock says.
    pub confirmed: bool,
    /// When an unconfirmed one gives way, milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// What happens to an arriving packet that no rule matches.
    pub default_in: Action,
    /// What happens to a packet to be sent that no rule matches.
    pub default_out: Action,
    /// Files it was made from.
    pub files: Vec<String>,
    /// Kernel memory that `check` computes for it: two generations, counters and flows; that of
    /// an older agent is not known.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Of it, what one generation has for itself.
    #[serde(default)]
    pub generation_bytes: Option<u64>,
    /// Kernel memory of all that is pinned now: bans, and a generation before this one, too.
    #[serde(default)]
    pub held_bytes: Option<u64>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index; `None` if it is not there.
    pub ifindex: Option<u32>,
    /// Its MTU, bytes.
    pub mtu: Option<u32>,
    /// Hook on arriving packets; `None` = open.
    pub ingress: Option<Hook>,
    /// Hook on packets to be sent; `None` = open.
    pub egress: Option<Hook>,
    /// Arriving packets per second, last second.
    pub in_pps: Option<f64>,
    /// Sent packets per second, last second.
    pub out_pps: Option<f64>,
}

/// What was added in the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// Seconds that were really watched.
    pub seconds: f64,
    /// Packets that passed.
    pub allowed: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Of these, packets from banned sources.
    pub banned: u64,
    /// Requests per second by unit; a unit that nothing counts is absent.
    pub requests: BTreeMap<String, f64>,
}

/// Table of flows that this host opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Entries in it.
    pub entries: Option<u64>,
    /// Entries there is room for.
    pub capacity: Option<u64>,
}

/// Sampled events since the programs were first loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Sent by the kernel.
    pub sent: u64,
    /// Packets that wanted one and got none.
    pub suppressed: u64,
    /// Lost because nobody read them in time.
    pub lost: u64,
}

/// Bans in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bans {
    /// How many.
    pub count: u64,
    /// How many end within ten minutes.
    pub ending_soon: u64,
}

/// What is let in for a while although no rule names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The service, as it was opened.
    pub service: String,
    /// What that was then: `8080/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Address or network that is let in.
    pub network: String,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    /// When it ends, milliseconds since 1970.
    pub until_ms: u64,
    /// Seconds until then.
    pub seconds_left: u64,
}

/// Packets of one outcome on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Interface; `other` for those beyond what is counted apart.
    pub interface: String,
    /// Direction.
    pub direction: Way,
    /// Verdict.
    pub verdict: Action,
    /// Reason by its stable name.
    pub reason: String,
    /// Wire packets.
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

impl Outcome {
    /// The outcome of a reason.
    #[must_use]
    pub fn of(interface: String, direction: Way, reason: Reason, packets: u64, bytes: u64) -> Self {
        let verdict = match reason.verdict() {
            Verdict::Pass => Action::Allow,
            Verdict::Drop => Action::Drop,
        };
        let reason = reason.name().to_owned();
        Self { interface, direction, verdict, reason, packets, bytes }
    }
}

/// A rule and what it has seen since its name was first used on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The name the user wrote, as `role/name` where it alone is not unique.
    pub name: String,
    /// Role it came from; empty for a shared file.
    pub role: String,
    /// Direction.
    pub direction: Way,
    /// List it stands in.
    pub list: List,
    /// `file:line`.
    pub place: String,
    /// The other end, in the user's words.
    pub remote: String,
    /// Services, in the user's words.
    pub service: String,
    /// Their ports.
    #[serde(default)]
    pub ports: Vec<Ports>,
    /// Whether the other end may be everybody, or nearly.
    #[serde(default)]
    pub everybody: bool,
    /// Wire packets that the rule decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// TCP SYNs on ingress; flows opened on egress.
    pub new_flows: u64,
    /// Request counters by name; empty if nothing is counted.
    pub requests: BTreeMap<String, u64>,
}

impl Rule {
    /// A request counter; `None` if the rule does not count requests.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> Option<u64> {
        self.requests.get(metric.name()).copied()
    }

    /// What a unit counts; `None` if it is not counted here.
    #[must_use]
    pub fn total(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Packets | Unit::Drops => Some(self.packets),
            Unit::Bytes => Some(self.bytes),
            Unit::NewFlows => Some(self.new_flows),
            _ => unit.metrics().iter().map(|metric| self.metric(*metric)).sum(),
        }
    }
}

/// A series and its rates, per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Name in the policy's `rates:`, or of the rule or default.
    pub name: String,
    /// Whether the policy names it.
    pub named: bool,
    /// Rule it reads.
    pub rule: String,
    /// Direction of that rule.
    pub direction: Way,
    /// What is counted.
    pub unit: Unit,
    /// Total since the rule's name was first used on this host; `None` if
    /// nothing counts it.
    pub total: Option<u64>,
    /// Over the last second.
    pub second: Option<f64>,
    /// Over the last ten seconds.
    pub ten_seconds: Option<f64>,
    /// Over the last minute.
    pub minute: Option<f64>,
    /// Over the last quarter of an hour.
    pub quarter_hour: Option<f64>,
    /// Median of the minutes of the last hour.
    pub hour_median: Option<f64>,
}

impl Snapshot {
    /// Packets of every interface that a condition holds for.
    #[must_use]
    pub fn packets(&self, wanted: impl Fn(&Outcome) -> bool) -> u64 {
        self.outcomes.iter().filter(|one| wanted(one)).map(|one| one.packets).sum()
    }

    /// Packets of a reason.
    #[must_use]
    pub fn by_reason(&self, reason: Reason, direction: Way) -> u64 {
        self.packets(|one| one.reason == reason.name() && one.direction == direction)
    }
}
