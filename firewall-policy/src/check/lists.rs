//! Lists: address sets in files of their own, bounded in length and age.

use std::sync::Arc;

use super::Context;
use super::units::{path_of, refused};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::schema::named::List;
use crate::schema::reader::fault_at;
use crate::set::AddrSet;
use crate::source::{Content, Refusal, Source, Span};
use crate::text;
use crate::value::address;

/// Bytes of a list file: a million entries of 64 bytes.
const MAX_BYTES: usize = 64 << 20;
/// Bad lines shown of one list.
const MAX_SHOWN: usize = 10;

/// The addresses of a list; `None` if it must not be used, which is reported.
pub(crate) fn read(context: &mut Context<'_>, from: &str, list: &List) -> Option<AddrSet> {
    let path = path_of(context, from, &list.file)?;
    let shown = context.files.shown(&path);
    let file = match context.files.read(&path, MAX_BYTES) {
        Ok(file) => file,
        Err(Refusal::Missing) if list.optional => return Some(AddrSet::empty()),
        Err(refusal) => {
            context.sink.push(refused(&shown, &refusal, Some(&list.file.span)));
            return None;
        }
    };
    check_age(context, list, &shown, &file);
    let source = text::decode(shown, file.bytes, context.sink)?;
    let before = context.sink.errors();
    let sets = entries(context, &source);
    if context.sink.errors() > before {
        return None;
    }
    check_length(context, list, &source.name, sets.len());
    Some(AddrSet::union_all(&sets))
}

/// One address, network or range per line; `#` begins a comment.
fn entries(context: &mut Context<'_>, source: &Arc<Source>) -> Vec<AddrSet> {
    let mut sets = Vec::new();
    let mut start = 0;
    let mut bad = 0;
    for line in source.text.split('\n') {
        let written = line.split('#').next().unwrap_or_default();
        let entry = written.trim();
        if !entry.is_empty() {
            match address::parse(entry) {
                Ok(set) => sets.push(set),
                Err(fault) => {
                    bad += 1;
                    let first = start + (written.len() - written.trim_start().len());
                    let (start, end) = (first + fault.at.start, first + fault.at.end);
                    let span = Span { source: source.clone(), start, end };
                    if bad <= MAX_SHOWN {
                        context.sink.push(fault_at(&fault, &span));
                    }
                }
            }
        }
        start += line.len() + 1;
    }
    sets
}

fn check_length(context: &mut Context<'_>, list: &List, shown: &str, length: usize) {
    let List { min, max, .. } = *list;
    let (code, message, label) = if length < min {
        let message = format!("{shown} is too short");
        (Code::ListLength, message, format!("{}; at least {min} expected", entries_of(length)))
    } else if length > max {
        let message = format!("{shown} is too long");
        (Code::ListLength, message, format!("{}; at most {max} expected", entries_of(length)))
    } else {
        return;
    };
    context.sink.push(
        Diagnostic::new(code, message)
            .at(&list.file.span, label)
            .help("check the download; change `min:` or `max:` if the list is meant so"),
    );
}

fn entries_of(length: usize) -> String {
    if length == 1 { "1 entry".into() } else { format!("{length} entries") }
}

fn check_age(context: &mut Context<'_>, list: &List, shown: &str, file: &Content) {
    let (Some(max), Some(now), Some(modified)) = (list.max_age, context.now, file.modified) else {
        return;
    };
    let age = now.duration_since(modified).unwrap_or_default().as_secs();
    if age > max {
        let (age, max) = (in_words(age), in_words(max));
        context.sink.push(
            Diagnostic::new(Code::ListAge, format!("{shown} is too old"))
                .at(&list.file.span, format!("changed {age} ago; {max} are allowed"))
                .help("refresh the file; check what should have refreshed it"),
        );
    }
}

fn in_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
