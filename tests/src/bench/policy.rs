//! Our policies, as the files that `firewall apply` reads.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::traffic::{Random, usable};

/// Files below the configuration directory: path and text.
pub(super) type Files = Vec<(String, String)>;

/// What every policy here begins with; it names no interface that exists, so that
/// nothing is attached but by the bench.
const HEAD: &str = "\
version: 1
role: bench
interfaces: { match: [none0] }
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
";

/// Where the role is written.
const ROLE: &str = "rules/bench.yaml";

/// Bytes of a file at which the next one is begun; the language reads 1 MiB.
const FILE_BYTES: usize = 900 << 10;

/// First port of the rules.
pub(super) const FIRST_PORT: u16 = 1000;
/// Ports that the rules take in turn.
pub(super) const PORTS: u32 = 60_000;
/// Ports of [`ports`].
pub(super) const OPEN_PORTS: u32 = 10;

/// The /24 of a rule: spread over the whole address space.
pub(super) fn network(rule: u32) -> u32 {
    usable(rule.wrapping_mul(0x9e37_79b1)) & !0xff
}

/// The port of a rule.
pub(super) fn port(rule: u32) -> u16 {
    FIRST_PORT + u16::try_from(rule % PORTS).unwrap_or_default()
}

/// The /64 of a rule, upper half.
pub(super) fn network6(rule: u32) -> u64 {
    0x2001_0db8 << 32 | u64::from(rule.wrapping_mul(0x9e37_79b1))
}

fn host() -> (String, String) {
    ("host.yaml".into(), "version: 1\nroles: [bench]\n".into())
}

/// One role file with this behind the settings.
pub(super) fn role(rest: &str) -> Files {
    vec![host(), (ROLE.into(), format!("{HEAD}{rest}"))]
}

/// Decided by port alone: ten ports denied to all, one admitted to all, one of
/// which requests are counted.
pub(super) fn ports() -> Files {
    let mut services = String::new();
    let mut rules = String::new();
    for port in (FIRST_PORT..).take(OPEN_PORTS as usize) {
        let _ = writeln!(services, "  p{port}: {{ tcp: {port} }}");
        let _ = writeln!(rules, "    - {{ name: closed-{port}, from: any, service: p{port} }}");
    }
    role(&format!(
        "state: {{ flows: 524288 }}\n\
         services:\n  open: {{ tcp: 8081 }}\n  web: {{ tcp: 80, count: http1 }}\n{services}\
         ingress:\n  deny:\n{rules}  allow:\n    - {{ name: open, from: any, service: open }}\n    \
         - {{ name: web, from: any, service: web }}\n"
    ))
}

/// Echo requests are admitted at this rate, or where it is `off` by a rule.
pub(super) fn pings(rate: &str) -> Files {
    role(&format!(
        "baseline: {{ ping: {rate} }}\nservices:\n  ping: {{ icmp: [echo-request] }}\n\
         ingress:\n  allow:\n    - {{ name: echo, from: any, service: ping }}\n",
    ))
}

/// Source prefix x port: rule *i* admits a /24 to a port; with `egress`, the other
/// way.
pub(super) fn rules(count: u32, egress: bool) -> Files {
    let (direction, peer) = if egress { ("egress", "to") } else { ("ingress", "from") };
    let peer = |rule| format!("{peer}: {}/24", Ipv4Addr::from(network(rule)));
    assemble(direction, &services(count), &allowed(count, peer))
}

/// The same on ingress, and a deny of hosts all over the address space: groups in
/// files of their own.
pub(super) fn rules_and_set(count: u32, hosts: u32) -> Files {
    let mut random = Random::new(0x5e7);
    let hosts: Vec<String> =
        (0..hosts).map(|_| Ipv4Addr::from(random.address()).to_string()).collect();
    let mut groups = Vec::new();
    let crowd = chunks(&hosts, "    - ", |number, lines| {
        groups.push(format!("crowd-{number}"));
        let text = format!("version: 1\nkind: site\ngroups:\n  crowd-{number}:\n{lines}");
        (format!("rules/crowd-{number}.yaml"), text)
    });
    let mut files = rules(count, false);
    let include = format!("include: [{}, ", names(&crowd));
    let from = groups.join(", ");
    for (path, text) in &mut files {
        if path == ROLE {
            *text = text.replacen("include: [", &include, 1);
            let _ = writeln!(
                text,
                "ingress:\n  deny:\n    - {{ name: crowd, from: [{from}], service: all }}"
            );
        }
    }
    files.extend(crowd);
    files
}

/// A policy with a sentence about itself, so that its programs are asked before.
pub(super) fn tested(mut files: Files) -> Files {
    for (_, text) in files.iter_mut().filter(|(path, _)| path == ROLE) {
        text.push_str(
            "tests:\n  - { name: closed, in: { from: 192.0.2.1, to: 192.0.2.2, tcp: 7 }, expect: drop }\n",
        );
    }
    files
}

/// The same over IPv6: a /64 to a port.
pub(super) fn rules6(count: u32) -> Files {
    let peer = |rule| {
        let network = Ipv6Addr::from(u128::from(network6(rule)) << 64);
        format!("from: \"{network}/64\"")
    };
    assemble("ingress", &services(count), &allowed(count, peer))
}

fn services(rules: u32) -> Vec<String> {
    let service = |rule| {
        let port = port(rule);
        format!("p{port}: {{ tcp: {port} }}")
    };
    (0..rules.min(PORTS)).map(service).collect()
}

fn allowed(rules: u32, peer: impl Fn(u32) -> String) -> Vec<String> {
    let rule = |rule| format!("{{ name: r{rule}, {}, service: p{} }}", peer(rule), port(rule));
    (0..rules).map(rule).collect()
}

/// A role of any size, over as many files as it needs: the role includes files of
/// rules, and they include those that define what the rules name.
fn assemble(direction: &str, services: &[String], rules: &[String]) -> Files {
    let services = chunks(services, "  ", |number, lines| {
        let text = format!("version: 1\nkind: site\nservices:\n{lines}");
        (format!("rules/services-{number}.yaml"), text)
    });
    let head = format!("version: 1\nkind: site\ninclude: [{}]\ncommon:\n", names(&services));
    let rules = chunks(rules, "      - ", |number, lines| {
        let text = format!("{head}  {direction}:\n    allow:\n{lines}");
        (format!("rules/part-{number}.yaml"), text)
    });
    let mut files = role(&format!("include: [{}]\n", names(&rules)));
    files.extend(rules);
    files.extend(services);
    files
}

/// Names of files, as others include them.
fn names(files: &Files) -> String {
    let names = files.iter().filter_map(|(path, _)| path.strip_prefix("rules/"));
    names.collect::<Vec<_>>().join(", ")
}

/// Joins lines to files below the size that the language reads.
fn chunks(
    lines: &[String],
    indent: &str,
    mut file: impl FnMut(usize, &str) -> (String, String),
) -> Files {
    let mut files = Files::new();
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() > FILE_BYTES {
            files.push(file(files.len(), &text));
            text.clear();
        }
        let _ = writeln!(text, "{indent}{line}");
    }
    files.push(file(files.len(), &text));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(files: &Files) -> usize {
        let policy = crate::bench::synthetic::read(files).unwrap();
        [policy.ingress, policy.egress]
            .map(|chain| chain.deny.len() + chain.allow.len())
            .iter()
            .sum()
    }

    #[test]
    fn policies_are_accepted_and_have_their_rules() {
        assert_eq!(count(&ports()), 12);
        assert_eq!(count(&rules(1000, false)), 1000);
        assert_eq!(count(&rules(10, true)), 10);
        assert_eq!(count(&rules6(1000)), 1000);
        assert_eq!(count(&rules_and_set(100, 100_000)), 101);
        assert_eq!(count(&tested(rules(10, false))), 10);
    }
}
