//! What ufw keeps: files that `iptables-restore` reads, and a few settings.
//!
//! `/lib/ufw/ufw-init-functions` ties their chains together; so does this.

use std::sync::Arc;

use super::ipset::Sets;
use super::iptables::{self, FORWARD, Reading};
use super::program::Program;
use crate::diagnostic::Diagnostic;
use crate::ir::{Action, Direction};
use crate::source::Source;

/// Chains that ufw makes without a file saying so.
const MADE: [&str; 4] =
    ["logging-deny", "logging-allow", "skip-to-policy-input", "skip-to-policy-output"];
const FILES: [&str; 3] = ["before", "user", "after"];

/// Settings of `/etc/default/ufw`.
struct Settings {
    file: String,
    ingress: Action,
    egress: Action,
    has_ipv6: bool,
}

/// Reads rule files and settings, which are told apart by their names.
pub(super) fn read(
    sources: &[Arc<Source>],
    sets: &Sets,
    without_limits: bool,
) -> Result<Program, Box<Diagnostic>> {
    let named = |wanted: &str| {
        let mut all = sources.iter();
        all.find(|source| source.name.rsplit('/').next() == Some(wanted)).cloned()
    };
    let mut program = Program::default();
    let settings = named("ufw");
    if settings.is_none() {
        let text =
            "without /etc/default/ufw: what arrives is dropped, what is sent passes, by default";
        program.remarks.note(text, None);
    }
    let none = || Source { name: "/etc/default/ufw".to_owned(), text: String::new() };
    let settings = settings.map_or_else(|| parse(&none()), |source| parse(&source));
    let is_known = |source: &&Arc<Source>| {
        let name = source.name.rsplit('/').next().unwrap_or_default();
        let stem = name.strip_suffix(".rules").unwrap_or_default();
        name == "ufw" || FILES.contains(&stem.strip_suffix('6').unwrap_or(stem))
    };
    for source in sources.iter().filter(|source| !is_known(source)) {
        let text =
            "is not a file of ufw by its name (before, user, after, with 6 for IPv6): not read";
        program.remarks.note(format!("{} {text}", source.name), None);
    }
    for is_v6 in [false, true] {
        let digit = if is_v6 { "6" } else { "" };
        let files: Vec<_> =
            FILES.iter().filter_map(|file| named(&format!("{file}{digit}.rules"))).collect();
        if files.is_empty() {
            continue;
        }
        if is_v6 && !settings.has_ipv6 {
            program
                .remarks
                .note("IPV6=no: rules for IPv6 are not in force, and not imported", None);
            continue;
        }
        if named(&format!("before{digit}.rules")).is_none() {
            let text = format!(
                "without before{digit}.rules: what ufw admits by itself (ping, mDNS) is not imported"
            );
            program.remarks.note(text, None);
        }
        let reading = Reading { is_v6, sets, without_limits };
        program.append(one(&files, &settings, reading)?);
    }
    Ok(program)
}

fn parse(source: &Source) -> Settings {
    let value = |key: &str| {
        let mut lines =
            source.text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        lines.next_back().map(|value| value.trim_matches(['"', '\'', ' ']).to_ascii_lowercase())
    };
    let policy = |key, default| match value(key).as_deref() {
        Some("accept") => Action::Allow,
        Some("drop" | "reject") => Action::Drop,
        _ => default,
    };
    Settings {
        file: source.name.clone(),
        ingress: policy("DEFAULT_INPUT_POLICY", Action::Drop),
        egress: policy("DEFAULT_OUTPUT_POLICY", Action::Allow),
        has_ipv6: value("IPV6").as_deref() != Some("no"),
    }
}

/// The files of one family.
fn one(
    files: &[Arc<Source>],
    settings: &Settings,
    reading: Reading<'_>,
) -> Result<Program, Box<Diagnostic>> {
    let prefix = if reading.is_v6 { "ufw6" } else { "ufw" };
    let chain = |name: &str| format!("{prefix}-{name}");
    let made: Vec<String> = MADE.iter().map(|name| chain(name)).collect();
    let mut file = iptables::read(files, &made, reading)?;
    let directions = [
        ("INPUT", "input", Direction::Ingress, settings.ingress),
        ("OUTPUT", "output", Direction::Egress, settings.egress),
    ];
    for (hook, word, direction, policy) in directions {
        file.ends(&chain(&format!("skip-to-policy-{word}")), policy, &settings.file);
        let before = chain(&format!("before-{word}"));
        file.jump(&before, &chain(&format!("user-{word}")));
        file.jump(hook, &before);
        file.jump(hook, &chain(&format!("after-{word}")));
        file.enter(("filter", hook), direction, Some(policy));
    }
    for name in ["before-forward", "user-forward", "after-forward"] {
        file.aside(("filter", &chain(name)), FORWARD);
    }
    for table in ["nat", "mangle", "raw"] {
        for hook in ["PREROUTING", "INPUT"] {
            file.enter((table, hook), Direction::Ingress, None);
        }
        file.aside((table, "POSTROUTING"), iptables::NAT);
    }
    Ok(file.done())
}
