//! `firewall rules` and `firewall counters`: what each rule has seen.

use std::cmp::Reverse;

use serde::Serialize;

use super::metrics::defaults;
use super::snapshot::{Outcome, Rule, SCHEMA, Snapshot, Source, Way};
use super::table::{Align, Table};
use super::units;

/// Which rules, in which order.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those that never decided a packet.
    pub unused: bool,
    /// Busiest first.
    pub by_hits: bool,
    /// Only those of a role.
    pub role: Option<String>,
    /// Only those of a name.
    pub name: Option<String>,
}

/// `firewall rules --json`.
#[derive(Debug, Serialize)]
pub struct RulesDocument<'a> {
    schema: u32,
    source: Source,
    time_ms: u64,
    rules: Vec<&'a Rule>,
}

/// `firewall counters --json`.
#[derive(Debug, Serialize)]
pub struct Counters<'a> {
    schema: u32,
    source: Source,
    time_ms: u64,
    rules: Vec<&'a Rule>,
    outcomes: &'a [Outcome],
}

impl Selection {
    /// The rules that are wanted.
    #[must_use]
    pub fn of<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a Rule> {
        let wanted = |rule: &&Rule| {
            let short = rule.name.rsplit('/').next().unwrap_or(&rule.name);
            (!self.unused || rule.packets == 0)
                && self.role.as_ref().is_none_or(|role| *role == rule.role)
                && self.name.as_ref().is_none_or(|name| *name == rule.name || name == short)
        };
        let mut rules: Vec<&Rule> = snapshot.rules.iter().filter(wanted).collect();
        if self.by_hits {
            rules.sort_by_key(|rule| Reverse(rule.packets));
        }
        rules
    }
}

/// `firewall rules` for programs.
#[must_use]
pub fn rules_json<'a>(snapshot: &'a Snapshot, selection: &Selection) -> RulesDocument<'a> {
    let Snapshot { source, time_ms, .. } = *snapshot;
    RulesDocument { schema: SCHEMA, source, time_ms, rules: selection.of(snapshot) }
}

/// `firewall counters` for programs.
#[must_use]
pub fn counters_json<'a>(snapshot: &'a Snapshot, selection: &Selection) -> Counters<'a> {
    let Snapshot { source, time_ms, .. } = *snapshot;
    let rules = selection.of(snapshot);
    Counters { schema: SCHEMA, source, time_ms, rules, outcomes: &snapshot.outcomes }
}

/// The rules in force, with what each has seen.
#[must_use]
pub fn rules_text(snapshot: &Snapshot, selection: &Selection, columns: usize) -> String {
    let left = Align::Left;
    let mut table = Table::new([
        ("rule", left),
        ("", left),
        ("", left),
        ("other end", Align::Cut),
        ("service", Align::Cut),
        ("packets", Align::Right),
        ("written at", Align::Spare),
    ]);
    let rules = selection.of(snapshot);
    for rule in &rules {
        table.row([
            rule.name.clone(),
            rule.list.name().to_owned(),
            rule.direction.short().to_owned(),
            arrow(rule),
            rule.service.clone(),
            units::count(rule.packets),
            rule.place.clone(),
        ]);
    }
    if !rules.is_empty() {
        let mut text = table.fitted(columns);
        if selection.unused {
            let counted = units::plural(rules.len(), "rule");
            text.push_str(&counted);
            text.push_str(" decided no packet since counting began, at boot or later. ");
            text.push_str("Allowed but never used widens the policy.\n");
        }
        return text;
    }
    let nothing = match (&snapshot.policy, &selection.role) {
        (None, _) => "no policy is loaded",
        (_, Some(_)) if !selection.unused => "the role has no rules of its own",
        _ if selection.unused => "every rule has decided packets",
        _ => "the policy has no rules",
    };
    format!("{nothing}\n")
}

fn arrow(rule: &Rule) -> String {
    match rule.direction {
        Way::Ingress => format!("from {}", rule.remote),
        Way::Egress => format!("to {}", rule.remote),
    }
}

/// Everything counted: rules, defaults, then outcomes by reason.
#[must_use]
pub fn counters_text(snapshot: &Snapshot, selection: &Selection) -> String {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("rule", left),
        ("", left),
        ("", left),
        ("packets", right),
        ("bytes", right),
        ("new flows", right),
        ("requests", left),
    ]);
    let rules = selection.of(snapshot);
    for rule in &rules {
        table.row([
            rule.name.clone(),
            rule.list.name().to_owned(),
            rule.direction.short().to_owned(),
            units::count(rule.packets),
            units::size(rule.bytes),
            units::count(rule.new_flows),
            requests(rule),
        ]);
    }
    if selection.name.is_some() {
        if rules.is_empty() {
            return "no rule of that name is in force; `firewall rules` lists them\n".to_owned();
        }
        return table.render();
    }
    for default in defaults(snapshot) {
        table.row([
            default.way.default_name().to_owned(),
            default.action.name().to_owned(),
            default.way.short().to_owned(),
            units::count(default.packets),
            units::size(default.bytes),
            units::NOT_MEASURED.to_owned(),
            String::new(),
        ]);
    }
    if table.is_empty() {
        return "no policy is loaded: nothing is counted\n".to_owned();
    }
    format!("{}\n{}", table.render(), outcomes(snapshot))
}

/// What requests a rule has seen, in words.
fn requests(rule: &Rule) -> String {
    use super::snapshot::Unit;
    let mut shown: Vec<String> = Unit::REQUESTS
        .into_iter()
        .filter_map(|unit| Some(format!("{} {}", units::count(rule.total(unit)?), unit.name())))
        .collect();
    for (name, word) in [("suspects", "suspect"), ("gaps", "gaps"), ("resyncs", "resyncs")] {
        match rule.requests.get(name) {
            None | Some(0) => {}
            Some(many) => shown.push(format!("{} {word}", units::count(*many))),
        }
    }
    shown.join(", ")
}

fn outcomes(snapshot: &Snapshot) -> String {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("reason", left),
        ("", left),
        ("", left),
        ("interface", left),
        ("packets", right),
        ("bytes", right),
    ]);
    for one in &snapshot.outcomes {
        table.row([
            one.reason.clone(),
            one.verdict.name().to_owned(),
            one.direction.short().to_owned(),
            one.interface.clone(),
            units::count(one.packets),
            units::size(one.bytes),
        ]);
    }
    if table.is_empty() { "no packet has been judged yet\n".to_owned() } else { table.render() }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{assert_stored, snapshot};
    use super::*;

    #[test]
    fn rules_are_shown_in_the_users_words() {
        assert_eq!(
            rules_text(&snapshot(), &Selection::default(), usize::MAX),
            "\
rule                              other end            service    packets  written at
failsafe-ssh       failsafe  in   from bastion         ssh              0  site.yaml:48
http-from-lb       allow     in   from load-balancers  http     9,000,000  web.yaml:10
no-cloud-metadata  deny      out  to cloud-metadata    all              7  site.yaml:62
dns                allow     out  to resolvers         dns             40  site.yaml:64
"
        );
    }

    #[test]
    fn unused_rules_are_those_without_a_packet() {
        let unused = Selection { unused: true, ..Selection::default() };
        let text = rules_text(&snapshot(), &unused, usize::MAX);
        assert!(text.contains("failsafe-ssh") && !text.contains("http-from-lb"), "{text}");
        assert!(text.ends_with("Allowed but never used widens the policy.\n"), "{text}");
    }

    #[test]
    fn the_busiest_come_first_when_asked_for() {
        let busy = Selection { by_hits: true, ..Selection::default() };
        assert_eq!(busy.of(&snapshot())[0].name, "http-from-lb");
    }

    #[test]
    fn counters_hold_rules_defaults_and_reasons() {
        let text = counters_text(&snapshot(), &Selection::default());
        assert_stored("counters.txt", &text);
        let one = Selection { name: Some("dns".into()), ..Selection::default() };
        let text = counters_text(&snapshot(), &one);
        assert!(text.contains("20 dns-queries") && !text.contains("default-in"), "{text}");
    }

    #[test]
    fn json_is_as_stored() {
        let snapshot = snapshot();
        let json = counters_json(&snapshot, &Selection::default());
        let json = serde_json::to_string_pretty(&json).unwrap();
        assert_stored("counters.json", &(json + "\n"));
    }
}
