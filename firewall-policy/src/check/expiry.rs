//! Rules that end.

use super::Context;
use super::rules::Resolved;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::value::date::Date;

/// Days ahead of which the end of a rule is announced.
const NOTICE_DAYS: i64 = 14;

/// Warns of a rule that has ended or is about to end; whether it is in force.
pub(crate) fn is_in_force(context: &mut Context<'_>, rule: &Resolved<'_>) -> bool {
    let (Some(expires), Some(now)) = (&rule.written.expires, context.now) else { return true };
    let today = Date::of(now);
    let left = today.days_until(expires.value);
    let name = &rule.rule.name;
    let owner = match &rule.rule.owner {
        Some(owner) => format!("ask {owner}, then renew the date or delete the rule"),
        None => "renew the date or delete the rule".to_owned(),
    };
    let (code, message, label) = match left {
        ..0 => (
            Code::Expired,
            format!("rule `{name}` has expired and is not in force"),
            format!("{} days ago", -left),
        ),
        0 => (Code::ExpiresSoon, format!("rule `{name}` expires today"), "at midnight UTC".into()),
        1..=NOTICE_DAYS => {
            (Code::ExpiresSoon, format!("rule `{name}` expires soon"), format!("in {left} days"))
        }
        _ => return true,
    };
    context.sink.push(Diagnostic::new(code, message).at(&expires.span, label).help(owner));
    left >= 0
}
