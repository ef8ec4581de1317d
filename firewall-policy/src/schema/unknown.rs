//! Keys and words that the language does not know, and what was meant.

use super::keys::{DIALECTS, LEVELS, Level};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, is_odd_space};
use crate::read::Entry;
use crate::source::Span;
use crate::suggest;
use crate::syntax;
use crate::value::{ip_proto, is_digits};

/// What there is to say about `reject`.
const REJECT: &str = "a reject answers the sender; this firewall drops without an answer";

/// Words to choose from, in a sentence.
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
        [] => String::new(),
    }
}

/// A key that its mapping does not have.
pub(super) fn unknown_key(entry: &Entry<'_>, level: &'static Level) -> Diagnostic {
    let key = &*entry.key.text;
    let message = format!("{} has no key `{key}`", level.name);
    let here = |code, label: &str| Diagnostic::new(code, &message).at(&entry.key_span, label);
    if let Some(diagnostic) = misread_key(entry, level) {
        return diagnostic;
    }
    let near = suggest::nearest(key, level.keys.iter().copied());
    let elsewhere: Vec<&str> =
        LEVELS.iter().filter(|other| other.keys.contains(&key)).map(|other| other.name).collect();
    if matches!(key, "action" | "target" | "verdict") && level.keys.contains(&"service") {
        return here(Code::OtherDialect, "the list that a rule stands in decides")
            .help("put the rule under `allow:` or under `deny:`");
    }
    let word = key.to_ascii_lowercase();
    if level.keys.contains(&"ip-proto")
        && let Some((code, label, help)) = protocol_key(&word)
    {
        return here(code, label).help(help);
    }
    let foreign = || DIALECTS.iter().filter(|(_, ours)| level.keys.contains(ours));
    if let Some((_, ours)) = foreign().find(|(theirs, _)| *theirs == word) {
        let label = if word == "reject" { REJECT } else { "another firewall's word" };
        return here(Code::OtherDialect, label).help(format!("here it is `{ours}:`"));
    }
    if level.keys.contains(&word.as_str()) {
        return here(Code::UnknownKey, "keys are written in lower case").help(format!("{word}:"));
    }
    if let (Some(near), true) = (near, elsewhere.is_empty()) {
        return here(Code::UnknownKey, "unknown").help(format!("did you mean `{near}`?"));
    }
    let words = foreign().map(|&(theirs, _)| theirs);
    if let (Some(near), true) = (suggest::nearest(key, words), elsewhere.is_empty())
        && let Some((_, ours)) = foreign().find(|(theirs, _)| *theirs == near)
    {
        return here(Code::UnknownKey, "unknown").help(format!("did you mean `{ours}`?"));
    }
    if !elsewhere.is_empty() {
        let places = elsewhere.join(" or of ");
        return here(Code::KeyElsewhere, &format!("a key of {places}")).help(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("here: {}", level.keys.join(", ")),
        });
    }
    here(Code::UnknownKey, "unknown").help(format!("known here: {}", level.keys.join(", ")))
}

/// A key that YAML made of something else.
fn misread_key(entry: &Entry<'_>, level: &'static Level) -> Option<Diagnostic> {
    let key = &*entry.key.text;
    if key.contains(is_odd_space) {
        return syntax::odd_space(&entry.key_span);
    }
    let message = format!("{} has no key `{key}`", level.name);
    let here = |code, label: &str| Diagnostic::new(code, &message).at(&entry.key_span, label);
    if key == "<<" {
        return Some(
            here(Code::Anchor, "merge keys are not used in rule files").help("write the keys out"),
        );
    }
    if let Some((ours, value)) = key.split_once(':')
        && level.keys.contains(&ours)
    {
        return Some(
            here(Code::UnknownKey, "a space is missing behind the `:`")
                .help(format!("{ours}: {value}")),
        );
    }
    if level.keys.contains(&"tcp") && is_digits(key) {
        return Some(
            here(Code::UnknownKey, "unknown").help("a list of ports is written [80, 443]"),
        );
    }
    None
}

/// A key that says protocol or port in another way.
fn protocol_key(key: &str) -> Option<(Code, &'static str, String)> {
    if matches!(key, "port" | "ports" | "proto" | "protocol" | "dport") {
        let help = "the protocol is the key, the port its value: tcp: 80";
        return Some((Code::OtherDialect, "another firewall's word", help.into()));
    }
    let number = ip_proto::of_name(key)?;
    let label = "a protocol without ports goes by its number";
    Some((Code::UnknownKey, label, format!("ip-proto: {number}")))
}

/// A word that is none of those its key takes.
pub(super) fn unknown_word(word: &str, span: &Span, words: &[&str]) -> Diagnostic {
    let message = format!("`{word}` is not possible here");
    let wanted = format!("{} is wanted", one_of(words));
    let lower = word.to_ascii_lowercase();
    if words.contains(&lower.as_str()) {
        return Diagnostic::new(Code::UnknownWord, message)
            .at(span, "words are written in lower case")
            .help(lower);
    }
    if lower == "reject" && words.contains(&"drop") {
        return Diagnostic::new(Code::OtherDialect, message).at(span, REJECT).help("drop");
    }
    let ours = match lower.as_str() {
        "deny" | "block" | "discard" => "drop",
        "accept" | "permit" | "pass" => "allow",
        _ => "",
    };
    if words.contains(&ours) {
        return Diagnostic::new(Code::OtherDialect, message)
            .at(span, "another firewall's word")
            .help(ours);
    }
    let diagnostic = Diagnostic::new(Code::UnknownWord, message).at(span, wanted);
    let switch = match lower.as_str() {
        "yes" | "y" | "on" | "true" | "1" => ["true", "on"],
        "no" | "n" | "off" | "false" | "0" => ["false", "off"],
        _ => ["", ""],
    };
    if let Some(switch) = switch.into_iter().find(|switch| words.contains(switch)) {
        return diagnostic.help(switch);
    }
    match suggest::nearest(word, words.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}
