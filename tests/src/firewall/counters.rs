//! What `firewall counters --json` says.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Every counter at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rules by direction and name.
    pub rules: BTreeMap<(Way, String), Rule>,
    /// Outcomes by interface, direction and reason.
    pub outcomes: BTreeMap<(String, Way, String), Outcome>,
}

/// Which way packets go, seen from the host.
pub type Way = &'static str;

/// What a rule has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Wire packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// TCP connections asked for (in), flows opened (out).
    pub new_flows: u64,
    /// Requests, by name of the metric.
    pub requests: BTreeMap<String, u64>,
}

/// What an interface has seen of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the packets passed.
    pub passed: bool,
    /// Wire packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counters {
    /// From the document.
    ///
    /// # Errors
    ///
    /// If it is not of that shape.
    pub fn read(document: &Value) -> Result<Self> {
        let list =
            |key: &str| document[key].as_array().with_context(|| format!("no {key} in {document}"));
        let mut counters = Self::default();
        for rule in list("rules")? {
            let key = (way(rule)?, text(rule, "name")?);
            let requests = rule["requests"].as_object().into_iter().flatten();
            let counted = Rule {
                packets: number(rule, "packets")?,
                bytes: number(rule, "bytes")?,
                new_flows: number(rule, "new_flows")?,
                requests: requests
                    .map(|(name, count)| (name.clone(), count.as_u64().unwrap_or_default()))
                    .collect(),
            };
            counters.rules.insert(key, counted);
        }
        for outcome in list("outcomes")? {
            let key = (text(outcome, "interface")?, way(outcome)?, text(outcome, "reason")?);
            let passed = outcome["verdict"] == "allow";
            let (packets, bytes) = (number(outcome, "packets")?, number(outcome, "bytes")?);
            counters.outcomes.insert(key, Outcome { passed, packets, bytes });
        }
        Ok(counters)
    }

    /// A rule of the ingress or egress chain; zeros if there is none.
    #[must_use]
    pub fn rule(&self, way: Way, name: &str) -> Rule {
        self.rules.get(&(way, name.to_owned())).cloned().unwrap_or_default()
    }

    /// Packets of a reason, on all interfaces.
    #[must_use]
    pub fn reason(&self, way: Way, reason: &str) -> u64 {
        self.sum(|key, _| key.1 == way && key.2 == reason).packets
    }

    /// Packets that passed, on all interfaces.
    #[must_use]
    pub fn passed(&self, way: Way) -> u64 {
        self.sum(|key, outcome| key.1 == way && outcome.passed).packets
    }

    /// Packets that were dropped, on all interfaces.
    #[must_use]
    pub fn dropped(&self, way: Way) -> u64 {
        self.sum(|key, outcome| key.1 == way && !outcome.passed).packets
    }

    /// Packets and bytes that an interface has seen.
    #[must_use]
    pub fn interface(&self, interface: &str, way: Way) -> Outcome {
        self.sum(|key, _| key.0 == interface && key.1 == way)
    }

    /// What was added since `before`. Counters never go backwards: one that did is
    /// a huge number here.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut added = self.clone();
        for (key, rule) in &mut added.rules {
            let Some(old) = before.rules.get(key) else { continue };
            rule.packets = rule.packets.wrapping_sub(old.packets);
            rule.bytes = rule.bytes.wrapping_sub(old.bytes);
            rule.new_flows = rule.new_flows.wrapping_sub(old.new_flows);
            for (name, count) in &mut rule.requests {
                *count = count.wrapping_sub(old.requests.get(name).copied().unwrap_or_default());
            }
        }
        for (key, outcome) in &mut added.outcomes {
            let Some(old) = before.outcomes.get(key) else { continue };
            outcome.packets = outcome.packets.wrapping_sub(old.packets);
            outcome.bytes = outcome.bytes.wrapping_sub(old.bytes);
        }
        added
    }

    /// Counters that are lower here than in `before`, which may not be.
    #[must_use]
    pub fn shrunk(&self, before: &Self) -> Vec<String> {
        let rules = before.rules.iter().filter_map(|(key, old)| {
            let new = self.rules.get(key)?;
            let less = new.packets < old.packets
                || new.bytes < old.bytes
                || new.new_flows < old.new_flows
                || old.requests.iter().any(|(name, count)| new.requests.get(name) < Some(count));
            less.then(|| format!("{key:?}: {old:?} became {new:?}"))
        });
        let outcomes = before.outcomes.iter().filter_map(|(key, old)| {
            let new = self.outcomes.get(key).copied().unwrap_or_default();
            let less = new.packets < old.packets || new.bytes < old.bytes;
            less.then(|| format!("{key:?}: {old:?} became {new:?}"))
        });
        rules.chain(outcomes).collect()
    }

    fn sum(&self, wanted: impl Fn(&(String, Way, String), &Outcome) -> bool) -> Outcome {
        let found = self.outcomes.iter().filter(|(key, outcome)| wanted(key, outcome));
        found.fold(Outcome::default(), |sum, (_, outcome)| Outcome {
            packets: sum.packets + outcome.packets,
            bytes: sum.bytes + outcome.bytes,
            ..sum
        })
    }
}

fn number(object: &Value, key: &str) -> Result<u64> {
    object[key].as_u64().with_context(|| format!("no number {key} in {object}"))
}

fn text(object: &Value, key: &str) -> Result<String> {
    let text = object[key].as_str().with_context(|| format!("no text {key} in {object}"))?;
    Ok(text.to_owned())
}

fn way(object: &Value) -> Result<Way> {
    Ok(if text(object, "direction")? == "ingress" { "ingress" } else { "egress" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(packets: u64) -> Counters {
        let document = serde_json::json!({
            "rules": [{
                "name": "http", "direction": "ingress", "packets": packets, "bytes": 60,
                "new_flows": 1, "requests": { "requests": packets },
            }],
            "outcomes": [
                { "interface": "eth0", "direction": "ingress", "verdict": "allow", "reason": "rule", "packets": packets, "bytes": 60 },
                { "interface": "eth1", "direction": "ingress", "verdict": "drop", "reason": "default-drop", "packets": 2, "bytes": 120 },
            ],
        });
        Counters::read(&document).unwrap()
    }

    #[test]
    fn counters_are_read_summed_and_subtracted() {
        let now = counters(5);
        assert_eq!(now.rule("ingress", "http").requests["requests"], 5);
        assert_eq!((now.passed("ingress"), now.dropped("ingress")), (5, 2));
        assert_eq!(now.interface("eth1", "ingress").bytes, 120);
        assert_eq!(now.rule("egress", "http"), Rule::default());
        let added = now.since(&counters(3));
        assert_eq!(
            (added.rule("ingress", "http").packets, added.reason("ingress", "rule")),
            (2, 2)
        );
    }

    #[test]
    fn a_counter_that_went_backwards_is_named() {
        assert!(counters(5).shrunk(&counters(3)).is_empty());
        assert_eq!(counters(3).shrunk(&counters(5)).len(), 2);
    }
}
