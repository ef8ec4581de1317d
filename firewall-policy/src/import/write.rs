//! Rules that are carried, as a role file.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::service::{ServiceIndex, proto};

use super::names::{self, Names, slug};
use super::space::{Boxed, globs, protocol};
use super::translate::{Carried, Side, interfaces};
use crate::check::exposure::{SENSITIVE, is_everybody};
use crate::ir::{Action, Direction};
use crate::set::{AddrSet, RangeSet, ServiceSet};

/// A rule of the file.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) action: Action,
    pub(super) direction: Direction,
    pub(super) boxed: Boxed,
    /// The lines of the file, comment and rule.
    text: String,
}

/// What the rules of a file need names for.
#[derive(Debug, Default)]
pub(super) struct Book {
    groups: Vec<(String, AddrSet)>,
    group_names: Names,
    services: Vec<(String, ServiceSet)>,
    service_names: Names,
    pub(super) rules: Vec<Written>,
    pub(super) breaks_ipv6: bool,
}

/// Addresses that stand in a rule itself; more get a name.
const INLINE: usize = 4;
/// Lines of the source that are quoted above a rule.
const QUOTED: usize = 3;

impl Book {
    /// Takes in a direction.
    pub(super) fn side(&mut self, side: &Side<'_>) {
        let mut rule_names = Names::default();
        for rule in side.deny.iter().chain(&side.allow) {
            for (place, boxed) in rule.boxes.iter().enumerate() {
                self.rule(side.direction, rule, boxed, &mut rule_names, place);
            }
        }
    }

    fn rule(
        &mut self,
        direction: Direction,
        rule: &Carried<'_>,
        boxed: &Boxed,
        rule_names: &mut Names,
        place: usize,
    ) {
        let boxed = sensible(boxed);
        if boxed.is_empty() {
            return;
        }
        let (remote, local) = match direction {
            Direction::Ingress => (&boxed.source, &boxed.destination),
            Direction::Egress => (&boxed.destination, &boxed.source),
        };
        let (here, there) = match direction {
            Direction::Ingress => ("to", "from"),
            Direction::Egress => ("from", "to"),
        };
        let services = self.services(&boxed.services);
        let name = rule_names.fresh(&Self::rule_name(direction, rule, remote, &services));
        let mut text = format!("{{ name: {name}, {there}: {}", self.peer(remote, &name));
        if !is_whole(local, remote) {
            let _ = write!(text, ", {here}: {}", self.peer(local, &format!("{name}-here")));
        }
        let _ = write!(text, ", service: {services}");
        let patterns = globs(interfaces(&boxed, direction)).unwrap_or_default();
        if !patterns.is_empty() {
            let quoted: Vec<String> = patterns.iter().map(|glob| format!("\"{glob}\"")).collect();
            let _ = write!(text, ", iface: [{}]", quoted.join(", "));
        }
        if let Some(reason) = self.reason(direction, rule, &boxed, remote) {
            let _ = write!(text, ", reason: {reason}");
        }
        let mut quoted = String::new();
        if place == 0 {
            for line in rule.lines.iter().take(QUOTED) {
                let _ = writeln!(
                    quoted,
                    "    # {}",
                    clean(&format!("{}  {}", line.place.words(), line.text))
                );
            }
            if rule.lines.len() > QUOTED {
                let _ = writeln!(quoted, "    # and {} lines like it", rule.lines.len() - QUOTED);
            }
            if rule.lines.is_empty() {
                quoted.push_str("    # the policy of the chain\n");
            }
        }
        let text = format!("{quoted}    - {text} }}\n");
        self.rules.push(Written { name, action: rule.action, direction, boxed, text });
    }

    fn rule_name(
        direction: Direction,
        rule: &Carried<'_>,
        remote: &AddrSet,
        services: &str,
    ) -> String {
        let comment = rule.lines.first().and_then(|line| line.comment.as_deref()).map(slug);
        if let Some(comment) = comment.filter(|slug| !slug.is_empty()) {
            return comment;
        }
        let service = match services {
            "all" => String::new(),
            list => slug(list),
        };
        let items = items(remote);
        let other = match (direction, &*items) {
            _ if is_wide(remote) || is_everybody(remote) => String::new(),
            (Direction::Ingress, [one]) => format!("from-{one}"),
            (Direction::Egress, [one]) => format!("to-{one}"),
            (Direction::Ingress, _) => "from-some".to_owned(),
            (Direction::Egress, _) => "to-some".to_owned(),
        };
        let no = match rule.action {
            Action::Drop if service.is_empty() => "nothing",
            Action::Drop => "no",
            Action::Allow => "",
        };
        let parts: Vec<&str> =
            [no, &service, &other].into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { "everything".to_owned() } else { parts.join("-") }
    }

    /// Why a rule is meant, where the language asks for it.
    fn reason(
        &mut self,
        direction: Direction,
        rule: &Carried<'_>,
        boxed: &Boxed,
        remote: &AddrSet,
    ) -> Option<String> {
        let from = rule
            .lines
            .first()
            .map_or("the policy of the chain".to_owned(), |line| line.place.words());
        let vital = |kinds: &[u32]| kinds.iter().any(|index| boxed.services.contains(*index));
        let is_all = boxed.services == super::space::all_services();
        if rule.action == Action::Drop {
            let icmpv6 = |kind| ServiceIndex::ICMPV6 + kind;
            if is_all {
                return None;
            }
            self.breaks_ipv6 |= vital(&[icmpv6(2), icmpv6(134), icmpv6(135), icmpv6(136)]);
            let udp = |port| ServiceIndex::UDP + port;
            return vital(&[ServiceIndex::ICMP + 3, udp(67), udp(68), udp(546)])
                .then(|| format!("\"imported as it was: {}\"", clean(&from)));
        }
        let is_attacked = SENSITIVE.iter().any(|&(index, _)| boxed.services.contains(index));
        let is_open =
            is_everybody(remote) && (is_all || direction == Direction::Ingress && is_attacked);
        is_open.then(|| format!("\"imported as it was: {}\"", clean(&from)))
    }

    /// The value of `service:`.
    fn services(&mut self, set: &ServiceSet) -> String {
        let Some(parts) = names::services(set) else { return "all".to_owned() };
        let mut words = Vec::new();
        for (wanted, part) in parts {
            let known = self.services.iter().find(|(_, known)| *known == part);
            words.push(if let Some((name, _)) = known {
                name.clone()
            } else {
                let name = self.service_names.fresh(&wanted);
                self.services.push((name.clone(), part));
                name
            });
        }
        match &*words {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        }
    }

    /// The value of `from:` or `to:`.
    fn peer(&mut self, set: &AddrSet, wanted: &str) -> String {
        if set.is_any() {
            return "any".to_owned();
        }
        let wide = [("any", AddrSet::any()), ("all-ipv4", half(false)), ("all-ipv6", half(true))];
        if let Some((name, _)) = wide.iter().find(|(_, wide)| wide == set) {
            return self.group(set.clone(), name);
        }
        let direct = items(set);
        let except =
            wide.into_iter().filter(|(_, wide)| set.is_subset(wide)).map(|(name, wide)| {
                let except = wide.subtract(set);
                (items(&except).len(), name, wide, except)
            });
        match except.min_by_key(|(count, ..)| *count) {
            Some((count, name, wide, except)) if count < direct.len() => {
                let group = if name == "any" { name.to_owned() } else { self.group(wide, name) };
                let except = self.list(&except, &format!("{wanted}-not"));
                format!("{{ group: {group}, except: {except} }}")
            }
            _ => self.list(set, wanted),
        }
    }

    /// A few addresses, or the name of many.
    fn list(&mut self, set: &AddrSet, wanted: &str) -> String {
        let items = items(set);
        match &*items {
            [one] => one.clone(),
            few if few.len() <= INLINE => format!("[{}]", few.join(", ")),
            _ => format!("[{}]", self.group(set.clone(), wanted)),
        }
    }

    fn group(&mut self, set: AddrSet, wanted: &str) -> String {
        if let Some((name, _)) = self.groups.iter().find(|(_, known)| *known == set) {
            return name.clone();
        }
        let name = self.group_names.fresh(wanted);
        self.groups.push((name.clone(), set));
        name
    }

    /// `groups:` and `services:`.
    pub(super) fn definitions(&self) -> String {
        let mut text = String::new();
        if !self.groups.is_empty() {
            text.push_str("groups:\n");
            for (name, set) in &self.groups {
                text.push_str(&wrapped(&format!("  {name}: ["), &items(set), "]\n"));
            }
            text.push('\n');
        }
        if !self.services.is_empty() {
            text.push_str("services:\n");
            for (name, set) in &self.services {
                text.push_str(&definition(name, set));
            }
            text.push('\n');
        }
        text
    }

    /// `ingress:` or `egress:`.
    pub(super) fn chain(&self, direction: Direction) -> String {
        let mut text = String::new();
        for (action, word) in [(Action::Drop, "deny"), (Action::Allow, "allow")] {
            let of = |rule: &&Written| rule.direction == direction && rule.action == action;
            let rules: String =
                self.rules.iter().filter(of).map(|rule| rule.text.as_str()).collect();
            if !rules.is_empty() {
                let _ = write!(text, "  {word}:\n{rules}");
            }
        }
        let key = if direction == Direction::Ingress { "ingress" } else { "egress" };
        if text.is_empty() { text } else { format!("{key}:\n{text}\n") }
    }
}

/// Without the ICMP of a family that no address is of, and what no rule can name.
fn sensible(boxed: &Boxed) -> Boxed {
    let mut boxed = boxed.clone();
    if boxed.services == super::space::all_services() {
        return boxed;
    }
    boxed.services = boxed.services.subtract(&super::space::extension_headers());
    let has = |a: bool, b: bool| !a && !b;
    let v4 = has(boxed.source.v4.is_empty(), boxed.destination.v4.is_empty());
    let v6 = has(boxed.source.v6.is_empty(), boxed.destination.v6.is_empty());
    if !v4 {
        boxed.services = boxed.services.subtract(&protocol(proto::ICMP));
    }
    if !v6 {
        boxed.services = boxed.services.subtract(&protocol(proto::ICMPV6));
    }
    boxed
}

/// The addresses of one family.
fn half(is_v6: bool) -> AddrSet {
    super::iptables::family(is_v6)
}

/// Whether a set has every address of the families of another.
fn is_whole(set: &AddrSet, other: &AddrSet) -> bool {
    (set.v4.is_full() || other.v4.is_empty()) && (set.v6.is_full() || other.v6.is_empty())
}

fn is_wide(set: &AddrSet) -> bool {
    set.v4.is_full() || set.v6.is_full()
}

/// A set as it is written: each range a network, an address, or `a-b`.
pub(super) fn items(set: &AddrSet) -> Vec<String> {
    // Mapped addresses are on no wire, and nothing of the language names them.
    let mapped = RangeSet::range(0xffff_u128 << 32, (0xffff_u128 << 32) | 0xffff_ffff);
    let is_mapped = |&(first, last): &(u128, u128)| mapped.contains(first) || mapped.contains(last);
    let v6 = if set.v6.ranges().iter().any(is_mapped) {
        set.v6.subtract(&mapped)
    } else {
        set.v6.clone()
    };
    let v4 = set.v4.ranges().iter().flat_map(|&(first, last)| {
        let address =
            |value: u128| IpAddr::V4(Ipv4Addr::from(u32::try_from(value).unwrap_or(u32::MAX)));
        range(first.into(), last.into(), 32, address)
    });
    let v6 = v6.ranges().iter().flat_map(|&(first, last)| {
        range(first, last, 128, |value| IpAddr::V6(Ipv6Addr::from(value)))
    });
    let quoted = v6.map(|text| format!("\"{text}\""));
    v4.chain(quoted).collect()
}

fn range(first: u128, last: u128, width: u32, address: impl Fn(u128) -> IpAddr) -> Vec<String> {
    let size = last - first;
    if first == 0 && size == u128::MAX >> (128 - width) {
        // Both halves: `0.0.0.0/0` is what people write who mean `any`.
        let half = 1 << (width - 1);
        return vec![format!("{}/1", address(0)), format!("{}/1", address(half))];
    }
    if size == 0 {
        let text = address(first).to_string();
        return vec![if first == 0 { format!("{text}/{width}") } else { text }];
    }
    let bits = (size + 1).trailing_zeros();
    if (size + 1).is_power_of_two() && first & size == 0 {
        return vec![format!("{}/{}", address(first), width - bits)];
    }
    vec![format!("{}-{}", address(first), address(last))]
}

/// An entry of `services:`.
fn definition(name: &str, set: &ServiceSet) -> String {
    let kinds = [
        ("tcp", 0, 1, u16::MAX.into()),
        ("udp", ServiceIndex::UDP, 1, u16::MAX.into()),
        ("sctp", ServiceIndex::SCTP, 1, u16::MAX.into()),
        ("icmp", ServiceIndex::ICMP, 0, 255),
        ("icmpv6", ServiceIndex::ICMPV6, 0, 255),
        ("ip-proto", ServiceIndex::OTHER, 0, 255_u32),
    ];
    let mut parts = Vec::new();
    for (key, start, low, high) in kinds {
        let part = set.intersect(&ServiceSet::range(start + low, start + high));
        let has_ports = start == 0 || start == ServiceIndex::UDP || start == ServiceIndex::SCTP;
        let of = |&(first, last): &(u32, u32)| -> Vec<String> {
            match (first - start, last - start) {
                (low, high) if low == high => vec![low.to_string()],
                (low, high) if has_ports => vec![format!("\"{low}-{high}\"")],
                (low, high) => (low..=high).map(|number| number.to_string()).collect(),
            }
        };
        let items: Vec<String> = part.ranges().iter().flat_map(of).collect();
        match &*items {
            [] => {}
            [one] => parts.push(format!("{key}: {one}")),
            _ => parts.push(wrapped(&format!("{key}: ["), &items, "]")),
        }
    }
    format!("  {name}: {{ {} }}\n", parts.join(", "))
}

/// A list of words, in lines of a readable length.
fn wrapped(before: &str, items: &[String], after: &str) -> String {
    let mut text = before.to_owned();
    let mut column = before.len();
    for (place, item) in items.iter().enumerate() {
        let comma = if place + 1 < items.len() { "," } else { "" };
        if column + item.len() > 92 && place > 0 {
            text.push_str("\n    ");
            column = 4;
        } else if place > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(item);
        text.push_str(comma);
        column += item.len() + 1;
    }
    text + after
}

/// Text of another file, fit for a comment or a quoted word of this one.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| match c {
        '"' => '\'',
        '\\' => '/',
        '\t' => ' ',
        c if c.is_control()
            || crate::diagnostic::is_hidden(c)
            || crate::diagnostic::is_odd_space(c) =>
        {
            '?'
        }
        c => c,
    };
    let mut clean: String = text.chars().take(200).map(visible).collect();
    if text.chars().nth(200).is_some() {
        clean.push('…');
    }
    clean
}
