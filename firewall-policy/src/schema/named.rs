//! What has a name: `groups:`, `lists:`, `services:`.

use firewall_common::service::ServiceIndex;

use super::keys;
use super::peer::Item;
use super::reader::{Fields, Reader};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::features::Feature;
use crate::ir::Count;
use crate::read::{Entry, Node};
use crate::set::ServiceSet;
use crate::source::Spanned;
use crate::value::{amount, icmp, ip_proto, port};

/// A named set of addresses.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: Spanned<String>,
    pub(crate) items: Vec<Spanned<Item>>,
    pub(crate) sound: bool,
}

/// A named set of addresses that is kept in a file of its own.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) name: Spanned<String>,
    pub(crate) file: Spanned<String>,
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// Seconds.
    pub(crate) max_age: Option<u64>,
    pub(crate) optional: bool,
    pub(crate) sound: bool,
}

/// A named set of protocols and ports.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: Spanned<String>,
    pub(crate) set: ServiceSet,
    /// `None` also for hints that cannot be counted yet.
    pub(crate) count: Option<Spanned<Count>>,
    pub(crate) sound: bool,
}

/// Most entries a list may hold.
const MAX_LIST: u64 = 1_000_000;
/// Most ports that requests are counted on.
const MAX_COUNTED_PORTS: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    Known(Count),
    H2c,
}

const HINTS: [(&str, Hint); 5] = [
    ("http1", Hint::Known(Count::Http1)),
    ("h2c", Hint::H2c),
    ("tls", Hint::Known(Count::Tls)),
    ("mysql", Hint::Known(Count::Mysql)),
    ("dns", Hint::Known(Count::Dns)),
];

impl Reader<'_> {
    /// An entry of `groups:`.
    pub(crate) fn group(&mut self, entry: &Entry<'_>) -> Option<Group> {
        let ((name, items), sound) =
            self.soundly(|reader| (reader.key_name(entry), reader.members(&entry.value)));
        Some(Group { name: name?, items: items.unwrap_or_default(), sound })
    }

    /// An entry of `lists:`.
    pub(crate) fn list_file(&mut self, entry: &Entry<'_>) -> Option<List> {
        let (list, sound) = self.soundly(|reader| {
            let name = reader.key_name(entry);
            let fields = reader.fields(&entry.value, &keys::LIST)?;
            let file = reader.required(&fields, "file").and_then(|node| reader.text(node));
            let mut bound = |key, default| {
                let node = fields.get(key)?;
                let parse = |text: &str| amount::number(text, default, MAX_LIST);
                usize::try_from(reader.value(node, "a number of entries", parse)?.value).ok()
            };
            let (min, max) = (bound("min", 0), bound("max", 1));
            if let (Some(min), Some(max), Some(node)) = (min, max, fields.get("max"))
                && min > max
            {
                reader.sink.push(
                    Diagnostic::new(Code::Number, "`max` is below `min`")
                        .at(&node.span, "no file can satisfy both"),
                );
            }
            let max_age = fields
                .get("max-age")
                .and_then(|node| reader.value(node, "a duration", amount::duration));
            let optional = fields.get("optional").and_then(|node| reader.flag(node));
            Some(List {
                name: name?,
                file: file?,
                min: min.unwrap_or(0),
                max: max.unwrap_or(usize::try_from(MAX_LIST).unwrap_or(usize::MAX)),
                max_age: max_age.map(|age| age.value),
                optional: optional.unwrap_or(false),
                sound: false,
            })
        });
        list.map(|list| List { sound, ..list })
    }

    /// An entry of `services:`.
    pub(crate) fn service(&mut self, entry: &Entry<'_>) -> Option<Service> {
        let (service, sound) = self.soundly(|reader| {
            let name = reader.key_name(entry);
            let fields = reader.fields(&entry.value, &keys::SERVICE)?;
            let set = reader.service_set(&fields);
            let count = fields.get("count").and_then(|node| reader.count(node, &set));
            Some(Service { name: name?, set, count, sound: false })
        });
        service.map(|service| Service { sound, ..service })
    }

    fn service_set(&mut self, fields: &Fields<'_>) -> ServiceSet {
        let before = self.sink.errors();
        let mut ranges = Vec::new();
        for (key, first) in [("tcp", 0), ("udp", ServiceIndex::UDP), ("sctp", ServiceIndex::SCTP)] {
            for item in fields.get(key).map(Node::items).unwrap_or_default() {
                if let Some(ports) = self.value(item, "a port or a range of ports", port::parse) {
                    let (low, high) = ports.value;
                    ranges.push((first + u32::from(low), first + u32::from(high)));
                }
            }
        }
        let icmp_types = [
            ("icmp", ServiceIndex::ICMP, icmp::V4, icmp::V6),
            ("icmpv6", ServiceIndex::ICMPV6, icmp::V6, icmp::V4),
        ];
        for (key, first, names, others) in icmp_types {
            for item in fields.get(key).map(Node::items).unwrap_or_default() {
                let parse = |text: &str| icmp::parse(text, names, others);
                if let Some(kind) = self.value(item, "a type by name or number", parse) {
                    let index = first + u32::from(kind.value);
                    ranges.push((index, index));
                }
            }
        }
        for item in fields.get("ip-proto").map(Node::items).unwrap_or_default() {
            if let Some(number) = self.value(item, "a protocol number", ip_proto::parse) {
                let index = ServiceIndex::OTHER + u32::from(number.value);
                ranges.push((index, index));
            }
        }
        if ranges.is_empty() && !fields.has_unknown && self.sink.errors() == before {
            self.sink.push(
                Diagnostic::new(Code::EmptySet, "the service names no protocol")
                    .at(fields.span, "matches nothing")
                    .help("{ tcp: 80 }, { udp: [53, 123] }, { icmp: echo-request }, { ip-proto: 112 }"),
            );
        }
        ServiceSet::from_ranges(ranges)
    }

    fn count(&mut self, node: &Node<'_>, set: &ServiceSet) -> Option<Spanned<Count>> {
        let hint = self.choice(node, &HINTS)?;
        if let Some((message, label)) = uncountable(hint.value, set) {
            self.sink.push(Diagnostic::new(Code::Count, message).at(&node.span, label));
            return None;
        }
        match hint.value {
            Hint::Known(value) => Some(Spanned { value, span: hint.span }),
            Hint::H2c => {
                self.feature(Feature::H2c, &node.span);
                None
            }
        }
    }
}

/// TCP ports that carry TLS by IANA's registry, where HTTP/1 or MySQL
/// commands cannot be read: https, smtps, syslog-tls, dns over tls, ldaps,
/// imaps, pop3s.
const TLS_PORTS: [u32; 7] = [443, 465, 636, 853, 993, 995, 6514];

/// Why requests cannot be counted so on these services.
fn uncountable(hint: Hint, set: &ServiceSet) -> Option<(String, &'static str)> {
    let word = HINTS.iter().find(|(_, other)| *other == hint).map_or("", |(word, _)| word);
    let ports = |first: u32| ServiceSet::range(first, first + 0xffff);
    let (tcp, udp) = (ports(0), ports(ServiceIndex::UDP));
    let readable = if hint == Hint::Known(Count::Dns) { tcp.union(&udp) } else { tcp };
    if !set.is_subset(&readable) {
        let message = format!("`{word}` cannot be counted on every protocol of this service");
        let label = match hint {
            Hint::Known(Count::Dns) => "DNS is counted on TCP and UDP",
            _ => "counted on TCP only",
        };
        return Some((message, label));
    }
    let counted: usize = set
        .ranges()
        .iter()
        .map(|(first, last)| usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1))
        .sum();
    if counted > MAX_COUNTED_PORTS {
        let message = format!("`{word}` cannot be counted on {counted} ports");
        return Some((message, "64 ports at most"));
    }
    let is_plain = matches!(hint, Hint::Known(Count::Http1) | Hint::H2c);
    if let Some(port) = TLS_PORTS.iter().find(|&&port| is_plain && set.contains(port)) {
        let message = format!("`{word}` cannot be counted on port {port}");
        return Some((
            message,
            "TLS by registration, so requests cannot be read; `tls` counts handshakes",
        ));
    }
    None
}
