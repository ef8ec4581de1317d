//! Sets of addresses and ports: what `ipset save` prints.

use std::collections::HashMap;
use std::sync::Arc;

use firewall_common::service::{ServiceIndex, proto};

use super::space::{Boxed, Pool, Region, ports, protocol};
use super::values::{network, port, protocol_number, range};
use super::words::{Word, WordLine, lines};
use crate::diagnostic::Diagnostic;
use crate::set::{AddrSet, ServiceSet};
use crate::source::Source;

/// What one entry has in one place: addresses, or protocols with ports.
#[derive(Clone, Debug)]
enum Part {
    Addresses(AddrSet),
    Services(ServiceSet),
    /// A hardware address, an interface, a mark.
    Other,
}

/// A named set.
#[derive(Clone, Debug, Default)]
struct Set {
    kinds: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    parts: Vec<Part>,
    /// An exception: `nomatch`.
    except: bool,
    ends: bool,
}

/// All sets of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets(HashMap<String, Set>);

impl Sets {
    /// Reads what `ipset save` has printed.
    pub(super) fn read(source: &Arc<Source>) -> Result<Self, Box<Diagnostic>> {
        let mut sets = Self::default();
        for line in lines(source).filter(|line| !line.text.starts_with('#')) {
            let words = line.words()?;
            let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            match texts[..] {
                ["create" | "-N", name, kind, ..] => {
                    let kinds = kind.split_once(':').map_or("", |(_, kinds)| kinds);
                    let kinds = kinds.split(',').map(str::to_owned).collect();
                    sets.0.insert(name.to_owned(), Set { kinds, entries: Vec::new() });
                }
                ["add" | "-A", name, _, ..] => {
                    let Some(set) = sets.0.get_mut(name) else {
                        let at = (words[1].start, words[1].end);
                        let message = format!("no set is called `{name}`");
                        return Err(Box::new(line.error(at, &message, "not created before")));
                    };
                    let entry = entry(&line, &set.kinds, &words[2])?;
                    let except = texts.contains(&"nomatch");
                    // `timeout 0` is for ever.
                    let ends = texts.windows(2).any(|two| two[0] == "timeout" && two[1] != "0");
                    set.entries.push(Entry { parts: entry, except, ends });
                }
                _ => {
                    return Err(Box::new(line.wrong(
                        "this is not what `ipset save` prints",
                        "`create` or `add` is wanted",
                    )));
                }
            }
        }
        Ok(sets)
    }

    /// What surely and what possibly matches a set, with `src` and `dst` for each
    /// of its dimensions.
    pub(super) fn region(&self, name: &str, directions: &str) -> Option<(Region, Region)> {
        let set = self.0.get(name)?;
        let directions: Vec<&str> = directions.split(',').collect();
        if set.kinds.first().is_some_and(|kind| kind == "set") {
            return None;
        }
        let (mut must, mut may, mut except) = (Pool::default(), Pool::default(), Pool::default());
        for entry in &set.entries {
            let (one, is_whole) = boxed(&entry.parts, &directions);
            if entry.except {
                except.add(one);
                continue;
            }
            if is_whole && !entry.ends {
                must.add(one.clone());
            }
            may.add(one);
        }
        let except = except.region();
        let must = must.region().subtract(&except).unwrap_or_default();
        Some((must, may.region()))
    }
}

/// The packets of an entry, and whether those are all that it says.
fn boxed(parts: &[Part], directions: &[&str]) -> (Boxed, bool) {
    let mut one = Boxed::all();
    let mut is_whole = true;
    for (place, part) in parts.iter().enumerate() {
        match (part, directions.get(place).copied()) {
            (Part::Addresses(set), Some("src")) => one.source = one.source.intersect(set),
            (Part::Addresses(set), Some("dst")) => one.destination = one.destination.intersect(set),
            (Part::Services(set), Some("dst")) => one.services = one.services.intersect(set),
            _ => is_whole = false,
        }
    }
    (one, is_whole)
}

fn entry(line: &WordLine<'_>, kinds: &[String], word: &Word) -> Result<Vec<Part>, Box<Diagnostic>> {
    let texts: Vec<&str> = word.text.split(',').collect();
    let wrong = |label: String| {
        let message = format!("`{}` is not an entry of this set", word.text);
        Box::new(line.error((word.start, word.end), &message, &label))
    };
    if texts.len() != kinds.len() {
        return Err(wrong(format!("{} parts are wanted", kinds.len())));
    }
    let parts = kinds.iter().zip(texts).map(|(kind, text)| match kind.as_str() {
        "ip" | "net" => {
            let set = match text.split_once('-') {
                Some((first, last)) => range(first, last),
                None => network(text),
            };
            set.map(Part::Addresses).ok_or_else(|| wrong(format!("`{text}` is no address")))
        }
        "port" => services(text).ok_or_else(|| wrong(format!("`{text}` is no protocol and port"))),
        _ => Ok(Part::Other),
    });
    parts.collect()
}

/// `tcp:80`, `udp:5000-5010`, `icmp:8/0`; `80` is of every protocol with ports.
fn services(text: &str) -> Option<Part> {
    let (name, value) = text.split_once(':').unwrap_or(("", text));
    let firsts: &[u32] = match (name, protocol_number(name)) {
        ("", _) => &[0, ServiceIndex::UDP, ServiceIndex::SCTP],
        (_, Some(proto::TCP)) => &[0],
        (_, Some(proto::UDP)) => &[ServiceIndex::UDP],
        (_, Some(proto::SCTP)) => &[ServiceIndex::SCTP],
        (_, Some(number @ (proto::ICMP | proto::ICMPV6))) => {
            let (kind, has_code) = super::values::icmp_type(number == proto::ICMPV6, value)?;
            let index = protocol(number).ranges().first()?.0 + u32::from(kind);
            let set = ServiceSet::range(index, index);
            return Some(if has_code { Part::Other } else { Part::Services(set) });
        }
        (_, Some(number)) => return Some(Part::Services(protocol(number))),
        (_, None) => return None,
    };
    let (low, high) = value.split_once('-').unwrap_or((value, value));
    let (low, high) = (port(low)?, port(high)?);
    let sets = firsts.iter().map(|&first| ports(first, low, high));
    Some(Part::Services(sets.fold(ServiceSet::empty(), |all, one| all.union(&one))))
}
