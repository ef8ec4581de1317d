//! What the agent wants to know of a policy after a restart, kept beside the
//! generation in the kernel: `Meta::agent`.

use std::net::IpAddr;

use firewall_policy::ir::{IngressHook, Policy};
use serde::{Deserialize, Serialize};

use crate::report::snapshot::{Unit, Way};

/// The parts of a policy that user space needs while it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Interfaces to enforce on, as globs.
    pub matches: Vec<String>,
    /// Interfaces to leave alone, as globs.
    pub ignore: Vec<String>,
    /// Where ingress is hooked: `auto`, `xdp` or `tc`.
    pub ingress_hook: String,
    /// Whether some rule asks for the interface: then a new interface needs a new
    /// generation.
    pub asks_interface: bool,
    /// Named series.
    pub rates: Vec<Series>,
    /// Sources that cannot be banned.
    pub failsafe: Vec<Failsafe>,
}

/// A named series of `rates:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// Its name.
    pub name: String,
    /// The rule it reads.
    pub rule: String,
    /// Direction of that rule.
    pub direction: Way,
    /// What is counted.
    pub unit: Unit,
}

/// A failsafe rule of the ingress chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failsafe {
    /// Its name.
    pub rule: String,
    /// Where it is written.
    pub place: String,
    /// Its source, in the user's words.
    pub remote: String,
    /// The addresses: first and last of each range.
    pub ranges: Vec<(IpAddr, IpAddr)>,
}

impl Remembered {
    /// Of a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        let failsafe = policy.ingress.failsafe.iter().filter(|rule| !rule.remote.is_any());
        Self {
            matches: policy.interfaces.matches.clone(),
            ignore: policy.interfaces.ignore.clone(),
            ingress_hook: hook_word(policy.interfaces.ingress_hook).to_owned(),
            asks_interface: crate::candidate::rules(policy).any(|rule| !rule.interfaces.is_empty()),
            rates: policy
                .rates
                .iter()
                .map(|rate| Series {
                    name: rate.name.clone(),
                    rule: rate.rule.clone(),
                    direction: rate.direction.into(),
                    unit: rate.unit.into(),
                })
                .collect(),
            failsafe: failsafe
                .map(|rule| Failsafe {
                    rule: rule.name.clone(),
                    place: rule.span.place(),
                    remote: rule.remote_text.clone(),
                    ranges: ranges(&rule.remote),
                })
                .collect(),
        }
    }

    /// From metadata; what an older program wrote and this one does not know is
    /// empty.
    pub(crate) fn read(value: &serde_json::Value) -> Self {
        serde_json::from_value(value.clone()).unwrap_or_default()
    }

    /// Where ingress is hooked.
    pub(crate) fn hook(&self) -> IngressHook {
        match self.ingress_hook.as_str() {
            "tc" => IngressHook::Tc,
            "xdp" => IngressHook::Xdp,
            _ => IngressHook::Auto,
        }
    }
}

const fn hook_word(hook: IngressHook) -> &'static str {
    match hook {
        IngressHook::Auto => "auto",
        IngressHook::Xdp => "xdp",
        IngressHook::Tc => "tc",
    }
}

fn ranges(set: &firewall_policy::set::AddrSet) -> Vec<(IpAddr, IpAddr)> {
    let v4 = set
        .v4
        .ranges()
        .iter()
        .map(|&(first, last)| (IpAddr::V4(first.into()), IpAddr::V4(last.into())));
    let v6 = set
        .v6
        .ranges()
        .iter()
        .map(|&(first, last)| (IpAddr::V6(first.into()), IpAddr::V6(last.into())));
    v4.chain(v6).collect()
}
