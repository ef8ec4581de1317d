//! One reading of the maps, and what is known of the policy they belong to.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use firewall_common::abi::control::Word;
use firewall_common::abi::counter::{INTERFACES, METRICS, RuleCounter};
use firewall_common::request::Metric;
use firewall_common::verdict::{Direction, Reason};
use firewall_policy::compile::RuleInfo;
use firewall_policy::ir::Count;

use crate::host::clock;
use crate::kernel::attach::Attachment;
use crate::kernel::counters::Outcomes;
use crate::kernel::meta::Meta;
use crate::kernel::store::Store;
use crate::remembered::Remembered;
use crate::report::snapshot::{Unit, Way};

/// One reading of the maps.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When, `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
    /// Outcome counters.
    pub outcomes: Outcomes,
    /// Rule counters by slot.
    pub rules: Vec<RuleCounter>,
    /// Request counters by request slot.
    pub requests: Vec<[u64; METRICS as usize]>,
    /// Interface index by place of the outcome counters.
    pub places: [u32; INTERFACES as usize],
    /// What is attached.
    pub attached: Vec<Attachment>,
    /// Events kept back.
    pub suppressed: u64,
    /// Events lost.
    pub lost: u64,
    /// Time left of a trial; `None` if the policy is confirmed.
    pub trial: Option<Duration>,
    /// Whether no generation judges: every packet passes.
    pub passes_all: bool,
}

impl Sample {
    /// Reads the maps.
    pub(crate) fn take(store: &Store) -> Result<Self> {
        let sampled = store.sampled()?;
        Ok(Self {
            at: clock::monotonic(),
            time_ms: clock::unix_ms(),
            outcomes: store.outcomes()?,
            rules: store.rules()?,
            requests: store.requests()?,
            places: store.places()?,
            attached: store.attached()?,
            suppressed: sampled.suppressed,
            lost: sampled.lost,
            trial: store.trial()?.and_then(|trial| trial.left),
            passes_all: store.in_force() == Word::PASS_ALL,
        })
    }

    /// Totals that rates are kept of.
    pub(crate) fn series(&self, known: &Known) -> Vec<(Series, u64)> {
        let mut series = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL {
                // Zeros, too: else the first packets of a reason would have no
                // moment before them to be counted from.
                let packets = self.outcomes.total(direction, *reason).packets;
                series.push((Series::Reason(direction.into(), *reason as u8), packets));
            }
            for (place, ifindex) in (0..).zip(self.places).skip(1) {
                if ifindex != 0 {
                    let all = Reason::ALL.iter();
                    let packets =
                        all.map(|reason| self.outcomes.get(place, direction, *reason).packets);
                    series.push((Series::Interface(direction.into(), ifindex), packets.sum()));
                }
            }
        }
        for info in &known.meta.rules {
            for unit in units(info) {
                if let Some(total) = self.total(info, unit) {
                    series.push((Series::Rule(info.slot, unit), total));
                }
            }
        }
        series
    }

    /// What a rule has counted of a unit; `None` if it does not count it.
    pub(super) fn total(&self, info: &RuleInfo, unit: Unit) -> Option<u64> {
        let counter = self.rules.get(info.slot as usize).copied().unwrap_or_default();
        match unit {
            Unit::Packets | Unit::Drops => Some(counter.packets),
            Unit::Bytes => Some(counter.bytes),
            Unit::NewFlows => Some(counter.new_flows),
            _ => {
                let asked = info.counts.iter().any(|count| unit_of(count.0) == unit);
                let row = self.requests.get(info.request_slot? as usize)?;
                let of = |metric: &Metric| row.get(*metric as usize).copied().unwrap_or_default();
                asked.then(|| unit.metrics().iter().map(of).sum())
            }
        }
    }
}

/// A series of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Series {
    /// Packets of a reason.
    Reason(Way, u8),
    /// Packets of an interface.
    Interface(Way, u32),
    /// A unit of a rule slot.
    Rule(u32, Unit),
}

/// What is known of the policy in force.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its metadata.
    pub meta: Meta,
    /// What user space remembers of it.
    pub remembered: Remembered,
    /// Name of each rule as it is shown, in the order of `meta.rules`.
    pub(super) names: Vec<String>,
}

impl Known {
    /// From metadata.
    pub(crate) fn new(meta: Meta) -> Self {
        let mut uses: BTreeMap<(&str, Way), usize> = BTreeMap::new();
        for rule in &meta.rules {
            *uses.entry((&rule.name, rule.direction.into())).or_default() += 1;
        }
        let shown = |rule: &RuleInfo| match uses.get(&(rule.name.as_str(), rule.direction.into())) {
            Some(1) => rule.name.clone(),
            _ => rule.full_name(),
        };
        let names = meta.rules.iter().map(shown).collect();
        Self { remembered: Remembered::read(&meta.agent), names, meta }
    }

    /// Whether a series still means something.
    pub(crate) fn means(&self, series: Series) -> bool {
        match series {
            Series::Rule(slot, _) => {
                self.meta.rules.iter().any(|rule| rule.slot == slot && !rule.new)
            }
            Series::Reason(..) | Series::Interface(..) => true,
        }
    }

    /// Name and place of the rule with a slot.
    pub(crate) fn rule(&self, slot: u32) -> Option<(&str, &RuleInfo)> {
        let place = self.meta.rules.iter().position(|rule| rule.slot == slot)?;
        Some((self.names.get(place)?, self.meta.rules.get(place)?))
    }
}

/// Request counters that a kind of counting moves.
pub(super) const fn metrics_of(count: Count) -> &'static [Metric] {
    match count {
        Count::Http1 => &[Metric::Requests, Metric::Suspects, Metric::Resyncs],
        Count::Tls => &[Metric::Handshakes, Metric::Suspects],
        Count::Dns => &[Metric::DnsQueries, Metric::Suspects, Metric::Gaps, Metric::Resyncs],
        Count::Mysql => &[
            Metric::Suspects,
            Metric::Gaps,
            Metric::Resyncs,
            Metric::MysqlTls,
            Metric::MysqlCompressed,
            Metric::MysqlQuery,
            Metric::MysqlStmtExecute,
            Metric::MysqlStmtPrepare,
            Metric::MysqlPing,
            Metric::MysqlQuit,
            Metric::MysqlInitDb,
            Metric::MysqlBinlogDump,
            Metric::MysqlOther,
        ],
    }
}

pub(super) const fn unit_of(count: Count) -> Unit {
    match count {
        Count::Http1 => Unit::HttpRequests,
        Count::Tls => Unit::TlsHandshakes,
        Count::Mysql => Unit::MysqlCommands,
        Count::Dns => Unit::DnsQueries,
    }
}

/// Units that a rule is followed in.
fn units(info: &RuleInfo) -> impl Iterator<Item = Unit> {
    let counted = info.counts.iter().map(|count| unit_of(count.0));
    [Unit::Packets, Unit::Bytes, Unit::NewFlows].into_iter().chain(counted)
}
