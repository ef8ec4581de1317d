//! What a policy does to containers: whose packets it judges as this host's own.
//!
//! XDP sees a packet to a published port before DNAT, TC one that a container
//! opens after SNAT. So rules name the port of the host, and a container reaches
//! what this host may reach.

use firewall_policy::compile::{Generation, Ports, RuleInfo};
use firewall_policy::ir::Direction;

use crate::host::containers::{Containers, Published};
use crate::kernel::meta::Meta;
use crate::report::snapshot::{Action, List, Snapshot, Way};

/// What a policy does to containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// Published ports that no rule admits.
    pub shut: Vec<Published>,
    /// Networks of containers whose outgoing connections are judged by egress
    /// rules, because what they do not name is dropped.
    pub confined: Vec<String>,
}

impl Forwarded {
    /// By a policy that was compiled.
    pub(crate) fn by_generation(containers: &Containers, generation: &Generation) -> Self {
        let defaults = generation.defaults.each_ref().map(|one| crate::verify::action(one.action));
        Self::by_rules(containers, &generation.rules, defaults)
    }

    /// By the policy that is pinned.
    pub(crate) fn by_meta(containers: &Containers, meta: &Meta) -> Self {
        let action = |word: &String| if word == "drop" { Action::Drop } else { Action::Allow };
        Self::by_rules(containers, &meta.rules, meta.defaults.each_ref().map(action))
    }

    fn by_rules(containers: &Containers, rules: &[RuleInfo], defaults: [Action; 2]) -> Self {
        let ingress = rules.iter().filter(|rule| rule.direction == Direction::Ingress);
        let gates = ingress.map(|rule| (rule.list.into(), &*rule.ports, rule.everybody));
        Self::new(containers, defaults, &gates.collect::<Vec<_>>())
    }

    /// By the policy in force, as a snapshot knows it.
    pub(crate) fn now(containers: &Containers, snapshot: &Snapshot) -> Self {
        let Some(policy) = &snapshot.policy else { return Self::default() };
        let ingress = snapshot.rules.iter().filter(|rule| rule.direction == Way::Ingress);
        let gates = ingress.map(|rule| (rule.list, &*rule.ports, rule.everybody));
        let defaults = [policy.default_in, policy.default_out];
        Self::new(containers, defaults, &gates.collect::<Vec<_>>())
    }

    fn new(containers: &Containers, defaults: [Action; 2], gates: &[Gate<'_>]) -> Self {
        let [shuts, confines] = defaults.map(|action| action == Action::Drop);
        let shut = |one: &&Published| shuts && !admits(one.ports, gates);
        Self {
            shut: containers.published.iter().filter(shut).cloned().collect(),
            confined: containers.masqueraded.iter().filter(|_| confines).cloned().collect(),
        }
    }

    /// What is shut, in a sentence; `None` if nothing is.
    pub(crate) fn shut_text(&self) -> Option<String> {
        let ports: Vec<String> = self.shut.iter().map(ToString::to_string).collect();
        let text =
            format!("published {}: no rule admits it, default-in drops it", ports.join(", "));
        (!ports.is_empty()).then_some(text)
    }

    /// Who is confined, in a sentence; `None` if nobody is.
    pub(crate) fn confined_text(&self) -> Option<String> {
        let networks = self.confined.join(", ");
        let text = format!(
            "{networks} leaves as this host: containers reach what the egress rules name, no more"
        );
        (!networks.is_empty()).then_some(text)
    }

    /// All of it, a sentence each.
    pub(crate) fn sentences(&self) -> Vec<String> {
        self.shut_text().into_iter().chain(self.confined_text()).collect()
    }
}

/// An ingress rule: its list, its ports, and whether it is about everybody.
type Gate<'a> = (List, &'a [Ports], bool);

/// Whether somebody may reach a port: some rule lets them, and none keeps
/// everybody out.
fn admits(wanted: Ports, gates: &[Gate<'_>]) -> bool {
    let covers = |ports: &[Ports]| ports.iter().any(|ports| ports.covers(wanted));
    let mut admitted = false;
    for (list, _, everybody) in gates.iter().filter(|(_, ports, _)| covers(ports)) {
        match list {
            List::Failsafe => return true,
            List::Deny if *everybody => return false,
            List::Deny => {}
            List::Allow => admitted = true,
        }
    }
    admitted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::sample;

    fn containers() -> Containers {
        let published = |ports: &str| Published {
            ports: ports.parse().unwrap(),
            at: None,
            to: "172.17.0.2:80".into(),
        };
        Containers {
            published: BTreeSet::from([published("80/tcp"), published("8080/tcp")]),
            masqueraded: BTreeSet::from(["172.17.0.0/16".into()]),
        }
    }

    #[test]
    fn a_published_port_without_a_rule_is_shut_and_containers_are_confined() {
        let mut snapshot = sample::snapshot();
        let forwarded = Forwarded::now(&containers(), &snapshot);
        assert_eq!(
            forwarded.sentences(),
            [
                "published 8080/tcp → 172.17.0.2:80: no rule admits it, default-in drops it",
                "172.17.0.0/16 leaves as this host: containers reach what the egress rules name, \
                 no more",
            ]
        );
        let policy = snapshot.policy.as_mut().unwrap();
        (policy.default_in, policy.default_out) = (Action::Allow, Action::Allow);
        assert_eq!(Forwarded::now(&containers(), &snapshot), Forwarded::default());
    }

    #[test]
    fn a_deny_for_everybody_shuts_what_an_allow_opens_and_a_failsafe_does_not() {
        let port: Ports = "80/tcp".parse().unwrap();
        let (allow, deny, failsafe) = (List::Allow, List::Deny, List::Failsafe);
        let ports = [port];
        let admits = |rules: &[(List, bool)]| {
            let gate = |&(list, everybody)| (list, &ports[..], everybody);
            admits(port, &rules.iter().map(gate).collect::<Vec<_>>())
        };
        assert!(admits(&[(allow, false)]) && admits(&[(deny, false), (allow, true)]));
        assert!(!admits(&[(deny, true), (allow, true)]) && !admits(&[]));
        assert!(admits(&[(failsafe, false), (deny, true)]));
    }
}
