//! Bytes to text: what no file may contain, whatever its language.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Sink, is_hidden};
use crate::source::{Source, Span};

/// Bytes a rule file may have: hundreds of times the longest written by hand.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The text of a file, unless it is not UTF-8. Byte order mark and hidden
/// characters are reported; the text can be read on all the same.
pub(crate) fn decode(name: String, bytes: Vec<u8>, sink: &mut Sink) -> Option<Arc<Source>> {
    let (text, bad) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let (start, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
            let byte = bytes.get(start).copied().unwrap_or_default();
            (String::from_utf8_lossy(bytes).into_owned(), Some((start, byte)))
        }
    };
    let source = Arc::new(Source { name, text });
    if let Some((start, byte)) = bad {
        let span = Span { end: start + char::REPLACEMENT_CHARACTER.len_utf8(), start, source };
        sink.push(
            Diagnostic::new(Code::NotUtf8, format!("{} is not UTF-8 text", span.source.name))
                .at(&span, format!("the byte 0x{byte:02x} begins no UTF-8 character"))
                .help("save the file as UTF-8"),
        );
        return None;
    }
    hidden(&source, sink);
    Some(source)
}

fn hidden(source: &Arc<Source>, sink: &mut Sink) {
    if all_bytes(source.text.as_bytes(), |byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return;
    }
    for (start, c) in source.text.char_indices() {
        if !is_hidden(c) || matches!(c, '\n' | '\t') {
            continue;
        }
        if c == '\r' && source.text[start..].starts_with("\r\n") {
            continue;
        }
        let span = Span { source: source.clone(), start, end: start + c.len_utf8() };
        sink.push(if c == '\u{feff}' && start == 0 {
            Diagnostic::new(Code::ByteOrderMark, "the file begins with a byte order mark")
                .at(&span, "U+FEFF, invisible in most editors")
                .help("save the file as UTF-8 without BOM")
        } else {
            hidden_character(&span)
        });
    }
}

/// Whether all bytes are so; asked of many at a time.
pub(crate) fn all_bytes(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    bytes.chunks(256).all(|bytes| bytes.iter().fold(true, |all, &byte| all & is(byte)))
}

/// The character of a span, which does not show.
pub(crate) fn hidden_character(span: &Span) -> Diagnostic {
    let c = span.text().chars().next().unwrap_or_default();
    Diagnostic::new(Code::HiddenCharacter, format!("hidden character U+{:04X}", u32::from(c)))
        .at(span, hidden_text(c))
        .help("delete it: what a reviewer sees must be what the firewall reads")
}

/// What makes a character hidden.
pub(crate) fn hidden_text(c: char) -> &'static str {
    match c {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "changes the order in which text shows"
        }
        c if c.is_control() => "a control character",
        _ => "does not show",
    }
}

/// Reports indentation by tabs; whether there was any.
pub(crate) fn has_tabs(source: &Arc<Source>, sink: &mut Sink) -> bool {
    if !source.text.contains('\t') {
        return false;
    }
    let mut start = 0;
    let mut first = None;
    let mut more = 0;
    for line in source.text.split('\n') {
        let content = line.trim_start_matches([' ', '\t']);
        let indent = &line[..line.len() - content.len()];
        if let Some(tab) = indent.find('\t')
            && !content.trim().is_empty()
        {
            match first {
                None => first = Some((start + tab, start + indent.len())),
                Some(_) => more += 1,
            }
        }
        start += line.len() + 1;
    }
    let Some((start, end)) = first else { return false };
    let text = match more {
        0 => "a tab; YAML counts spaces".to_owned(),
        1 => "a tab, as in 1 more line; YAML counts spaces".to_owned(),
        more => format!("a tab, as in {more} more lines; YAML counts spaces"),
    };
    sink.push(
        Diagnostic::new(Code::Tab, "indentation by tabs")
            .at(&Span { source: source.clone(), start, end }, text)
            .help("indent by two spaces per level"),
    );
    true
}
