//! Sets of addresses and ports: what `ipset save` prints.

use std::collections::HashMap;
use std::sync::Arc;

use firewall_common::service::{ServiceIndex, proto};

use super::space::{Boxed, Pool, Region, ports, protocol};
use super::values::{network, port, protocol_number, range};
use super::words::{Word, WordLine, lines};
use crate::diagnostic::Diagnostic;
use crate::set::{AddrSet, RangeSet, ServiceSet};
use crate::source::Source;

/// What one entry has in one place: addresses, or protocols with ports.
#[derive(Clone, Debug)]
enum Part {
    Addresses(AddrSet),
    Services(ServiceSet),
    /// Among these protocols, but not all that they are.
    Among(ServiceSet),
    /// A hardware address, an interface, a mark.
    Other,
}

/// A named set.
#[derive(Clone, Debug, Default)]
struct Set {
    kinds: Vec<String>,
    /// Bits of an address that are compared, if not all are.
    netmask: Option<u8>,
    /// Addresses are compared in a way that is not known here.
    is_foreign: bool,
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
                    let option =
                        |name| texts.windows(2).find(|two| two[0] == name).map(|two| two[1]);
                    let netmask = option("netmask").map(str::parse);
                    let is_foreign = option("bitmask").is_some() || matches!(netmask, Some(Err(_)));
                    let netmask = netmask.and_then(Result::ok);
                    let set = Set { kinds, netmask, is_foreign, entries: Vec::new() };
                    sets.0.insert(name.to_owned(), set);
                }
                ["add" | "-A", name, _, ..] => {
                    let Some(set) = sets.0.get_mut(name) else {
                        let at = (words[1].start, words[1].end);
                        let message = format!("no set is called `{name}`");
                        return Err(Box::new(line.error(at, &message, "not created before")));
                    };
                    let parts = entry(&line, set, &words[2])?;
                    let (except, ends) = options(&texts[3..]);
                    set.entries.push(Entry { parts, except, ends });
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

/// Whether an entry is an exception, and whether it ends by itself.
fn options(words: &[&str]) -> (bool, bool) {
    let (mut except, mut ends) = (false, false);
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "nomatch" => except = true,
            // `timeout 0` is for ever.
            "timeout" => ends = words.next().is_some_and(|time| *time != "0"),
            // A text may be any word.
            "comment" | "packets" | "bytes" | "skbmark" | "skbprio" | "skbqueue" => {
                words.next();
            }
            _ => {}
        }
    }
    (except, ends)
}

/// Every address of the networks of so many bits that have one of a set.
fn masked(set: &AddrSet, bits: u8) -> AddrSet {
    let host_v4 = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
    let host_v6 = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
    let v4 = set.v4.ranges().iter().map(|&(first, last)| (first & !host_v4, last | host_v4));
    let v6 = set.v6.ranges().iter().map(|&(first, last)| (first & !host_v6, last | host_v6));
    AddrSet { v4: RangeSet::from_ranges(v4.collect()), v6: RangeSet::from_ranges(v6.collect()) }
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
            (Part::Among(set), _) => {
                one.services = one.services.intersect(set);
                is_whole = false;
            }
            _ => is_whole = false,
        }
    }
    (one, is_whole)
}

fn entry(line: &WordLine<'_>, set: &Set, word: &Word) -> Result<Vec<Part>, Box<Diagnostic>> {
    let Set { kinds, netmask, is_foreign, .. } = set;
    let texts: Vec<&str> = word.text.split(',').collect();
    let wrong = |label: String| {
        let message = format!("`{}` is not an entry of this set", word.text);
        Box::new(line.error((word.start, word.end), &message, &label))
    };
    if texts.len() != kinds.len() {
        return Err(wrong(format!("{} parts are wanted", kinds.len())));
    }
    let parts = kinds.iter().zip(texts).map(|(kind, text)| match kind.as_str() {
        "ip" | "net" if *is_foreign => Ok(Part::Other),
        "ip" | "net" => {
            let set = match text.split_once('-') {
                Some((first, last)) => range(first, last),
                None => network(text),
            };
            let set = set.map(|set| netmask.map_or_else(|| set.clone(), |bits| masked(&set, bits)));
            set.map(Part::Addresses).ok_or_else(|| wrong(format!("`{text}` is no address")))
        }
        "port" => services(text).ok_or_else(|| wrong(format!("`{text}` is no protocol and port"))),
        _ => Ok(Part::Other),
    });
    parts.collect()
}

/// `tcp:80`, `udp:5000-5010`, `icmp:8/0`; `80` is of TCP and UDP, in a `bitmap:port`.
fn services(text: &str) -> Option<Part> {
    let (name, value) = text.split_once(':').unwrap_or(("", text));
    let firsts: &[u32] = match (name, protocol_number(name)) {
        ("", _) => &[0, ServiceIndex::UDP],
        (_, Some(proto::TCP)) => &[0],
        (_, Some(proto::UDP)) => &[ServiceIndex::UDP],
        (_, Some(proto::SCTP)) => &[ServiceIndex::SCTP],
        (_, Some(number @ (proto::ICMP | proto::ICMPV6))) => {
            let (kind, has_code) = super::values::icmp_type(number == proto::ICMPV6, value)?;
            let index = protocol(number).ranges().first()?.0 + u32::from(kind);
            let set = ServiceSet::range(index, index);
            return Some(if has_code { Part::Other } else { Part::Services(set) });
        }
        // Of others no port is known here; 0 stands for all of them.
        (_, Some(number)) if value == "0" => return Some(Part::Services(protocol(number))),
        (_, Some(number)) => return Some(Part::Among(protocol(number))),
        (_, None) => return None,
    };
    let (low, high) = value.split_once('-').unwrap_or((value, value));
    let (low, high) = (port(low)?, port(high)?);
    let sets = firsts.iter().map(|&first| ports(first, low, high));
    Some(Part::Services(sets.fold(ServiceSet::empty(), |all, one| all.union(&one))))
}
