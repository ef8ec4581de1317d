//! Names of rules: given once, and used by rates and tests.

use std::collections::HashMap;
use std::sync::LazyLock;

use firewall_common::verdict::Reason;

use super::Context;
use super::rules::Resolved;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::{Count, Direction, Unit};
use crate::schema::rate::{Rate, UNITS};
use crate::schema::rule::Rule;
use crate::source::{Span, Spanned};
use crate::suggest;

/// Names that decide without a rule being written.
pub(crate) fn is_built_in(name: &str) -> bool {
    static BASELINE: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        Reason::ALL.iter().filter(|reason| reason.is_baseline()).map(|one| one.name()).collect()
    });
    matches!(name, "established" | "default-in" | "default-out") || BASELINE.contains(&name)
}

/// A rule, by whom it was written.
#[derive(Clone, Copy, Debug)]
struct Known<'u> {
    rule: &'u Rule,
    /// The role, empty for a shared file.
    owner: &'u str,
}

/// The names of the rules that one file sees, its own and the included ones.
#[derive(Debug, Default)]
pub(crate) struct RuleNames<'u> {
    ingress: HashMap<&'u str, Known<'u>>,
    egress: HashMap<&'u str, Known<'u>>,
    /// In the order of writing, for suggestions.
    order: Vec<&'u str>,
}

/// What the name of a rule refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) direction: Direction,
    /// The role that wrote the rule; empty for shared and built-in rules.
    pub(crate) role: String,
    pub(crate) name: String,
}

impl<'u> RuleNames<'u> {
    /// Takes a rule in; a name that is taken is reported.
    pub(crate) fn add(
        &mut self,
        context: &mut Context<'_>,
        owner: &'u str,
        rule: &'u Rule,
        direction: Direction,
    ) {
        let name = rule.name.value.as_str();
        if is_built_in(name) {
            context.sink.push(
                Diagnostic::new(Code::BuiltIn, format!("`{name}` is a built-in rule"))
                    .at(&rule.name.span, "counters could not tell the two apart")
                    .help("choose another name"),
            );
        }
        let names = match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        let Some(known) = names.insert(name, Known { rule, owner }) else {
            self.order.push(name);
            return;
        };
        let message = format!("two {} rules are called `{name}`", word(direction));
        let (mut first, mut second) = (&known.rule.name.span, &rule.name.span);
        if first.source.name == second.source.name && first.start > second.start {
            (first, second) = (second, first);
        }
        context.sink.push(
            Diagnostic::new(Code::DuplicateName, message)
                .at(second, "again here")
                .at(first, "first here")
                .help("rename one: counters and events speak of rules by name"),
        );
    }

    fn find(&self, direction: Direction, written: &str) -> Option<Reference> {
        let (role, name) = match written.rsplit_once('/') {
            Some((role, name)) => (Some(role), name),
            None => (None, written),
        };
        let names = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        let known = names.get(name).filter(|known| role.is_none_or(|role| role == known.owner))?;
        Some(Reference { direction, role: known.owner.to_owned(), name: name.to_owned() })
    }

    /// The rule that a rate reads.
    pub(crate) fn of_rate(&self, context: &mut Context<'_>, rate: &Rate) -> Option<Reference> {
        let name = rate.rule.value.as_str();
        let default = match name {
            "default-in" => Some(Direction::Ingress),
            "default-out" => Some(Direction::Egress),
            _ => None,
        };
        if let Some(direction) = default {
            return Some(Reference { direction, role: String::new(), name: name.to_owned() });
        }
        match (self.find(Direction::Ingress, name), self.find(Direction::Egress, name)) {
            (Some(_), Some(_)) => {
                let message = format!("`{name}` names an ingress rule and an egress rule");
                context.sink.push(
                    Diagnostic::new(Code::AmbiguousRule, message)
                        .at(&rate.rule.span, "which of the two?")
                        .help("rename one of the rules"),
                );
                None
            }
            (None, None) => {
                context.sink.push(self.unknown(&rate.rule));
                None
            }
            (found, other) => found.or(other),
        }
    }

    /// The rule that a test wants to decide.
    pub(crate) fn of_test(
        &self,
        context: &mut Context<'_>,
        by: &Spanned<String>,
        direction: Direction,
    ) -> Option<Reference> {
        let name = by.value.as_str();
        let (other, wrong_default) = match direction {
            Direction::Ingress => (Direction::Egress, "default-out"),
            Direction::Egress => (Direction::Ingress, "default-in"),
        };
        if let Some(found) = self.find(direction, name) {
            return Some(found);
        }
        if is_built_in(name) && name != wrong_default {
            return Some(Reference { direction, role: String::new(), name: name.to_owned() });
        }
        if name == wrong_default || self.find(other, name).is_some() {
            let message = format!("`{name}` cannot decide on this packet");
            let label = format!("an {} rule, but an {} packet", word(other), word(direction));
            context.sink.push(Diagnostic::new(Code::ImpossibleTest, message).at(&by.span, label));
        } else {
            context.sink.push(self.unknown(by));
        }
        None
    }

    fn unknown(&self, name: &Spanned<String>) -> Diagnostic {
        let Spanned { value, span } = name;
        let diagnostic = Diagnostic::new(Code::UnknownRule, format!("no rule is called `{value}`"))
            .at(span, "neither here, nor in a file that is included, nor built in");
        let built_in = ["established", "default-in", "default-out"];
        match suggest::nearest(value, self.order.iter().copied().chain(built_in)) {
            Some(near) => diagnostic.help(match self.place(near) {
                Some(place) => format!("did you mean `{near}`?  ({})", place.place()),
                None => format!("did you mean `{near}`?"),
            }),
            None => diagnostic,
        }
    }

    fn place(&self, name: &str) -> Option<&'u Span> {
        let known = self.ingress.get(name).or_else(|| self.egress.get(name))?;
        Some(&known.rule.name.span)
    }
}

/// The key of a direction.
pub(crate) fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// Reports names that a list gives twice.
pub(crate) fn unique(context: &mut Context<'_>, what: &str, names: &[&Spanned<String>]) {
    let mut known: HashMap<&str, &Span> = HashMap::new();
    for Spanned { value, span } in names {
        if let Some(first) = known.insert(value, span) {
            context.sink.push(
                Diagnostic::new(Code::DuplicateName, format!("two {what} are called `{value}`"))
                    .at(span, "again here")
                    .at(first, "first here")
                    .help("rename one"),
            );
        }
    }
}

/// A rate of requests needs a rule whose service says how requests are counted;
/// `rule` is `None` for a default, and for a rule that is broken.
pub(crate) fn check_unit(
    context: &mut Context<'_>,
    rate: &Rate,
    reference: &Reference,
    rule: Option<&Resolved<'_>>,
) {
    let wanted = match rate.unit.value {
        Unit::HttpRequests => Count::Http1,
        Unit::TlsHandshakes => Count::Tls,
        Unit::MysqlCommands => Count::Mysql,
        Unit::DnsQueries => Count::Dns,
        Unit::Packets | Unit::Bytes | Unit::NewFlows => return,
    };
    let unit = UNITS.iter().find(|(_, unit)| *unit == rate.unit.value).map_or("", |(word, _)| word);
    let diagnostic =
        Diagnostic::new(Code::Count, format!("rule `{}` counts no {unit}", rate.rule.value))
            .at(&rate.unit.span, "this series would always be 0");
    match rule {
        Some(rule) if rule.rule.counts.iter().all(|(_, count)| *count != wanted) => {
            context.sink.push(
                diagnostic
                    .at(rule.service_span(), "no `count:` of this service says how")
                    .help("add `count:` to the service, or use another unit"),
            );
        }
        None if is_built_in(&reference.name) => {
            context.sink.push(diagnostic.help("unit: packets"));
        }
        _ => {}
    }
}
