//! Findings for people.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Figure, Finding};
use crate::report::snapshot::Level;
use crate::report::units;

/// Peers shown before the rest is counted.
const SHOWN: usize = 4;

/// Every finding in three lines: what it is, what it rests on, and what to do.
pub(crate) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for one in findings {
        let place = one.place.as_ref().map_or(String::new(), |place| format!("  ({place})"));
        let _ = writeln!(text, "{:5} {}{place}  [{}]", one.level, one.message, one.id);
        let seen = seen(one);
        if !seen.is_empty() {
            let _ = writeln!(text, "      seen: {seen}");
        }
        let _ = writeln!(text, "      do:   {}\n", one.help);
    }
    let of = |level| findings.iter().filter(|one| one.level == level).count();
    let counts = [(Level::Fail, "failure"), (Level::Warn, "warning"), (Level::Note, "note")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(level, _)| of(*level) > 0)
        .map(|(level, word)| units::plural(of(level), word))
        .collect();
    let last = if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
    let _ = writeln!(text, "{last}");
    text
}

/// What a finding rests on.
fn seen(finding: &Finding) -> String {
    let figure = |Figure { value, unit, what }: &Figure| {
        let unit = if *value == 1 { unit.trim_end_matches('s') } else { unit };
        format!("{} {unit} {what}", units::count(*value))
    };
    let mut said: Vec<String> = finding.evidence.iter().map(figure).collect();
    if !finding.peers.is_empty() {
        let shown: Vec<String> = finding.peers.iter().take(SHOWN).map(IpAddr::to_string).collect();
        let more = match finding.peers.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let ports = finding.ports.join(" ");
        said.push(format!("on {ports} with {}{more}", shown.join(" ")));
    }
    said.extend(finding.process.iter().map(|process| format!("process {process}")));
    said.join("; ")
}
