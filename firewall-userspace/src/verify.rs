//! The tests that a policy carries: sentences of its owner, put to the programs
//! that would enforce it.

use anyhow::Result;
use firewall_policy::Loaded;
use firewall_policy::codes::Code;
use firewall_policy::compile::Generation;
use firewall_policy::diagnostic::Diagnostic;
use firewall_policy::ir::{Action, Direction, Policy, Rule, Test};
use firewall_policy::source::Spanned;
use serde::Serialize;

use crate::probe::Probe;
use crate::probe::engine::{Engine, Outcome};
use crate::report::snapshot;
use crate::report::units;

/// How the tests of a policy ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verified {
    /// Every test, in order.
    pub tests: Vec<Tested>,
    /// What is to be said of those that failed.
    pub failures: Vec<Diagnostic>,
    /// What is to be said of acknowledgements.
    pub warnings: Vec<Diagnostic>,
}

/// How one test ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tested {
    /// Its name.
    pub name: String,
    /// Role it belongs to.
    pub role: String,
    /// Where it is written.
    pub place: String,
    /// Whether it holds.
    pub passed: bool,
    /// Whether it fails because of another role, which host.yaml accepts.
    pub acknowledged: bool,
    /// What was wanted.
    pub wanted: snapshot::Action,
    /// What happened.
    pub got: snapshot::Action,
    /// Rule or built-in that decided.
    pub by: String,
}

impl Verified {
    /// Whether every test holds that has to.
    pub(crate) fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// `13 tests passed`, and how many did not and are acknowledged.
    pub(crate) fn words(&self, verb: &str) -> String {
        let holding = self.tests.iter().filter(|test| test.passed).count();
        let accepted = self.tests.iter().filter(|test| test.acknowledged).count();
        let words = format!("{} {verb}", units::plural(holding, "test"));
        if accepted == 0 { words } else { format!("{words}, {accepted} acknowledged") }
    }
}

/// Runs every test of a policy on the programs that would enforce it. Loading them
/// takes its time: a policy without tests does without.
///
/// # Errors
/// If a test cannot be run; one that fails is no error.
pub(crate) fn on_program(loaded: &Loaded, generation: &Generation) -> Result<Verified> {
    if loaded.policy.tests.is_empty() {
        return Ok(Verified::default());
    }
    run(loaded, &mut Engine::program(generation)?)
}

/// Runs every test of a policy.
///
/// # Errors
/// If a test cannot be run; one that fails is no error.
pub(crate) fn run(loaded: &Loaded, engine: &mut Engine) -> Result<Verified> {
    let policy = &loaded.policy;
    let mut verified = Verified::default();
    let mut idle: Vec<&Spanned<String>> = loaded.acknowledged.iter().collect();
    for test in &policy.tests {
        let outcome = engine.ask(&Probe::from(test))?;
        let mut failure = judge(policy, test, &outcome);
        let accepted = failure.as_ref().is_some_and(|one| one.code == Code::RolesContradict)
            && loaded.acknowledged.iter().any(|one| one.value == test.name);
        if accepted {
            failure = None;
            idle.retain(|one| one.value != test.name);
        }
        verified.tests.push(Tested {
            name: test.name.clone(),
            role: test.role.clone(),
            place: test.span.place(),
            passed: failure.is_none() && !accepted,
            acknowledged: accepted,
            wanted: action(test.expect),
            got: action(outcome.action),
            by: outcome.by(),
        });
        verified.failures.extend(failure);
    }
    verified.warnings.extend(idle.into_iter().map(|one| {
        let message = format!("there is nothing to acknowledge in \"{}\"", one.value);
        Diagnostic::new(Code::Unacknowledged, message)
            .at(&one.span, "no test of this name fails because of another role")
            .help("delete it: it would hide a later failure")
    }));
    Ok(verified)
}

/// The action as reports have it.
pub(crate) const fn action(action: Action) -> snapshot::Action {
    match action {
        Action::Allow => snapshot::Action::Allow,
        Action::Drop => snapshot::Action::Drop,
    }
}

/// What is wrong with the outcome of a test, if anything.
fn judge(policy: &Policy, test: &Test, outcome: &Outcome) -> Option<Diagnostic> {
    let wrong_verdict = outcome.action != test.expect;
    let wrong_rule = test.by.as_ref().filter(|name| !outcome.is_by(name));
    if !wrong_verdict && wrong_rule.is_none() {
        return None;
    }
    let word = |action: Action| match action {
        Action::Allow => "allow",
        Action::Drop => "drop",
    };
    let (label, place) = match wrong_rule {
        Some(by) if !wrong_verdict => {
            let label = format!("decided by {}, not by {by}", outcome.by());
            (label, test.by_span.as_ref().unwrap_or(&test.expect_span))
        }
        _ => {
            let label = format!("wanted {}, got {}", word(test.expect), word(outcome.action));
            (label, &test.expect_span)
        }
    };
    let message = format!("test failed: \"{}\"", test.name);
    let failure = Diagnostic::new(Code::TestFailed, message).at(place, &label);
    let verb = if outcome.action == Action::Allow { "allowed" } else { "dropped" };
    Some(match rule_of(policy, test.direction, outcome) {
        Some(rule) if !rule.role.is_empty() && rule.role != test.role => {
            let Test { name, role, .. } = test;
            let message = format!("\"{name}\" of role {role} does not hold beside {}", rule.role);
            Diagnostic::new(Code::RolesContradict, message)
                .at(place, label)
                .at(&rule.span, format!("this rule of role {} {verb} it", rule.role))
                .help(format!("if both are meant, in host.yaml: acknowledge: [{}]", quoted(name)))
        }
        Some(rule) => failure.at(&rule.span, format!("this rule {verb} it")),
        None if outcome.by() == outcome.way.default_name() => {
            let span = &policy.chain(test.direction).default_span;
            failure.at(span, format!("no rule matched: the default {verb} it"))
        }
        None => failure.note(format!("{} {verb} it (firewall show baseline)", outcome.by())),
    })
}

/// A text as an item of a list in YAML.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '.');
    if text.starts_with(char::is_alphabetic) && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// The rule of the policy that decided.
pub(crate) fn rule_of<'a>(
    policy: &'a Policy,
    direction: Direction,
    outcome: &Outcome,
) -> Option<&'a Rule> {
    let info = outcome.rule.as_ref()?;
    policy.chain(direction).rules().find(|rule| rule.name == info.name && rule.role == info.role)
}

#[cfg(test)]
mod tests {
    use firewall_policy::diagnostic::Style;
    use firewall_policy::source::MemoryFiles;
    use firewall_policy::{Options, Subject};

    use super::*;

    const ROLE: &str = "\
version: 1
role: web
default: { ingress: drop, egress: drop }
groups:
  load-balancers: [10.0.1.10]
  databases: [10.0.4.10]
services:
  http:  { tcp: 80 }
  ssh:   { tcp: 22 }
  mysql: { tcp: 3306 }
failsafe:
  ingress: [ { name: failsafe-ssh, from: 10.0.9.22, service: ssh } ]
ingress:
  allow:
    - { name: http-from-lb, from: load-balancers, service: http }
egress:
  allow:
    - { name: debug-db, to: databases, service: mysql, reason: a mistake }
tests:
";

    fn verified(tests: &str) -> (Verified, String) {
        let role = format!("{ROLE}{tests}");
        let (loaded, generation) = crate::candidate::of_role(&role);
        let verified = run(&loaded, &mut Engine::model(&generation)).unwrap();
        let text: Vec<String> =
            verified.failures.iter().map(|failure| failure.render(Style::Plain)).collect();
        (verified, text.join("\n"))
    }

    #[test]
    fn sentences_that_hold() {
        let (verified, text) = verified(
            "  - { name: a, in: { from: 10.0.1.10, to: 10.0.2.11, tcp: 80 }, expect: allow, by: http-from-lb }
  - { name: b, out: { from: 10.0.2.11, to: 10.0.1.10, tcp: { sport: 80, dport: 40000 }, state: established }, expect: allow, by: established }
  - { name: c, in: { from: 10.0.4.10, to: 10.0.2.11, tcp: { sport: 3306, dport: 50000 }, state: established }, expect: allow, by: established }
  - { name: d, in: { from: 192.0.2.200, to: 10.0.2.11, tcp: { sport: 443, dport: 50000 }, state: established }, expect: drop }
  - { name: e, in: { from: 192.0.2.55, to: 10.0.2.11, tcp: 80 }, expect: drop, by: default-in }
  - { name: f, in: { from: 10.0.9.22, to: 10.0.2.11, tcp: 22 }, expect: allow, by: failsafe-ssh }
",
        );
        assert!(verified.passed(), "{text}");
        assert_eq!(verified.tests.len(), 6);
    }

    #[test]
    fn a_sentence_that_does_not_hold_names_the_rule() {
        let (verified, text) = verified(
            "  - { name: web never reaches the db, out: { from: 10.0.2.11, to: 10.0.4.10, tcp: 3306 }, expect: drop }
  - { name: lb reaches nginx, in: { from: 10.0.1.10, to: 10.0.2.11, tcp: 80 }, expect: allow, by: default-in }
  - { name: world reaches nginx, in: { from: 192.0.2.55, to: 10.0.2.11, tcp: 80 }, expect: allow }
",
        );
        assert!(!verified.passed());
        assert!(text.contains("wanted drop, got allow"), "{text}");
        assert!(text.contains("this rule allowed it"), "{text}");
        assert!(text.contains("decided by http-from-lb, not by default-in"), "{text}");
        assert!(text.contains("no rule matched: the default dropped it"), "{text}");
        let first = text.split("\n\n").next().unwrap();
        assert_eq!(first.trim(), Code::TestFailed.example().trim());
    }

    const APP: &str = "\
version: 1
role: app
default: { ingress: drop, egress: drop }
egress:
  allow:
    - { name: mysql-write, to: 10.0.4.10, service: mysql }
services: { mysql: { tcp: 3306 } }
failsafe: { ingress: [] }
";

    const WEB: &str = "\
version: 1
role: web
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
tests:
  - { name: web never reaches the db, out: { from: 10.0.2.11, to: 10.0.4.10, tcp: 3306 }, expect: drop }
";

    /// Both roles on one server, whose host.yaml ends so.
    fn beside(acknowledge: &str) -> Verified {
        let host = format!("version: 1\nroles: [web, app]\n{acknowledge}");
        let files = MemoryFiles::new()
            .with("host.yaml", host)
            .with("rules/web.yaml", WEB)
            .with("rules/app.yaml", APP);
        let loaded = firewall_policy::load(&files, &Subject::Host, &Options::default())
            .unwrap_or_else(|report| panic!("{report}"));
        let generation = crate::candidate::of_loaded(&loaded);
        run(&loaded, &mut Engine::model(&generation)).unwrap()
    }

    #[test]
    fn a_contradiction_of_roles_names_both() {
        let verified = beside("");
        assert!(!verified.passed() && verified.warnings.is_empty());
        assert_eq!(verified.failures[0].render(Style::Plain), Code::RolesContradict.example());
    }

    #[test]
    fn a_contradiction_can_be_acknowledged() {
        let verified = beside("acknowledge: [web never reaches the db]\n");
        assert!(verified.passed() && verified.warnings.is_empty());
        assert!(verified.tests[0].acknowledged && !verified.tests[0].passed);
        assert_eq!(verified.words("hold"), "0 tests hold, 1 acknowledged");
    }

    #[test]
    fn an_idle_acknowledgement_is_pointed_out() {
        let verified = beside("acknowledge: [web never reaches the db, web is nice]\n");
        assert!(verified.passed());
        let text = verified.warnings[0].render(Style::Plain);
        assert_eq!(text, Code::Unacknowledged.example());
    }

    #[test]
    fn names_are_quoted_where_yaml_needs_it() {
        assert_eq!(quoted("world cannot bypass (v6)"), "world cannot bypass (v6)");
        assert_eq!(quoted("it's: so"), "'it''s: so'");
    }
}
