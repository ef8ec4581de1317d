//! One rule: options, matches, targets.

use super::super::matching::{Limit, Matching, state};
use super::super::program::Verdict;
use super::super::space::interface;
use super::super::values::{icmp_type, network, port, protocol_number, range};
use super::super::words::{Word, WordLine};
use super::{File, RuleLine, family};
use crate::diagnostic::Diagnostic;
use crate::set::{AddrSet, ServiceSet};

pub(super) type Done<T> = Result<T, Box<Diagnostic>>;

/// The words of a rule, option by option.
pub(super) struct Options<'l, 'w> {
    line: &'l WordLine<'l>,
    words: &'w [Word],
    at: usize,
}

impl<'w> Options<'_, 'w> {
    /// The value of an option.
    pub(super) fn value(&mut self, option: &'w Word) -> Done<&'w Word> {
        match self.words.get(self.at) {
            Some(word) => {
                self.at += 1;
                Ok(word)
            }
            None => Err(self.wrong(option, "a value is missing behind it")),
        }
    }

    pub(super) fn wrong(&self, word: &Word, label: &str) -> Box<Diagnostic> {
        let message = format!("`{}` cannot be read", word.text);
        Box::new(self.line.error((word.start, word.end), &message, label))
    }

    /// Values of an option that is not known.
    fn skip(&mut self) {
        let is_value = |word: &Word| !word.text.starts_with('-') && word.text != "!";
        while self.words.get(self.at).is_some_and(is_value) {
            self.at += 1;
        }
    }
}

/// What is collected of a rule.
pub(super) struct Rule {
    pub(super) matching: Matching,
    pub(super) comment: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) target: Option<String>,
    pub(super) no_track: bool,
    /// The module that was named last is not known, nor are its options.
    is_foreign: bool,
}

impl File<'_> {
    /// A rule line: `-A INPUT …`, perhaps with counters in front.
    pub(super) fn rule(&mut self, rule: &RuleLine<'_>) -> Done<()> {
        let RuleLine { table, line, words, comment } = rule;
        let words = match words.first() {
            Some(first) if first.text.starts_with('[') => &words[1..],
            _ => words.as_slice(),
        };
        let (Some(command), Some(chain)) = (words.first(), words.get(1)) else {
            return Err(Box::new(line.wrong("this is not a rule", "`-A CHAIN …` is wanted")));
        };
        let is_inserted = matches!(command.text.as_str(), "-I" | "--insert");
        if !is_inserted && !matches!(command.text.as_str(), "-A" | "--append") {
            let label = "only what iptables-save prints can be read: `-A CHAIN …`";
            return Err(Box::new(line.error((command.start, command.end), "not a rule", label)));
        }
        let Some(place) = self.known(table, &chain.text) else {
            let message = format!("no chain of table {table} is called `{}`", chain.text);
            return Err(Box::new(line.error((chain.start, chain.end), &message, "not declared")));
        };
        let mut rule = Rule {
            matching: Matching::new(self.reading.without_limits),
            comment: comment.clone(),
            verdict: Verdict::Continue,
            target: None,
            no_track: false,
            is_foreign: false,
        };
        rule.matching.families(&family(self.reading.is_v6));
        let number = words.get(2).and_then(|word| word.text.parse::<usize>().ok());
        let number = number.filter(|_| is_inserted);
        let mut options = Options { line, words, at: 2 + usize::from(number.is_some()) };
        self.options(table, &mut rule, &mut options)?;
        let parsed = self.finished(line, rule);
        let lines = &mut self.program.chains[place].lines;
        let at = if is_inserted { number.unwrap_or(1).saturating_sub(1) } else { lines.len() };
        lines.insert(at.min(lines.len()), parsed);
        Ok(())
    }

    fn options(&mut self, table: &str, rule: &mut Rule, options: &mut Options<'_, '_>) -> Done<()> {
        let mut negated = false;
        while let Some(option) = options.words.get(options.at) {
            options.at += 1;
            if option.text == "!" {
                negated = true;
                continue;
            }
            let known = self.address(rule, options, option, negated)?
                || Self::service(rule, options, option, negated)?
                || self.module(rule, options, option, negated)?
                || self.target(table, rule, options, option)?;
            if !known {
                // Options of a target say nothing about what matches.
                if rule.target.is_none() && !rule.is_foreign {
                    rule.matching.unknown(option.text.trim_start_matches('-').to_owned());
                } else if option.text == "--notrack" {
                    rule.no_track = true;
                    rule.verdict = Verdict::Rewrite;
                }
                options.skip();
            }
            negated = false;
        }
        Ok(())
    }

    fn address<'w>(
        &self,
        rule: &mut Rule,
        options: &mut Options<'_, 'w>,
        option: &'w Word,
        mut negated: bool,
    ) -> Done<bool> {
        let matching = &mut rule.matching;
        match option.text.as_str() {
            "-s" | "--source" | "--src" | "-d" | "--destination" | "--dst" => {
                let word = value(options, option, &mut negated)?;
                let set = self.networks(options, word)?;
                match option.text.as_str() {
                    "-s" | "--source" | "--src" => matching.source(&set, negated),
                    _ => matching.destination(&set, negated),
                }
            }
            "--src-range" | "--dst-range" => {
                let word = value(options, option, &mut negated)?;
                let (first, last) = word.text.split_once('-').unwrap_or((&word.text, &word.text));
                let set = range(first, last)
                    .ok_or_else(|| options.wrong(word, "no range of addresses"))?;
                match option.text.as_str() {
                    "--src-range" => matching.source(&set, negated),
                    _ => matching.destination(&set, negated),
                }
            }
            "-i" | "--in-interface" | "-o" | "--out-interface" => {
                let word = value(options, option, &mut negated)?;
                let set = interface(&word.text, '+');
                match option.text.as_str() {
                    "-i" | "--in-interface" => matching.came_in_by(&set, negated),
                    _ => matching.goes_out_by(&set, negated),
                }
            }
            "--dst-type" => {
                let word = value(options, option, &mut negated)?;
                matching.destination_kind(&word.text, negated);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn networks(&self, options: &Options<'_, '_>, word: &Word) -> Done<AddrSet> {
        let mut sets = Vec::new();
        for text in word.text.split(',') {
            let Some(set) = network(text) else {
                return Err(options
                    .wrong(word, "an address or a network is wanted; names are never resolved"));
            };
            let set = set.intersect(&family(self.reading.is_v6));
            if set.is_empty() {
                let label = if self.reading.is_v6 { "read as IPv6" } else { "read as IPv4" };
                return Err(
                    options.wrong(word, &format!("of the other family: this file is {label}"))
                );
            }
            sets.push(set);
        }
        Ok(AddrSet::union_all(&sets))
    }

    fn service<'w>(
        rule: &mut Rule,
        options: &mut Options<'_, 'w>,
        option: &'w Word,
        mut negated: bool,
    ) -> Done<bool> {
        let matching = &mut rule.matching;
        match option.text.as_str() {
            "-p" | "--protocol" | "--proto" => {
                let word = value(options, option, &mut negated)?;
                let number = protocol_number(&word.text)
                    .ok_or_else(|| options.wrong(word, "no protocol"))?;
                matching.protocol(number, negated);
            }
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                let word = value(options, option, &mut negated)?;
                matching.ports(&ports(options, word)?, negated);
            }
            "--sport" | "--source-port" | "--sports" | "--source-ports" | "--ports" => {
                let word = value(options, option, &mut negated)?;
                let all =
                    ports(options, word)?.iter().any(|&(low, high)| low <= 1 && high == u16::MAX);
                if !all || negated {
                    let what =
                        if option.text == "--ports" { "either port" } else { "the source port" };
                    matching.unknown(what);
                }
            }
            "--icmp-type" | "--icmpv6-type" => {
                let word = value(options, option, &mut negated)?;
                let is_v6 = option.text == "--icmpv6-type";
                if word.text == "any" || word.text == "255" && !is_v6 {
                    if negated {
                        matching.services(&ServiceSet::empty(), false);
                    }
                    return Ok(true);
                }
                let Some((kind, has_code)) = icmp_type(is_v6, &word.text) else {
                    matching.unknown(format!("ICMP type {}", word.text));
                    return Ok(true);
                };
                if has_code {
                    matching.unknown("a code of ICMP");
                }
                let first = super::super::space::protocol(if is_v6 { 58 } else { 1 });
                let first = first.ranges().first().map_or(0, |range| range.0) + u32::from(kind);
                if !(has_code && negated) {
                    matching.services(&ServiceSet::range(first, first), negated);
                }
            }
            "-f" | "--fragment" => matching.unknown("later fragments"),
            "--rt-type" => {
                let word = value(options, option, &mut negated)?;
                if word.text == "0" && !negated {
                    matching.malformed();
                } else {
                    matching.unknown("a routing header");
                }
            }
            "--syn" => matching.flags(0x17, 0x02, negated),
            "--tcp-flags" => {
                let mask = value(options, option, &mut negated)?;
                let set = options.value(option)?;
                let (Some(mask), Some(set)) = (flags(&mask.text), flags(&set.text)) else {
                    return Err(options.wrong(option, "two lists of TCP flags are wanted"));
                };
                matching.flags(mask, set, negated);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn module<'w>(
        &self,
        rule: &mut Rule,
        options: &mut Options<'_, 'w>,
        option: &'w Word,
        mut negated: bool,
    ) -> Done<bool> {
        let matching = &mut rule.matching;
        match option.text.as_str() {
            "-m" | "--match" => {
                rule.is_foreign = false;
                let word = options.value(option)?;
                match word.text.as_str() {
                    "limit" => matching.limit(Limit::Within, negated, "a limit"),
                    "owner" | "string" | "mark" | "connmark" | "time" | "statistic" | "u32"
                    | "bpf" | "helper" | "rpfilter" | "socket" | "cgroup" | "geoip" => {
                        matching.unknown(word.text.clone());
                        rule.is_foreign = true;
                        return Ok(true);
                    }
                    _ => {}
                }
            }
            "--comment" => {
                rule.comment =
                    Some(options.value(option)?.text.clone()).filter(|text| !text.is_empty());
            }
            "--ctstate" | "--state" => {
                let word = value(options, option, &mut negated)?;
                let mut states = 0;
                for name in word.text.split(',') {
                    match state::of(name) {
                        Some(known) => states |= known,
                        None => matching.unknown(format!("the state {name}")),
                    }
                }
                matching.states(states, negated);
            }
            "--match-set" => {
                let name = value(options, option, &mut negated)?;
                let directions = options.value(option)?;
                match self.reading.sets.region(&name.text, &directions.text) {
                    Some((must, may)) => matching.set(must, may, negated),
                    None => matching.unknown(format!("the set {}", name.text)),
                }
            }
            "--limit"
            | "--limit-burst"
            | "--hitcount"
            | "--seconds"
            | "--name"
            | "--mask"
            | "--hashlimit-burst"
            | "--hashlimit-mode"
            | "--hashlimit-srcmask"
            | "--hashlimit-dstmask"
            | "--hashlimit-name"
            | "--hashlimit-htable-size"
            | "--hashlimit-htable-max"
            | "--hashlimit-htable-expire"
            | "--hashlimit-htable-gcinterval"
            | "--connlimit-mask" => {
                options.value(option)?;
            }
            "--rsource" | "--rdest" | "--rttl" | "--reap" | "--connlimit-saddr"
            | "--connlimit-daddr" => {}
            "--hashlimit" | "--hashlimit-upto" => {
                options.value(option)?;
                matching.limit(Limit::Within, negated, "a limit for each address");
            }
            "--hashlimit-above" => {
                options.value(option)?;
                matching.limit(Limit::Above, negated, "a limit for each address");
            }
            "--connlimit-above" | "--connlimit-upto" => {
                options.value(option)?;
                let limit =
                    if option.text == "--connlimit-upto" { Limit::Within } else { Limit::Above };
                matching.limit(limit, negated, "a number of connections");
            }
            "--set" => {
                matching.counts();
            }
            "--update" | "--rcheck" | "--remove" => {
                matching.limit(Limit::Above, negated, "how often an address has come (recent)");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The value of an option, which an old way of writing negates here.
fn value<'w>(
    options: &mut Options<'_, 'w>,
    option: &'w Word,
    negated: &mut bool,
) -> Done<&'w Word> {
    let word = options.value(option)?;
    if word.text != "!" {
        return Ok(word);
    }
    *negated = true;
    options.value(option)
}

/// `80`, `80,443`, `6000:6010`, `:1023`, `1024:`.
fn ports(options: &Options<'_, '_>, word: &Word) -> Done<Vec<(u16, u16)>> {
    let one = |text: &str| {
        let (low, high) = text.split_once(':').unwrap_or((text, text));
        let low = if low.is_empty() { Some(0) } else { port(low) };
        let high = if high.is_empty() { Some(u16::MAX) } else { port(high) };
        Some((low?, high?)).filter(|(low, high)| low <= high)
    };
    let all: Option<Vec<_>> = word.text.split(',').map(one).collect();
    all.ok_or_else(|| options.wrong(word, "a port, a range or a list of them is wanted"))
}

/// TCP flags by name.
fn flags(text: &str) -> Option<u8> {
    text.split(',').try_fold(0, |all, name| {
        let one = match name {
            "FIN" => 0x01,
            "SYN" => 0x02,
            "RST" => 0x04,
            "PSH" => 0x08,
            "ACK" => 0x10,
            "URG" => 0x20,
            "ALL" => 0x3f,
            "NONE" => 0,
            _ => return None,
        };
        Some(all | one)
    })
}
