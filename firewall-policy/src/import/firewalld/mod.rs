//! What firewalld keeps: zones, services and sets in XML, and a few settings.
//!
//! The order of a zone is that of firewalld.richlanguage(5): rich rules of
//! negative priority, those that reject or drop, those that accept together with
//! services and ports, rich rules of positive priority, the target.

mod names;
mod zone;

use std::collections::HashMap;
use std::sync::Arc;

use roxmltree::{Document, Node, ParsingOptions};

use super::matching::Matching;
use super::program::{Base, Chain, Line, Place, Program, Verdict};
use super::space::interface;
use super::values::network;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::{Action, Direction};
use crate::set::AddrSet;
use crate::source::{Source, Span};

type Done<T> = Result<T, Box<Diagnostic>>;

/// A file of XML.
struct File<'s> {
    source: &'s Arc<Source>,
    /// The name of the zone, service or set: that of the file.
    name: &'s str,
    document: Document<'s>,
}

/// An element of a file.
#[derive(Clone, Copy)]
struct Element<'f, 's> {
    file: &'f File<'s>,
    node: Node<'f, 's>,
}

impl<'f> Element<'f, '_> {
    fn tag(self) -> &'f str {
        self.node.tag_name().name()
    }

    fn word(self, key: &str) -> Option<&'f str> {
        self.node.attribute(key)
    }

    fn children(self) -> impl Iterator<Item = Self> {
        let file = self.file;
        self.node.children().filter(Node::is_element).map(move |node| Self { file, node })
    }

    fn child(self, tag: &str) -> Option<Self> {
        self.children().find(|child| child.tag() == tag)
    }

    fn place(self) -> Place {
        let at = self.file.document.text_pos_at(self.node.range().start);
        let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let (line, column) = (number(at.row), number(at.col));
        Place { file: self.file.source.name.clone(), line, column, object: None }
    }

    /// As it is written, in one line.
    fn text(self) -> String {
        let text = self.file.source.text.get(self.node.range()).unwrap_or_default();
        // Of a zone the first tag says enough.
        let text = match text.split_inclusive('>').next() {
            Some(tag) if self.tag() == "zone" => tag,
            _ => text,
        };
        let mut text = text.chars().take(400).collect::<String>();
        text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text
    }

    fn wrong(self, message: &str, label: &str) -> Box<Diagnostic> {
        let range = self.node.range();
        let length =
            self.file.source.text[range.clone()].split('\n').next().unwrap_or_default().len();
        let span = Span {
            source: self.file.source.clone(),
            start: range.start,
            end: range.start + length,
        };
        Box::new(Diagnostic::new(Code::Import, message).at(&span, label))
    }

    fn required(self, key: &str) -> Done<&'f str> {
        let message = format!("<{}> without `{key}`", self.tag());
        self.word(key).ok_or_else(|| self.wrong(&message, "an attribute is missing"))
    }
}

/// Everything that is read.
struct Config<'f, 's> {
    services: HashMap<&'s str, Element<'f, 's>>,
    sets: HashMap<&'s str, Element<'f, 's>>,
    without_limits: bool,
    program: Program,
}

/// Reads zones and what they name.
pub(super) fn read(sources: &[Arc<Source>], without_limits: bool) -> Done<Program> {
    let is_settings =
        |source: &&Arc<Source>| source.name.rsplit('/').next() == Some("firewalld.conf");
    let settings = sources.iter().find(is_settings);
    let files: Vec<File<'_>> =
        sources.iter().filter(|source| !is_settings(source)).map(parse).collect::<Done<_>>()?;
    let mut config = Config {
        services: HashMap::new(),
        sets: HashMap::new(),
        without_limits,
        program: Program::default(),
    };
    let mut zones = Vec::new();
    for file in &files {
        let root = Element { file, node: file.document.root_element() };
        match root.tag() {
            "zone" => zones.push(root),
            // The first one given counts: those of /etc come before those of /usr.
            "service" => drop(config.services.entry(file.name).or_insert(root)),
            "ipset" => drop(config.sets.entry(file.name).or_insert(root)),
            "policy" | "direct" => config.aside(root)?,
            "icmptype" | "helper" | "whitelist" => {}
            other => {
                let message = format!("<{other}> is nothing that firewalld keeps");
                return Err(root.wrong(&message, "a zone, a service or a set is wanted"));
            }
        }
    }
    let default = settings.and_then(|source| {
        source.text.lines().find_map(|line| line.trim().strip_prefix("DefaultZone=")).map(str::trim)
    });
    config.zones(&zones, default)?;
    Ok(config.program)
}

fn parse(source: &Arc<Source>) -> Done<File<'_>> {
    let options = ParsingOptions { nodes_limit: 4_000_000, ..ParsingOptions::default() };
    let stem = source.name.rsplit('/').next().unwrap_or_default();
    let name = stem.strip_suffix(".xml").unwrap_or(stem);
    // The parser calls itself for each level; nothing of firewalld has five.
    if let Some(at) = too_deep(&source.text) {
        let span = Span { source: source.clone(), start: at, end: at + 1 };
        let message = "elements within elements within elements";
        return Err(Box::new(Diagnostic::new(Code::Import, message).at(&span, "too deep")));
    }
    match Document::parse_with_options(&source.text, options) {
        Ok(document) => Ok(File { source, name, document }),
        Err(error) => {
            let at = error.pos();
            let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
            let mut lines = source.text.split_inclusive('\n');
            let before: usize =
                lines.by_ref().take(number(at.row).saturating_sub(1)).map(str::len).sum();
            let line = lines.next().unwrap_or_default().trim_end_matches(['\n', '\r']);
            let inside = line
                .char_indices()
                .nth(number(at.col).saturating_sub(1))
                .map_or(line.len(), |(at, _)| at);
            let start = (before + inside).min(source.text.len());
            let end = source.text[start..].chars().next().map_or(start, |c| start + c.len_utf8());
            let span = Span { source: source.clone(), start, end };
            let message = format!("{} is not XML", source.name);
            Err(Box::new(Diagnostic::new(Code::Import, message).at(&span, error.to_string())))
        }
    }
}

/// Where elements are nested deeper than those of firewalld ever are.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, _) in text.match_indices('<') {
        let rest = &text[at + 1..];
        if rest.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if !rest.starts_with(['!', '?']) {
            let end = rest.find('>').unwrap_or(rest.len());
            depth += usize::from(!rest[..end].ends_with('/'));
        }
        if depth > 200 {
            return Some(at);
        }
    }
    None
}

/// What in a file of policies or direct rules denies something that comes to this host or leaves
/// it.
fn denies<'f, 's>(root: Element<'f, 's>) -> Option<Element<'f, 's>> {
    let element = |node| Element { file: root.file, node };
    let mut all = root.node.descendants().filter(Node::is_element).map(element);
    if root.tag() == "direct" {
        let is_deny = |text: &str| text.contains("DROP") || text.contains("REJECT");
        let is_forwarding = |text: &str| text.contains("FORWARD");
        return all.find(|one| {
            let text = one.node.text().unwrap_or_default();
            let chain = one.word("chain").unwrap_or_default();
            is_deny(text) && !is_forwarding(text) && !is_forwarding(chain)
        });
    }
    let is_host = |one: &Element<'f, 's>| {
        matches!(one.tag(), "ingress-zone" | "egress-zone") && one.word("name") == Some("HOST")
    };
    let target = root.word("target").filter(|target| matches!(*target, "DROP" | "REJECT"));
    let is_deny = |one: &Element<'f, 's>| matches!(one.tag(), "drop" | "reject" | "icmp-block");
    let of_host = root.children().any(|one| is_host(&one));
    of_host.then(|| target.map_or_else(|| all.find(is_deny), |_| Some(root)))?
}

impl<'f> Config<'f, '_> {
    /// Lists the rules of a file of which none is carried. Without what it denies the import would
    /// admit more than its source.
    fn aside(&mut self, root: Element<'f, '_>) -> Done<()> {
        let tag = root.tag();
        if let Some(deny) = denies(root) {
            let message = format!("<{tag}> denies, and is not carried");
            let diagnostic =
                deny.wrong(&message, "without it the import would admit more than firewalld does");
            let help = "write it as `deny:` by hand, and import without this file";
            return Err(Box::new(diagnostic.help(help)));
        }
        let reason = format!("<{tag}>: not carried; of firewalld, zones are");
        for child in root.children().filter(|child| !matches!(child.tag(), "short" | "description"))
        {
            self.program.remarks.lost(&child.place(), &child.text(), reason.clone());
        }
        Ok(())
    }

    /// Zones by source first, then by interface, then the default zone; of several that fit, the
    /// first by priority and name.
    fn zones(&mut self, zones: &[Element<'f, '_>], default: Option<&str>) -> Done<()> {
        let mut zones = zones.to_vec();
        let priority = |zone: &Element<'_, '_>| zone.word("ingress-priority")?.parse::<i32>().ok();
        zones.sort_by_key(|zone| (priority(zone).unwrap_or(0), zone.file.name));
        let zones = &zones[..];
        let is_bound = |zone: &Element<'_, '_>| {
            zone.child("source").is_some() || zone.child("interface").is_some()
        };
        let chosen = match (default, zones) {
            (Some(name), _) => zones.iter().find(|zone| zone.file.name == name),
            (None, [only]) => Some(only),
            (None, _) => zones.iter().find(|zone| zone.file.name == "public"),
        };
        let Some(&chosen) = chosen else {
            let wanted = default.unwrap_or("public");
            let message = format!("the default zone `{wanted}` is not among the files");
            let source = Source { name: "firewalld".to_owned(), text: String::new() };
            let span = Span { source: Arc::new(source), start: 0, end: 0 };
            return Err(Box::new(
                Diagnostic::new(Code::Import, message)
                    .at(&span, "what is bound to no zone goes to it")
                    .help("name its file as well, and firewalld.conf if it is not `public`"),
            ));
        };
        let entry = self.program.chains.len();
        self.program.chains.push(Chain { name: "zones".to_owned(), lines: Vec::new() });
        let mut lines = Vec::new();
        let mut by_interface = Vec::new();
        let mut last = None;
        for zone in zones {
            let is_default = zone.file.name == chosen.file.name;
            if !is_default && !is_bound(zone) {
                let text = "a zone that no source or interface is bound to is not imported";
                self.program.remarks.note(text, Some(&zone.place()));
                continue;
            }
            let chain = self.program.chains.len();
            self.program.chains.push(Chain { name: zone.file.name.to_owned(), lines: Vec::new() });
            let content = self.zone(*zone)?;
            self.program.chains[chain].lines = content;
            for child in zone.children() {
                match child.tag() {
                    "source" => lines.push(self.bound(child, chain)?),
                    "interface" => by_interface.push(self.bound(child, chain)?),
                    _ => {}
                }
            }
            if is_default {
                last = Some(self.line(*zone, self.matching(), Verdict::Goto(chain), None));
            }
        }
        lines.extend(by_interface);
        lines.extend(last);
        self.program.chains[entry].lines = lines;
        self.program.bases.push(Base {
            chain: entry,
            direction: Direction::Ingress,
            families: AddrSet::any(),
            policy: Action::Drop,
            place: chosen.place(),
            rewrites: false,
        });
        Ok(())
    }

    /// What sends packets to a zone.
    fn bound(&mut self, element: Element<'f, '_>, chain: usize) -> Done<Line> {
        let mut matching = self.matching();
        if element.tag() == "interface" {
            matching.came_in_by(&interface(element.required("name")?, '+'), false);
        } else {
            self.end(element, &mut matching, true)?;
        }
        Ok(self.line(element, matching, Verdict::Goto(chain), None))
    }

    fn matching(&self) -> Matching {
        Matching::new(self.without_limits)
    }

    fn line(
        &mut self,
        element: Element<'f, '_>,
        matching: Matching,
        verdict: Verdict,
        comment: Option<String>,
    ) -> Line {
        let at = (element.place(), element.text(), comment);
        matching.line(verdict, at, &mut self.program.remarks)
    }

    /// The addresses of `<source>` or `<destination>`.
    fn end(
        &mut self,
        element: Element<'f, '_>,
        matching: &mut Matching,
        is_source: bool,
    ) -> Done<()> {
        let inverts = |word: &str| ["yes", "true"].iter().any(|yes| word.eq_ignore_ascii_case(yes));
        let negated = element.word("invert").is_some_and(inverts);
        let set = match (element.word("address"), element.word("ipset")) {
            (Some(text), _) => {
                let set = network(text);
                set.ok_or_else(|| {
                    element.wrong(
                        &format!("`{text}` is no address"),
                        "an address or a network is wanted",
                    )
                })?
            }
            (None, Some(name)) => {
                let Some(set) = self.set(name)? else {
                    matching.unknown(format!("the set {name}"));
                    return Ok(());
                };
                set
            }
            (None, None) => {
                matching.unknown(if element.word("mac").is_some() {
                    "a hardware address"
                } else {
                    "an end without address"
                });
                return Ok(());
            }
        };
        // What is negated is of the family of the set.
        if negated {
            let family = AddrSet {
                v4: if set.v4.is_empty() { set.v4.clone() } else { AddrSet::any().v4 },
                v6: if set.v6.is_empty() { set.v6.clone() } else { AddrSet::any().v6 },
            };
            matching.families(&family);
        }
        if is_source {
            matching.source(&set, negated);
        } else {
            matching.destination(&set, negated);
        }
        Ok(())
    }

    /// A set of addresses; `None` if it is of another kind, ends, or is not given.
    fn set(&self, name: &str) -> Done<Option<AddrSet>> {
        let Some(set) = self.sets.get(name) else { return Ok(None) };
        let is_plain = matches!(set.word("type"), Some("hash:ip" | "hash:net"));
        let ends = set
            .children()
            .any(|child| child.tag() == "option" && child.word("name") == Some("timeout"));
        if !is_plain || ends {
            return Ok(None);
        }
        let mut sets = Vec::new();
        for entry in set.children().filter(|child| child.tag() == "entry") {
            let text = entry.node.text().unwrap_or_default().trim();
            let parsed = match text.split_once('-') {
                Some((first, last)) => super::values::range(first, last),
                None => network(text),
            };
            let wrong = || entry.wrong(&format!("`{text}` is no address"), "an entry of a set");
            sets.push(parsed.ok_or_else(wrong)?);
        }
        Ok(Some(AddrSet::union_all(&sets)))
    }
}
