//! What ufw keeps: files that `iptables-restore` reads, and a few settings.
//!
//! `/lib/ufw/ufw-init-functions` ties their chains together; so does this.

use std::sync::Arc;

use super::ipset::Sets;
use super::iptables::{self, FORWARD, Reading};
use super::program::Program;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::{Action, Direction};
use crate::source::{Source, Span};

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
    if !sources.iter().any(|source| is_known(&source) && !source.name.ends_with("ufw")) {
        return Err(none_of_ufw(sources));
    }
    for source in sources.iter().filter(|source| !is_known(source)) {
        let text =
            "is not a file of ufw by its name (before, user, after, with 6 for IPv6): not read";
        program.remarks.note(format!("{} {text}", source.name), None);
    }
    for is_v6 in [false, true] {
        let digit = if is_v6 { "6" } else { "" };
        let files: Vec<_> =
            FILES.iter().filter_map(|file| named(&format!("{file}{digit}.rules"))).collect();
        let reading = Reading { is_v6, sets, without_limits };
        if is_v6 && !settings.has_ipv6 {
            let text = "IPV6=no: ufw drops all of IPv6, whatever the rules for it say";
            program.remarks.note(text, None);
            program.append(closed(reading)?);
            continue;
        }
        if files.is_empty() {
            continue;
        }
        if named(&format!("before{digit}.rules")).is_none() {
            let text = format!(
                "without before{digit}.rules: what ufw admits by itself (ping, mDNS) is not imported"
            );
            program.remarks.note(text, None);
        }
        program.append(one(&files, &settings, reading)?);
    }
    Ok(program)
}

fn parse(source: &Source) -> Settings {
    let value = |key: &str| {
        let mut lines =
            source.text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        lines.next_back().map(|value| first_word(value).to_ascii_lowercase())
    };
    let policy = |key, default| match value(key).as_deref() {
        Some("accept") => Action::Allow,
        Some(_) => Action::Drop,
        None => default,
    };
    Settings {
        file: source.name.clone(),
        ingress: policy("DEFAULT_INPUT_POLICY", Action::Drop),
        egress: policy("DEFAULT_OUTPUT_POLICY", Action::Allow),
        has_ipv6: value("IPV6").is_none_or(|value| value == "yes"),
    }
}

/// A value as a shell has it: without quotes, and what stands behind it.
fn first_word(value: &str) -> &str {
    let value = value.trim_start();
    match value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        Some(quote) => value[1..].split(quote).next().unwrap_or_default().trim(),
        None => value.split([' ', '\t', '#', ';']).next().unwrap_or_default(),
    }
}

fn none_of_ufw(sources: &[Arc<Source>]) -> Box<Diagnostic> {
    let none = || Arc::new(Source { name: "ufw".to_owned(), text: String::new() });
    let source = sources.first().cloned().unwrap_or_else(none);
    let end = source.text.find('\n').unwrap_or(source.text.len());
    let message = "none of these is a rule file of ufw by its name";
    let label = "before.rules, user.rules, after.rules are, with 6 for IPv6";
    let diagnostic = Diagnostic::new(Code::Import, message);
    Box::new(diagnostic.at(&Span { source, start: 0, end }, label))
}

/// A family of which nothing passes, as ufw has it where it is switched off.
fn closed(reading: Reading<'_>) -> Result<Program, Box<Diagnostic>> {
    let hooks = [("INPUT", Direction::Ingress), ("OUTPUT", Direction::Egress)];
    let mut file = iptables::read(&[], &hooks.map(|(hook, _)| hook.to_owned()), reading)?;
    for (hook, direction) in hooks {
        file.enter(("filter", hook), direction, Some(Action::Drop));
    }
    Ok(file.done())
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
        for hook in ["OUTPUT", "POSTROUTING"] {
            if table == "nat" {
                file.aside((table, hook), iptables::NAT);
            } else {
                file.enter((table, hook), Direction::Egress, None);
            }
        }
        file.aside((table, "FORWARD"), FORWARD);
    }
    Ok(file.done())
}
