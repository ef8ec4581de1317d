//! One zone: its services, ports and rich rules, in the order of asking.

use firewall_common::service::{ServiceIndex, proto};

use super::super::iptables::target::{LOG, REJECT};
use super::super::iptables::{NAT, family};
use super::super::matching::{Limit, Matching};
use super::super::program::{Line, Verdict};
use super::super::space::{ports, protocol};
use super::super::values::{icmp_type, network, port, protocol_number};
use super::names::built_in;
use super::{Config, Done, Element};
use crate::set::ServiceSet;

/// Parts of a zone, first to last.
#[derive(Default)]
struct Parts {
    before: Vec<(i32, bool, Line)>,
    deny: Vec<Line>,
    allow: Vec<Line>,
    after: Vec<(i32, bool, Line)>,
}

/// Services of services.
const MAX_DEPTH: usize = 8;

impl<'f> Config<'f, '_> {
    pub(super) fn zone(&mut self, zone: Element<'f, '_>) -> Done<Vec<Line>> {
        let mut parts = Parts::default();
        let inverted = zone.child("icmp-block-inversion").is_some();
        for child in zone.children() {
            match child.tag() {
                "service" | "port" | "protocol" | "source-port" => {
                    for matching in self.what(child, &self.matching(), 0)? {
                        parts.allow.push(self.line(child, matching, Verdict::Accept, None));
                    }
                }
                "icmp-block" => {
                    let verdict = if inverted { Verdict::Accept } else { Verdict::Drop };
                    for matching in self.what(child, &self.matching(), 0)? {
                        parts.deny.push(self.line(child, matching, verdict, None));
                    }
                }
                "rule" => self.rich(child, &mut parts)?,
                "masquerade" | "forward-port" => {
                    self.program.remarks.lost(&child.place(), &child.text(), NAT);
                }
                "forward" => {
                    let text = "forwarded packets are judged by the same rules as the host's own";
                    self.program.remarks.note(text, Some(&child.place()));
                }
                "short" | "description" | "source" | "interface" | "icmp-block-inversion" => {}
                other => {
                    let reason = format!("<{other}> of a zone: not carried");
                    self.program.remarks.lost(&child.place(), &child.text(), reason);
                }
            }
        }
        if inverted {
            let mut matching = self.matching();
            matching.services(&icmp(), false);
            parts.deny.push(self.line(zone, matching, Verdict::Drop, None));
        }
        self.target(zone, &mut parts)?;
        // Of one priority, those that deny come first.
        parts.before.sort_by_key(|&(priority, accepts, _)| (priority, accepts));
        parts.after.sort_by_key(|&(priority, accepts, _)| (priority, accepts));
        let mut lines: Vec<Line> = parts.before.into_iter().map(|(_, _, line)| line).collect();
        lines.extend(parts.deny);
        lines.extend(parts.allow);
        lines.extend(parts.after.into_iter().map(|(_, _, line)| line));
        Ok(lines)
    }

    /// What becomes of the rest; ICMP passes unless the target says otherwise.
    fn target(&mut self, zone: Element<'f, '_>, parts: &mut Parts) -> Done<()> {
        let last = i32::MAX;
        let verdict = match zone.word("target").unwrap_or("default") {
            "ACCEPT" => Verdict::Accept,
            "DROP" => Verdict::Drop,
            "default" | "{chain}_{zone}" | "%%REJECT%%" | "REJECT" => {
                self.program.remarks.note(REJECT, None);
                Verdict::Drop
            }
            other => return Err(zone.wrong(&format!("`{other}` is no target"), "not known")),
        };
        if matches!(zone.word("target"), None | Some("default" | "{chain}_{zone}")) {
            let mut matching = self.matching();
            matching.services(&icmp(), false);
            let line = self.line(zone, matching, Verdict::Accept, Some("icmp".to_owned()));
            parts.after.push((last, false, line));
        }
        let line = self.line(zone, self.matching(), verdict, None);
        parts.after.push((last, true, line));
        Ok(())
    }

    /// A rich rule.
    fn rich(&mut self, rule: Element<'f, '_>, parts: &mut Parts) -> Done<()> {
        let mut base = self.matching();
        match rule.word("family") {
            Some("ipv4") => base.families(&family(false)),
            Some("ipv6") => base.families(&family(true)),
            _ => {}
        }
        let priority = rule.word("priority").unwrap_or("0");
        let Ok(priority) = priority.parse::<i32>() else {
            return Err(rule.wrong(&format!("`{priority}` is no priority"), "a number is wanted"));
        };
        let mut verdict = None;
        let mut what = None;
        for child in rule.children() {
            match child.tag() {
                "source" => self.end(child, &mut base, true)?,
                "destination" => self.end(child, &mut base, false)?,
                "accept" => verdict = Some((Verdict::Accept, child)),
                "drop" => verdict = Some((Verdict::Drop, child)),
                "reject" => {
                    self.program.remarks.note(REJECT, Some(&child.place()));
                    verdict = Some((Verdict::Drop, child));
                }
                "log" | "nflog" | "audit" => self.program.remarks.note(LOG, Some(&child.place())),
                "mark" | "tcp-mss-clamp" => {
                    let reason =
                        format!("{}: not carried; nothing is marked or changed here", child.tag());
                    self.program.remarks.lost(&rule.place(), &rule.text(), reason);
                }
                "masquerade" | "forward-port" => {
                    self.program.remarks.lost(&rule.place(), &rule.text(), NAT);
                    return Ok(());
                }
                _ => what = Some(child),
            }
        }
        if what.is_some_and(|what| what.tag() == "icmp-block") && verdict.is_none() {
            verdict = Some((Verdict::Drop, rule));
        }
        let Some((verdict, action)) = verdict else { return Ok(()) };
        if action.child("limit").is_some() {
            base.limit(Limit::Within, false, "a limit");
        }
        let all = match what {
            Some(what) => self.what(what, &base, 0)?,
            None => vec![base],
        };
        for matching in all {
            let line = self.line(rule, matching, verdict, None);
            let accepts = verdict == Verdict::Accept;
            match (priority, accepts) {
                (..0, _) => parts.before.push((priority, accepts, line)),
                (0, false) => parts.deny.push(line),
                (0, true) => parts.allow.push(line),
                _ => parts.after.push((priority, accepts, line)),
            }
        }
        Ok(())
    }

    /// Services, ports and the like: one set of conditions for each alternative.
    fn what(
        &mut self,
        element: Element<'f, '_>,
        base: &Matching,
        depth: usize,
    ) -> Done<Vec<Matching>> {
        let mut one = base.clone();
        match element.tag() {
            "service" => return self.service(element, base, depth),
            "port" | "source-port" => {
                let name = element.required("protocol")?;
                let number = protocol_number(name).ok_or_else(|| {
                    element.wrong(&format!("`{name}` is no protocol"), "tcp, udp or sctp is wanted")
                })?;
                one.protocol(number, false);
                let text = element.word("port").unwrap_or_default();
                let (low, high) = text.split_once('-').unwrap_or((text, text));
                // A service may name a protocol alone so.
                if !text.is_empty() {
                    let (Some(low), Some(high)) = (port(low), port(high)) else {
                        return Err(element.wrong(
                            &format!("`{text}` is no port"),
                            "a port or a range is wanted",
                        ));
                    };
                    if element.tag() == "port" {
                        one.ports(&[(low, high)], false);
                    } else {
                        one.unknown("the source port");
                    }
                }
            }
            "protocol" => {
                let name = element.required("value")?;
                match protocol_number(name) {
                    Some(number) => one.protocol(number, false),
                    None => one.unknown(format!("the protocol {name}")),
                }
            }
            "icmp-block" | "icmp-type" => {
                let name = element.required("name")?;
                let kinds = [(false, ServiceIndex::ICMP), (true, ServiceIndex::ICMPV6)];
                let known = kinds.iter().filter_map(|&(is_v6, first)| {
                    let (kind, has_code) = icmp_type(is_v6, name)?;
                    Some((first + u32::from(kind), has_code))
                });
                let known: Vec<(u32, bool)> = known.collect();
                if known.is_empty() || known.iter().any(|(_, has_code)| *has_code) {
                    one.unknown(format!("ICMP {name}"));
                    one.services(&icmp(), false);
                } else {
                    let set = known.iter().map(|&(index, _)| (index, index)).collect();
                    one.services(&ServiceSet::from_ranges(set), false);
                }
            }
            other => one.unknown(format!("<{other}>")),
        }
        Ok(vec![one])
    }

    /// A service by name: of its file, or of those that everybody has.
    fn service(
        &mut self,
        element: Element<'f, '_>,
        base: &Matching,
        depth: usize,
    ) -> Done<Vec<Matching>> {
        let name = match element.word("name") {
            Some(name) => name,
            None => element.required("service")?,
        };
        if depth > MAX_DEPTH {
            return Err(element.wrong(&format!("service `{name}` includes itself"), "too deep"));
        }
        let Some(&file) = self.services.get(name) else {
            return Self::well_known(element, name, base);
        };
        let mut base = base.clone();
        if let Some(destination) = file.child("destination") {
            let of = |key| destination.word(key).map(|text| network(text).unwrap_or_default());
            // A family that no destination is named for is not meant.
            let sets = [of("ipv4").unwrap_or_default(), of("ipv6").unwrap_or_default()];
            base.destination(&crate::set::AddrSet::union_all(&sets), false);
        }
        let mut all = Vec::new();
        for child in file.children() {
            match child.tag() {
                "port" | "protocol" | "source-port" => {
                    all.extend(self.what(child, &base, depth + 1)?);
                }
                "include" => all.extend(self.service(child, &base, depth + 1)?),
                "helper" | "module" => {
                    let reason = "a helper of connection tracking: connections that it opens by itself are not carried";
                    self.program.remarks.lost(&element.place(), &element.text(), reason);
                }
                _ => {}
            }
        }
        Ok(all)
    }

    fn well_known(element: Element<'f, '_>, name: &str, base: &Matching) -> Done<Vec<Matching>> {
        let Some(known) = built_in(name) else {
            let message = format!("no service is called `{name}`");
            let diagnostic = element.wrong(&message, "its file is not among those given");
            let help = format!("name it as well: /usr/lib/firewalld/services/{name}.xml");
            return Err(Box::new(diagnostic.help(help)));
        };
        let mut one = base.clone();
        let sets = known.iter().map(|&(number, port)| {
            let first = if number == proto::UDP { ServiceIndex::UDP } else { 0 };
            ports(first, port, port)
        });
        one.services(&sets.fold(ServiceSet::empty(), |all, set| all.union(&set)), false);
        if name == "dhcpv6-client" {
            one.destination(&network("fe80::/64").unwrap_or_default(), false);
        }
        Ok(vec![one])
    }
}

/// ICMP of both families.
fn icmp() -> ServiceSet {
    protocol(proto::ICMP).union(&protocol(proto::ICMPV6))
}
