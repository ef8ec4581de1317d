//! Requests are counted in one way per packet.

use super::Context;
use super::rules::{Resolved, count_word};
use crate::assemble::Lists;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::set::AddrSet;

/// Reports allow rules that would count one packet in two ways.
pub(crate) fn check(context: &mut Context<'_>, lists: &Lists<'_>) {
    let counted: Vec<&Resolved<'_>> =
        lists.allow.iter().filter(|rule| !rule.rule.counts.is_empty()).collect();
    for (index, rule) in counted.iter().enumerate() {
        for other in &counted[..index] {
            if meet(&rule.rule.remote, &other.rule.remote)
                && meet(&rule.rule.local, &other.rule.local)
            {
                compare(context, rule, other);
            }
        }
    }
}

fn meet(a: &AddrSet, b: &AddrSet) -> bool {
    !a.intersect(b).is_empty()
}

fn compare(context: &mut Context<'_>, rule: &Resolved<'_>, other: &Resolved<'_>) {
    for (set, count) in &rule.rule.counts {
        for (taken, known) in &other.rule.counts {
            let both = set.intersect(taken);
            let Some(&(port, _)) = both.ranges().first().filter(|_| count != known) else {
                continue;
            };
            let message = format!("port {} is counted in two ways", port & 0xffff);
            let (count, known) = (count_word(*count), count_word(*known));
            context.sink.push(
                Diagnostic::new(Code::Count, message)
                    .at(rule.service_span(), format!("as `{count}` by `{}`", rule.rule.name))
                    .at(other.service_span(), format!("as `{known}` by `{}`", other.rule.name))
                    .help("use one service for the port, or rules with different addresses"),
            );
            return;
        }
    }
}
