//! `limit:` and `log:` of a rule.

use super::keys;
use super::reader::{Fields, Reader};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::features::Feature;
use crate::ir::Log;
use crate::read::{Node, Value};
use crate::source::{Span, Spanned};
use crate::value::amount::{self, Rate};
use crate::value::{Fault, is_digits};

/// Longest ban, seconds: 30 days. A longer one is a rule.
const MAX_BAN_S: u64 = 30 * 86_400;
/// Ticks a second at which a bucket is filled again.
const TICKS_PER_SECOND: u64 = 100;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    New,
    Packets,
    Bytes,
}

/// A limit, as far as later checks ask.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) counted: Spanned<Counted>,
    /// Whether the excess bans its source, and where that was written.
    pub(crate) bans: Option<Span>,
    pub(crate) span: Span,
}

const COUNTED: [(&str, Counted); 3] =
    [("new", Counted::New), ("packets", Counted::Packets), ("bytes", Counted::Bytes)];

impl Reader<'_> {
    /// `limit: { new: 50/s, burst: 200, per: source/64, over: ban 10m }`.
    pub(crate) fn limit(&mut self, node: &Node<'_>) -> Option<Limit> {
        let (limit, sound) = self.soundly(|reader| reader.checked_limit(node));
        if sound {
            self.feature(Feature::Limit, &node.span);
        }
        limit
    }

    fn checked_limit(&mut self, node: &Node<'_>) -> Option<Limit> {
        let fields = self.fields(node, &keys::LIMIT)?;
        let (counted, rate) = self.limit_rate(&fields)?;
        if let (Some(burst), Some(rate)) = (fields.get("burst"), &rate) {
            self.burst(burst, rate);
        }
        if let Some(per) = fields.get("per") {
            self.value(per, "`source`, `source/64`, `dest` or `rule`", per_what);
        }
        let over =
            fields.get("over").and_then(|node| self.value(node, "`drop` or `ban 10m`", over));
        let bans = over.filter(|over| over.value.is_some()).map(|over| over.span);
        Some(Limit { counted, bans, span: node.span.clone() })
    }

    fn limit_rate(
        &mut self,
        fields: &Fields<'_>,
    ) -> Option<(Spanned<Counted>, Option<Spanned<Rate>>)> {
        let mut found = COUNTED.iter().filter(|(key, _)| fields.get(key).is_some());
        let (Some(&(key, counted)), second) = (found.next(), found.next()) else {
            self.sink.push(
                Diagnostic::new(Code::MissingKey, "a limit needs `new:`, `packets:` or `bytes:`")
                    .at(fields.span, "nothing is counted here"),
            );
            return None;
        };
        if let (Some((other, _)), Some(first)) = (second, fields.key_span(key))
            && let Some(again) = fields.key_span(other)
        {
            self.sink.push(
                Diagnostic::new(Code::Limit, "a limit counts one thing")
                    .at(again, format!("`{other}:` as well"))
                    .at(first, format!("`{key}:` is counted"))
                    .help("use a second rule for the second limit"),
            );
        }
        let node = fields.get(key)?;
        let parse = |text: &str| {
            let rate = amount::rate(text)?;
            let is_bytes = counted == Counted::Bytes;
            if rate.bytes == is_bytes {
                return Ok(rate);
            }
            let fault = Fault::new(Code::Rate, text, format!("`{text}` does not fit `{key}:`"));
            Err(if is_bytes {
                fault.label("a rate of bytes is wanted").help("bytes: 1MB/s")
            } else {
                fault.label("bytes are counted by `bytes:`").help(format!("bytes: {text}"))
            })
        };
        let span = fields.key_span(key)?.clone();
        Some((Spanned { value: counted, span }, self.value(node, "a rate", parse)))
    }

    fn burst(&mut self, node: &Node<'_>, rate: &Spanned<Rate>) {
        let bytes = rate.value.bytes;
        let parse = |text: &str| {
            if bytes && !is_digits(text) {
                amount::size(text)
            } else {
                amount::number(text, 1, 1 << 32)
            }
        };
        let Some(burst) = self.value(node, "a number", parse) else { return };
        let per_tick = rate.value.count / rate.value.per / TICKS_PER_SECOND;
        if burst.value < per_tick {
            let message = "the burst is too small for the rate to be reached";
            let label = format!("{per_tick} come in 10 ms at this rate");
            self.sink.push(
                Diagnostic::new(Code::Limit, message)
                    .at(&node.span, label)
                    .help(format!("burst: {}", per_tick * 2)),
            );
        }
    }

    /// `log: off | first | { rate: 1/s }`.
    pub(crate) fn log(&mut self, node: &Node<'_>) -> Option<Log> {
        if let Value::Map(_) = node.value {
            let fields = self.fields(node, &keys::LOG)?;
            let rate = self.required(&fields, "rate")?;
            return self.value(rate, "a rate", amount::rate).map(|_| Log::Sampled);
        }
        Some(self.choice(node, &[("off", Log::Off), ("first", Log::Sampled)])?.value)
    }
}

fn per_what(text: &str) -> Result<(), Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Limit, text, format!("`{text}` is not possible here"))
            .label(label)
            .help("per: source, source/64, dest or rule")
    };
    match text.split_once('/') {
        None if matches!(text, "source" | "dest" | "rule") => Ok(()),
        None => Err(fault("a limit holds per source, per dest or per rule")),
        Some(("source", length)) => {
            match length.parse::<u8>() {
                Ok(1..=128) if is_digits(length) => Ok(()),
                _ => Err(fault("a prefix length from 1 to 128 is wanted")
                    .at("source/".len()..text.len())),
            }
        }
        Some(_) => Err(fault("only `source` takes a prefix length")),
    }
}

/// The length of the ban in seconds, or `None` for `drop`.
fn over(text: &str) -> Result<Option<u64>, Fault> {
    if text == "drop" {
        return Ok(None);
    }
    let Some(length) = text.strip_prefix("ban ") else {
        return Err(Fault::new(Code::Limit, text, format!("`{text}` is not possible here"))
            .label("`drop`, or `ban` and how long, is wanted")
            .help("over: ban 10m"));
    };
    let at = text.len() - length.len()..text.len();
    let seconds = amount::duration(length).map_err(|fault| fault.at(at.clone()))?;
    if seconds > MAX_BAN_S {
        return Err(Fault::new(Code::Limit, text, "the ban is too long")
            .at(at)
            .label("a ban lasts 30d at most")
            .help("to keep a source out for good, write a rule under `deny:`"));
    }
    Ok(Some(seconds))
}
