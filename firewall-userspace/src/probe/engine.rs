//! What judges a probe: the real BPF programs, or the same code on the host.

use std::collections::HashMap;

use anyhow::Result;
use firewall_common::verdict::{Reason, Verdict};
use firewall_policy::compile::{Generation, RuleInfo};
use firewall_policy::ir::{self, Action};

use super::Probe;
use super::model::Model;
use crate::kernel::sandbox::{Hook, Judged, Sandbox};
use crate::report::snapshot::Way;

/// A generation that frames can be put to, without touching live state.
#[derive(Debug)]
pub(crate) struct Engine {
    kind: Kind,
    rules: HashMap<u32, RuleInfo>,
    /// The interface of every frame; 0 is one that no rule names.
    ifindex: u32,
}

#[derive(Debug)]
enum Kind {
    Program(Box<Sandbox>),
    Model(Box<Model>),
}

/// What happened to a frame, by name.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// What was done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<RuleInfo>,
    /// Direction.
    pub way: Way,
}

impl Outcome {
    /// The rule's name, or that of the built-in.
    pub(crate) fn by(&self) -> String {
        self.rule
            .as_ref()
            .map_or_else(|| builtin(self.reason, self.way).to_owned(), |rule| rule.name.clone())
    }

    /// Whether a name, short or as `role/name`, is what decided.
    pub(crate) fn is_by(&self, name: &str) -> bool {
        match &self.rule {
            Some(rule) => rule.name == name || rule.full_name() == name,
            None => builtin(self.reason, self.way) == name,
        }
    }
}

/// Name of what decided where no rule did.
pub(crate) fn builtin(reason: Reason, way: Way) -> &'static str {
    match reason {
        // A segment of a flow that is not known, and broadcast noise, are what no
        // rule matched, too: they have reasons of their own for the counters.
        Reason::DefaultAllow | Reason::DefaultDrop | Reason::TcpNoFlow | Reason::Noise => {
            way.default_name()
        }
        other => other.name(),
    }
}

/// Bytes of a frame that the kernel takes for a test run: at TC those of a page, less what
/// it needs there itself, at XDP as many as fragments hold.
const LINEAR: usize = 3584;
const PAGED: usize = 1 << 16;

impl Engine {
    /// The programs that the kernel would run; needs root.
    pub(crate) fn program(generation: &Generation) -> Result<Self> {
        let sandbox = Sandbox::new(generation)?;
        Ok(Self { kind: Kind::Program(Box::new(sandbox)), rules: rules(generation), ifindex: 0 })
    }

    /// The same code on the host.
    pub(crate) fn model(generation: &Generation) -> Self {
        let model = Model::new(generation);
        Self { kind: Kind::Model(Box::new(model)), rules: rules(generation), ifindex: 0 }
    }

    /// For people.
    pub(crate) const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Program(_) => "the BPF program",
            Kind::Model(_) => "the model",
        }
    }

    /// From now on frames come and go by this interface; 0 is one that no rule names.
    /// The program at XDP cannot be told of one: that at TC, which judges alike, runs then.
    pub(crate) const fn put_on(&mut self, ifindex: u32) {
        self.ifindex = ifindex;
    }

    /// Whether a frame of so many bytes can be judged.
    pub(crate) const fn takes(&self, direction: ir::Direction, bytes: usize) -> bool {
        match (&self.kind, self.hook(direction)) {
            (Kind::Model(_), _) => true,
            (Kind::Program(_), Hook::Xdp) => bytes <= PAGED,
            (Kind::Program(_), _) => bytes <= LINEAR,
        }
    }

    const fn hook(&self, direction: ir::Direction) -> Hook {
        match direction {
            ir::Direction::Ingress if self.ifindex == 0 => Hook::Xdp,
            ir::Direction::Ingress => Hook::TcIngress,
            ir::Direction::Egress => Hook::TcEgress,
        }
    }

    /// Judges a frame as it is.
    pub(crate) fn judge(&mut self, direction: ir::Direction, frame: &[u8]) -> Result<Outcome> {
        let (hook, ifindex) = (self.hook(direction), self.ifindex);
        let judged = match &mut self.kind {
            Kind::Program(sandbox) => sandbox.judge_on(hook, frame, ifindex)?,
            Kind::Model(model) => model.judge(hook.direction(), frame, ifindex),
        };
        let Judged { verdict, reason, slot } = judged;
        let action = match verdict {
            Verdict::Pass => Action::Allow,
            Verdict::Drop => Action::Drop,
        };
        let rule = slot.and_then(|slot| self.rules.get(&slot).cloned());
        Ok(Outcome { action, reason, rule, way: direction.into() })
    }

    /// Judges a probe in a world in which nothing else has happened, except that
    /// this host has tried to open the connection that the probe belongs to.
    pub(crate) fn ask(&mut self, probe: &Probe) -> Result<Outcome> {
        match &mut self.kind {
            Kind::Program(sandbox) => sandbox.forget_flows()?,
            Kind::Model(model) => model.forget(),
        }
        if let Some(opening) = probe.opening() {
            self.judge(opening.direction, &opening.frame())?;
        }
        self.judge(probe.direction, &probe.frame())
    }
}

fn rules(generation: &Generation) -> HashMap<u32, RuleInfo> {
    generation.rules.iter().map(|rule| (rule.slot, rule.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "\
version: 1
role: web
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
services: { ntp: { udp: 123 } }
ingress:
  allow:
    - { name: ntp, service: ntp, iface: \"l?\" }
";

    #[test]
    fn rules_for_an_interface_are_asked_on_it() {
        let (_, generation) = crate::candidate::of_role(ROLE);
        let probe = Probe {
            direction: ir::Direction::Ingress,
            from: "192.0.2.1".parse().unwrap(),
            to: "192.0.2.2".parse().unwrap(),
            transport: ir::Probe::Udp(50_000, 123),
            established: false,
            vlan: None,
            fragment: false,
        };
        let mut engine = Engine::model(&generation);
        assert_eq!(engine.ask(&probe).unwrap().by(), "default-in");
        // `lo` has this index in every network namespace.
        engine.put_on(1);
        assert_eq!(engine.ask(&probe).unwrap().by(), "ntp");
    }
}
