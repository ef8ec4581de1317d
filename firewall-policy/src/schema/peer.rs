//! Sets of addresses as they are written: groups, lists of addresses, `from`.

use super::keys;
use super::reader::Reader;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::read::{Networks, Node, Value};
use crate::set::{AddrSet, RangeSet};
use crate::source::{Span, Spanned};
use crate::value::{address, name};

/// One item of an address set.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// An address, network or range.
    Addresses(AddrSet),
    /// A group, a list, or a built-in set.
    Name(String),
}

/// An address set of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) items: Vec<Spanned<Item>>,
    pub(crate) except: Vec<Spanned<Item>>,
    /// The whole value.
    pub(crate) span: Span,
}

impl Peer {
    /// The words of the user, for people: `admins, 10.0.0.0/8 except bastion`.
    pub(crate) fn words(&self) -> String {
        let join = |items: &[Spanned<Item>]| {
            let mut words = items.iter().map(|item| item.span.text().trim_matches(['"', '\'']));
            let mut text = words.next().unwrap_or_default().to_owned();
            words.for_each(|word| text.extend([", ", word]));
            text
        };
        match &*self.except {
            [] => join(&self.items),
            except => format!("{} except {}", join(&self.items), join(except)),
        }
    }
}

impl Reader<'_> {
    /// The value of `from:` or `to:`.
    pub(crate) fn peer(&mut self, node: &Node<'_>) -> Option<Peer> {
        let (items, except) = match &node.value {
            Value::Map(entries) if !is_unquoted_address(entries) => {
                let fields = self.fields(node, &keys::PEER)?;
                let group = self.required(&fields, "group").map(|node| self.addresses(node));
                let except =
                    fields.get("except").map_or(Some(Vec::new()), |node| self.addresses(node));
                (group??, except?)
            }
            _ => (self.addresses(node)?, Vec::new()),
        };
        Some(Peer { items, except, span: node.span.clone() })
    }

    /// One address or name, or a list of them; `None` if one is broken.
    /// Emptiness is not judged here.
    pub(crate) fn addresses(&mut self, node: &Node<'_>) -> Option<Vec<Spanned<Item>>> {
        if let Value::Empty = node.value {
            return Some(Vec::new());
        }
        let items = node.items();
        let are_any = are_any(items);
        let mut sound = Vec::with_capacity(items.len());
        sound.extend(items.iter().filter_map(|item| self.address(item, are_any)));
        (sound.len() == items.len()).then_some(sound)
    }

    /// The same of a group: what are no names become one item, since a group may have
    /// very many and nothing asks for each.
    pub(super) fn members(&mut self, node: &Node<'_>) -> Option<Vec<Spanned<Item>>> {
        if let Value::Empty = node.value {
            return Some(Vec::new());
        }
        if let Value::Networks(networks) = &node.value {
            let Networks { ranges, first } = &**networks;
            let v4 = RangeSet::from_ranges(ranges.clone());
            let value = Item::Addresses(AddrSet { v4, v6: RangeSet::empty() });
            return Some(vec![Spanned { value, span: first.clone() }]);
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut members = Vec::new();
        let mut place = None;
        let mut is_sound = true;
        let are_any = are_any(node.items());
        for item in node.items() {
            match self.address(item, are_any) {
                Some(Spanned { value: Item::Addresses(set), span }) => {
                    v4.extend(set.v4.ranges());
                    v6.extend(set.v6.ranges());
                    place.get_or_insert((members.len(), span));
                }
                Some(name) => members.push(name),
                None => is_sound = false,
            }
        }
        if let Some((at, span)) = place {
            let set = AddrSet { v4: RangeSet::from_ranges(v4), v6: RangeSet::from_ranges(v6) };
            members.insert(at, Spanned { value: Item::Addresses(set), span });
        }
        is_sound.then_some(members)
    }

    /// One of several, which together may be every address.
    fn address(&mut self, node: &Node<'_>, are_any: bool) -> Option<Spanned<Item>> {
        if let Value::Map(entries) = &node.value
            && is_unquoted_address(entries)
        {
            let text = node.span.text();
            self.sink.push(
                Diagnostic::new(Code::QuoteIt, format!("`{text}` must be quoted"))
                    .at(&node.span, "YAML takes the last `:` for the end of a key")
                    .help(format!("\"{text}\"")),
            );
            return None;
        }
        let scalar = self.word(node, "an address, a network, a range or a group")?;
        let text = &*scalar.text;
        let parsed = if let Some((first, last)) = address::plain_v4(text) {
            Ok(Item::Addresses(AddrSet { v4: RangeSet::range(first, last), v6: RangeSet::empty() }))
        } else if address::is_meant(text) {
            address::parse(text).map(Item::Addresses)
        } else {
            name::parse(text, scalar.plain).map(Item::Name)
        };
        match parsed {
            Ok(value) => {
                if !(are_any && HALVES.contains(&text)) {
                    self.warn_half_of_any(text, &node.span);
                }
                Some(Spanned { value, span: node.span.clone() })
            }
            Err(fault) => {
                self.fault(&fault, scalar, &node.span);
                None
            }
        }
    }

    fn warn_half_of_any(&mut self, text: &str, span: &Span) {
        let (label, help) = match text {
            "0.0.0.0/0" => ("every IPv4 address, and no IPv6 address", "any"),
            "::/0" => ("every IPv6 address, and no IPv4 address", "any"),
            "0.0.0.0" => ("one address, of hosts that have none yet", "any   or 0.0.0.0/32"),
            "::" => ("one address, of hosts that have none yet", "any   or \"::/128\""),
            _ => return,
        };
        self.sink.push(
            Diagnostic::new(Code::HalfOfAny, format!("`{text}` is not every address"))
                .at(span, label)
                .help(help),
        );
    }
}

/// All of IPv4 and all of IPv6.
const HALVES: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Whether both halves of `any` are named.
fn are_any(items: &[Node<'_>]) -> bool {
    let is_named = |half: &&str| {
        items.iter().any(|item| matches!(&item.value, Value::Scalar(word) if word.text == **half))
    };
    HALVES.iter().all(is_named)
}

/// `[fe80::, x]` is a list of a mapping and a word to YAML.
fn is_unquoted_address(entries: &[crate::read::Entry<'_>]) -> bool {
    matches!(entries, [only] if only.key.plain
        && only.key.text.ends_with(':')
        && matches!(only.value.value, Value::Empty))
}
