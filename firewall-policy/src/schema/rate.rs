//! `rates:` and `syn-flood:`.

use super::keys;
use super::reader::Reader;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::features::Feature;
use crate::ir::Unit;
use crate::read::{Node, Value};
use crate::source::{Span, Spanned};
use crate::value::{Fault, amount, name};

/// A named series as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    pub(crate) name: Spanned<String>,
    /// A rule, short or as `role/name`.
    pub(crate) rule: Spanned<String>,
    pub(crate) unit: Spanned<Unit>,
    pub(crate) span: Span,
}

/// `syn-flood:`, as far as later checks ask.
#[derive(Clone, Debug)]
pub(crate) struct SynFlood {
    /// Names of services.
    pub(crate) protect: Vec<Spanned<String>>,
}

/// Units by the word in rule files.
pub(crate) const UNITS: [(&str, Unit); 7] = [
    ("packets", Unit::Packets),
    ("bytes", Unit::Bytes),
    ("new-flows", Unit::NewFlows),
    ("http-requests", Unit::HttpRequests),
    ("tls-handshakes", Unit::TlsHandshakes),
    ("mysql-commands", Unit::MysqlCommands),
    ("dns-queries", Unit::DnsQueries),
];

impl Reader<'_> {
    /// `rates:`, a list.
    pub(crate) fn rates(&mut self, node: &Node<'_>) -> Vec<Rate> {
        let items = self.list(node, "a list of rates, each beginning with `- { name:`");
        items.iter().filter_map(|item| self.rate(item)).collect()
    }

    fn rate(&mut self, node: &Node<'_>) -> Option<Rate> {
        let fields = self.fields(node, &keys::RATE)?;
        let name = self.required(&fields, "name").and_then(|node| self.name(node));
        let rule = self.required(&fields, "rule").and_then(|node| self.rule_name(node));
        let unit = self.required(&fields, "unit").and_then(|node| self.choice(node, &UNITS));
        if let Some(node) = fields.get("alert") {
            let ((), sound) = self.soundly(|reader| reader.alert(node));
            if sound {
                self.feature(Feature::Alert, &node.span);
            }
        }
        Some(Rate { name: name?, rule: rule?, unit: unit?, span: node.span.clone() })
    }

    /// The name of a rule, short or as `role/name`.
    pub(crate) fn rule_name(&mut self, node: &Node<'_>) -> Option<Spanned<String>> {
        let parse = |text: &str| {
            for part in text.splitn(2, '/') {
                name::parse(part, false)?;
            }
            Ok(text.to_owned())
        };
        self.value(node, "the name of a rule", parse)
    }

    fn alert(&mut self, node: &Node<'_>) {
        let Some(fields) = self.fields(node, &keys::ALERT) else { return };
        if fields.get("drop-below").is_none() && fields.get("rise-above").is_none() {
            self.sink.push(
                Diagnostic::new(Code::MissingKey, "`alert:` needs `drop-below:` or `rise-above:`")
                    .at(fields.span, "nothing would ever raise it"),
            );
        }
        let mut relative = false;
        for key in ["drop-below", "rise-above"] {
            if let Some(node) = fields.get(key) {
                let bound = self.value(node, "a share such as 40%, or a rate", bound);
                relative |= bound.is_some_and(|bound| bound.value);
            }
        }
        for key in ["of", "for"] {
            if let Some(node) = fields.get(key) {
                self.value(node, "a duration", amount::duration);
            }
        }
        if relative && fields.get("of").is_none() {
            self.sink.push(
                Diagnostic::new(Code::MissingKey, "a share needs `of:`")
                    .at(fields.span, "per cent of the median over how long?")
                    .help("of: 1h"),
            );
        }
    }

    /// `syn-flood: { protect: [https], above: 5000/s, action: syncookie }`.
    pub(crate) fn syn_flood(&mut self, node: &Node<'_>) -> Option<SynFlood> {
        let (protect, sound) = self.soundly(|reader| {
            let fields = reader.fields(node, &keys::SYN_FLOOD)?;
            if let Some(above) = reader.required(&fields, "above") {
                reader.value(above, "a rate", amount::rate);
            }
            if let Some(action) = fields.get("action") {
                reader.choice(action, &[("syncookie", ()), ("limit", ())]);
            }
            let protect = reader.required(&fields, "protect")?;
            if let Value::Empty = protect.value {
                reader.wrong(protect, "a list of services");
            }
            Some(protect.items().iter().filter_map(|item| reader.name(item)).collect())
        });
        if sound {
            self.feature(Feature::SynFlood, &node.span);
        }
        Some(SynFlood { protect: protect? })
    }
}

/// Whether a bound of an alert is relative: `40%` is, `1B/s` is not.
fn bound(text: &str) -> Result<bool, Fault> {
    if text.contains('/') {
        amount::rate(text).map(|_| false)
    } else {
        amount::percent(text).map(|_| true)
    }
}
