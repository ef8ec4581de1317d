//! Requests are counted in one way per packet.

use super::Context;
use super::index::Index;
use super::rules::{Resolved, count_word};
use crate::assemble::Lists;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;

/// Reports allow rules that would count one packet in two ways.
pub(crate) fn check(context: &mut Context<'_>, lists: &Lists<'_>) {
    let counted: Vec<&Resolved<'_>> =
        lists.allow.iter().filter(|rule| !rule.rule.counts.is_empty()).collect();
    let index = Index::new(counted.iter().map(|rule| &*rule.rule).enumerate());
    for (place, rule) in counted.iter().enumerate() {
        let before = index.meeting(&rule.rule).into_iter().take_while(|&other| other < place);
        for other in before.map(|other| counted[other]) {
            if !rule.rule.remote.is_disjoint(&other.rule.remote)
                && !rule.rule.local.is_disjoint(&other.rule.local)
            {
                compare(context, rule, other);
            }
        }
    }
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
