//! Lists: address sets in files of their own, bounded in length and age.

use super::Context;
use super::units::{path_of, refused};
use crate::codes::Code;
use crate::compile::parallel;
use crate::diagnostic::Diagnostic;
use crate::schema::named::List;
use crate::schema::reader::fault_at;
use crate::set::{AddrSet, RangeSet};
use crate::source::{Content, Refusal, Span};
use crate::text;
use crate::value::{Fault, address};

/// Bytes of a list file: a million entries of 64 bytes.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of a list whose halves are read at the same time.
const WORTH_A_THREAD: usize = 256 << 10;
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
    context.keep(&path, &source);
    let entries = Entries::of(&source.text);
    for Bad { fault, line } in entries.bad.iter().take(MAX_SHOWN) {
        let (start, end) = (line + fault.at.start, line + fault.at.end);
        let span = Span { source: source.clone(), start, end };
        context.sink.push(fault_at(fault, &span));
    }
    if !entries.bad.is_empty() {
        return None;
    }
    check_length(context, list, &source.name, entries.count);
    Some(AddrSet { v4: RangeSet::from_ranges(entries.v4), v6: RangeSet::from_ranges(entries.v6) })
}

/// What the lines of a list say: one address, network or range each; `#` begins a
/// comment.
#[derive(Default)]
struct Entries {
    count: usize,
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// The first bad lines.
    bad: Vec<Bad>,
}

/// An entry that is none.
struct Bad {
    fault: Fault,
    /// Where the entry begins.
    line: usize,
}

impl Entries {
    fn of(text: &str) -> Self {
        let middle = text.get(text.len() / 2..).and_then(|half| half.find('\n'));
        let middle = middle.map_or(text.len(), |at| text.len() / 2 + at + 1);
        let (first, second) = text.split_at(if text.len() < WORTH_A_THREAD { 0 } else { middle });
        let (first, second) = parallel::both(
            !first.is_empty(),
            || Self::of_lines(first, 0),
            || Self::of_lines(second, first.len()),
        );
        first.and(second)
    }

    /// Of lines that begin so far into the file.
    fn of_lines(text: &str, mut start: usize) -> Self {
        let mut entries = Self::default();
        for line in text.split('\n') {
            let written = line.split('#').next().unwrap_or_default();
            let entry = written.trim();
            if !entry.is_empty() {
                let before = written.len() - written.trim_start().len();
                entries.add(entry, start + before);
            }
            start += line.len() + 1;
        }
        entries.v4.sort_unstable();
        entries
    }

    fn add(&mut self, entry: &str, line: usize) {
        self.count += 1;
        if let Some(range) = address::plain_v4(entry) {
            self.v4.push(range);
            return;
        }
        match address::parse(entry) {
            Ok(set) => {
                self.v4.extend(set.v4.ranges());
                self.v6.extend(set.v6.ranges());
            }
            Err(fault) if self.bad.len() < MAX_SHOWN => self.bad.push(Bad { fault, line }),
            Err(_) => {}
        }
    }

    fn and(mut self, mut other: Self) -> Self {
        if self.count == 0 {
            return other;
        }
        self.count += other.count;
        self.v4.append(&mut other.v4);
        self.v6.append(&mut other.v6);
        self.bad.append(&mut other.bad);
        self
    }
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
