//! Rules, and the two lists they stand in.

use super::keys;
use super::limit::Limit;
use super::peer::Peer;
use super::reader::{Fields, Reader};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::features::Feature;
use crate::ir::{Direction, Log, TcpFlags};
use crate::read::{Node, Value};
use crate::source::{Span, Spanned};
use crate::value::date::Date;
use crate::value::{Fault, amount, date, flags, port};

/// A rule as it was written. What most rules have not is kept apart: there may be a
/// hundred thousand.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Spanned<String>,
    pub(crate) from: Option<Box<Peer>>,
    pub(crate) to: Option<Box<Peer>>,
    pub(crate) service: Option<Services>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) vlans: Vec<u16>,
    pub(crate) tcp_flags: Option<Box<Spanned<TcpFlags>>>,
    pub(crate) limit: Option<Box<Limit>>,
    pub(crate) log: Log,
    pub(crate) expires: Option<Box<Spanned<Date>>>,
    /// Observed only; see the language reference on `mode: audit`.
    pub(crate) audit: bool,
    pub(crate) owner: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) ticket: Option<String>,
    pub(crate) span: Span,
    /// Nothing of it was reported as an error.
    pub(crate) sound: bool,
}

impl Rule {
    /// The other end: source on ingress, destination on egress.
    pub(crate) fn remote(&self, direction: Direction) -> Option<&Peer> {
        match direction {
            Direction::Ingress => self.from.as_deref(),
            Direction::Egress => self.to.as_deref(),
        }
    }

    /// This host's end.
    pub(crate) fn local(&self, direction: Direction) -> Option<&Peer> {
        match direction {
            Direction::Ingress => self.to.as_deref(),
            Direction::Egress => self.from.as_deref(),
        }
    }
}

/// The value of `service:`.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    /// Names of services; `None` for `all`.
    pub(crate) names: Option<Vec<Spanned<String>>>,
    pub(crate) span: Span,
}

/// The rules of one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    pub(crate) deny: Vec<Rule>,
    pub(crate) allow: Vec<Rule>,
}

impl Reader<'_> {
    /// `deny:` and `allow:` of a direction.
    pub(crate) fn chain(&mut self, node: &Node<'_>) -> Chain {
        if let Value::Empty = node.value {
            return Chain::default();
        }
        let Some(fields) = self.fields(node, &keys::CHAIN) else { return Chain::default() };
        let mut rules = |key| fields.get(key).map(|node| self.rules(node)).unwrap_or_default();
        Chain { deny: rules("deny"), allow: rules("allow") }
    }

    /// A list of rules.
    pub(crate) fn rules(&mut self, node: &Node<'_>) -> Vec<Rule> {
        let items = self.list(node, "a list of rules, each beginning with `- name:`");
        let mut rules = Vec::with_capacity(items.len());
        rules.extend(items.iter().filter_map(|item| self.rule(item)));
        rules
    }

    fn rule(&mut self, node: &Node<'_>) -> Option<Rule> {
        let (rule, sound) = self.soundly(|reader| {
            let fields = reader.fields(node, &keys::RULE)?;
            reader.rule_fields(&fields)
        });
        let mut rule = rule?;
        rule.sound = sound;
        Some(rule)
    }

    fn rule_fields(&mut self, fields: &Fields<'_>) -> Option<Rule> {
        let name = self.required(fields, "name").and_then(|node| self.name(node));
        let from = fields.get("from").and_then(|node| self.peer(node)).map(Box::new);
        let to = fields.get("to").and_then(|node| self.peer(node)).map(Box::new);
        let service = self.required(fields, "service").and_then(|node| self.services(node));
        let rule = Rule {
            from,
            to,
            service,
            interfaces: fields.get("iface").map(|node| self.globs(node)).unwrap_or_default(),
            vlans: fields.get("vlan").map(|node| self.vlans(node)).unwrap_or_default(),
            tcp_flags: fields.get("tcp-flags").and_then(|node| self.tcp_flags(node)).map(Box::new),
            limit: fields.get("limit").and_then(|node| self.limit(node)).map(Box::new),
            log: fields.get("log").and_then(|node| self.log(node)).unwrap_or_default(),
            expires: fields.get("expires").and_then(|node| self.expires(node)).map(Box::new),
            audit: fields.get("mode").is_some_and(|node| self.mode(node)),
            owner: fields.get("owner").and_then(|node| self.text(node)).map(|text| text.value),
            reason: fields.get("reason").and_then(|node| self.text(node)).map(|text| text.value),
            ticket: fields.get("ticket").and_then(|node| self.text(node)).map(|text| text.value),
            span: fields.span.clone(),
            sound: false,
            name: name?,
        };
        Some(rule)
    }

    fn services(&mut self, node: &Node<'_>) -> Option<Services> {
        let span = node.span.clone();
        if let Value::Empty = node.value {
            self.wrong(node, "the name of a service, or `all`");
            return None;
        }
        let items = node.items();
        let is_all =
            |item: &Node<'_>| matches!(&item.value, Value::Scalar(word) if word.text == "all");
        if let [only] = items
            && is_all(only)
        {
            return Some(Services { names: None, span });
        }
        if let Some(all) = items.iter().find(|item| is_all(item)) {
            self.sink.push(
                Diagnostic::new(Code::Shape, "`all` stands alone")
                    .at(&all.span, "beside it other services say nothing")
                    .help("service: all"),
            );
            return None;
        }
        let mut names = Vec::with_capacity(items.len());
        names.extend(items.iter().filter_map(|item| self.service_name(item)));
        if items.is_empty() {
            self.sink.push(
                Diagnostic::new(Code::EmptySet, "no service is named")
                    .at(&span, "matches nothing")
                    .help("service: all   if everything is meant"),
            );
        }
        Some(Services { names: Some(names), span })
    }

    /// A service by name; a port in its place has its own answer, later.
    fn service_name(&mut self, node: &Node<'_>) -> Option<Spanned<String>> {
        let definition = match &node.value {
            Value::Scalar(word) if crate::value::is_digits(&word.text) => {
                return Some(Spanned { value: word.text.to_string(), span: node.span.clone() });
            }
            Value::Scalar(word) => protocol_and_port(&word.text),
            Value::Map(_) => {
                let text = node.span.text();
                let is_pasted = text.starts_with('{') && !text.contains('\n');
                Some(if is_pasted { text } else { "{ tcp: 80 }" }.to_owned())
            }
            _ => None,
        };
        let Some(definition) = definition else { return self.name(node) };
        self.sink.push(
            Diagnostic::new(Code::UnknownService, "a service goes by its name in rules")
                .at(&node.span, "so that rules and counters say what they are for")
                .help(format!("services:\n  my-service: {definition}")),
        );
        None
    }

    /// Interface name globs.
    pub(crate) fn globs(&mut self, node: &Node<'_>) -> Vec<String> {
        let items = node.items();
        let globs = items.iter().filter_map(|item| self.value(item, "an interface name", glob));
        globs.map(|glob| glob.value).collect()
    }

    fn vlans(&mut self, node: &Node<'_>) -> Vec<u16> {
        let items = node.items();
        items.iter().filter_map(|item| self.vlan(item)).collect()
    }

    /// A VLAN id of IEEE 802.1Q: 0 and 4095 are reserved.
    pub(crate) fn vlan(&mut self, node: &Node<'_>) -> Option<u16> {
        let id = self.value(node, "a VLAN id", |text| amount::number(text, 1, 4094))?;
        u16::try_from(id.value).ok()
    }

    fn tcp_flags(&mut self, node: &Node<'_>) -> Option<Spanned<TcpFlags>> {
        let mut all = TcpFlags { mask: 0, value: 0 };
        for item in node.items() {
            let flag = self.value(item, "a TCP flag such as syn or \"!ack\"", flags::parse)?.value;
            if all.mask & flag.mask != 0 {
                self.sink.push(
                    Diagnostic::new(Code::TcpFlag, "a flag is named twice").at(&item.span, "again"),
                );
                return None;
            }
            all = TcpFlags { mask: all.mask | flag.mask, value: all.value | flag.value };
        }
        if all.mask == 0 {
            self.wrong(node, "a TCP flag such as syn or \"!ack\"");
            return None;
        }
        Some(Spanned { value: all, span: node.span.clone() })
    }

    fn expires(&mut self, node: &Node<'_>) -> Option<Spanned<Date>> {
        let date = self.value(node, "a date", date::parse)?;
        self.feature(Feature::Expires, &node.span);
        Some(date)
    }

    /// Whether `mode:` says `audit`.
    pub(crate) fn mode(&mut self, node: &Node<'_>) -> bool {
        let mode = self.choice(node, &[("enforce", false), ("audit", true)]);
        let is_audit = mode.is_some_and(|mode| mode.value);
        if is_audit {
            self.feature(Feature::Audit, &node.span);
        }
        is_audit
    }
}

/// The service that `tcp/80` and its like stand for.
fn protocol_and_port(text: &str) -> Option<String> {
    let (first, second) = text.split_once(['/', ':', ' '])?;
    let (protocol, port) = if first.starts_with(|c: char| c.is_ascii_digit()) {
        (second, first)
    } else {
        (first, second)
    };
    let is_known = matches!(protocol, "tcp" | "udp" | "sctp") && port::parse(port).is_ok();
    is_known.then(|| format!("{{ {protocol}: {port} }}"))
}

/// An interface name of at most 15 bytes (`IFNAMSIZ` of Linux), with `*` and `?`.
fn glob(text: &str) -> Result<String, Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Glob, text, format!("`{text}` is not an interface name")).label(label)
    };
    let is_possible = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '[' | ']' | '{' | '}');
    if text.is_empty() || text.len() > 15 {
        return Err(fault("a name has 1 to 15 characters"));
    }
    if let Some((at, c)) = text.char_indices().find(|&(_, c)| !is_possible(c)) {
        return Err(fault("of patterns, `*` and `?` are possible").at(at..at + c.len_utf8()));
    }
    Ok(text.to_owned())
}
