//! Filter sets as `ClassBench` and its heirs write them: a rule on each line,
//!
//! ```text
//! @192.0.2.0/24  198.51.100.7/32  0 : 65535  443 : 443  0x06/0xFF  0x0000/0x0000
//! ```
//!
//! source, destination, their ports, protocol and, not everywhere, TCP flags. Neither source
//! ports nor flags are looked at. Such files say nothing of what becomes of a packet: every
//! other rule denies, if it is about few addresses.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::rules::{ALL_PORTS, Prefix, Rule, has_ports, mask};

/// What a file is called in tables.
pub(super) fn row(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The rules of a file.
///
/// # Errors
/// If it cannot be read, or a line is something else; says which.
pub(super) fn read(path: &Path) -> Result<Vec<Rule>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let mut rules: Vec<Rule> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let deny = rules.len().is_multiple_of(2);
        let rule = rule(line, deny).with_context(|| format!("{}:{number}", path.display()))?;
        rules.push(rule);
    }
    ensure!(!rules.is_empty(), "{} has no rule", path.display());
    Ok(rules)
}

fn rule(line: &str, deny: bool) -> Result<Rule> {
    let line = line.strip_prefix('@').context("a rule begins with `@`")?;
    let words: Vec<&str> = line.split_whitespace().filter(|word| *word != ":").collect();
    let [source, destination, _, _, first, last, protocol, ..] = words[..] else {
        bail!("a rule has two addresses, four ports and a protocol");
    };
    let protocol = match protocol.split_once('/').context("a protocol has a mask")? {
        (_, "0x00") => None,
        (protocol, _) => {
            let digits = protocol.strip_prefix("0x").context("a protocol is 0x and two digits")?;
            Some(u8::from_str_radix(digits, 16)?)
        }
    };
    let ports = (first.parse()?, last.parse()?);
    ensure!(ports.0 <= ports.1, "ports {first} : {last} are none");
    let ports = match protocol {
        Some(protocol) if has_ports(protocol) => ports,
        None if ports != ALL_PORTS => bail!("ports of any protocol cannot be said in a rule"),
        _ => ALL_PORTS,
    };
    let (source, destination) = (prefix(source)?, prefix(destination)?);
    Ok(Rule { source, destination, protocol, ports, deny }.careful())
}

fn prefix(text: &str) -> Result<Prefix> {
    let (address, length) = text.split_once('/').context("an address has a length")?;
    let address: Ipv4Addr = address.parse().with_context(|| format!("{address} is no address"))?;
    let length = length.parse().ok().filter(|length| *length <= 32);
    Ok(mask((address.into(), length.with_context(|| format!("{text}: no such length"))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_rule() {
        let line =
            "@192.0.2.77/24\t198.51.100.7/32\t0 : 65535\t80 : 443\t0x06/0xFF\t0x1000/0x1000\t";
        let read = rule(line, true).unwrap();
        assert_eq!((read.source, read.destination), ((0xc000_0200, 24), (0xc633_6407, 32)));
        assert_eq!((read.protocol, read.ports, read.deny), (Some(6), (80, 443), true));
        let any = rule("@0.0.0.0/0 10.0.0.0/8 1 : 2 0 : 65535 0x00/0x00", false).unwrap();
        assert_eq!((any.source, any.protocol, any.ports), ((0, 0), None, ALL_PORTS));
        // What has no ports has all.
        let gre = rule("@0.0.0.0/0 10.0.0.0/8 0 : 65535 0 : 0 0x2f/0xFF", false).unwrap();
        assert_eq!((gre.protocol, gre.ports), (Some(47), ALL_PORTS));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for line in [
            "192.0.2.0/24 198.51.100.7/32 0 : 65535 80 : 80 0x06/0xFF",
            "@192.0.2.0/24 198.51.100.7/32 0 : 65535 80 : 80",
            "@192.0.2.0/33 198.51.100.7/32 0 : 65535 80 : 80 0x06/0xFF",
            "@192.0.2/24 198.51.100.7/32 0 : 65535 80 : 80 0x06/0xFF",
            "@192.0.2.0/24 198.51.100.7/32 0 : 65535 80 : 79 0x06/0xFF",
            "@192.0.2.0/24 198.51.100.7/32 0 : 65535 80 : 65536 0x06/0xFF",
            "@192.0.2.0/24 198.51.100.7/32 0 : 65535 80 : 80 6/0xFF",
            "@192.0.2.0/24 198.51.100.7/32 0 : 65535 80 : 80 0x00/0x00",
        ] {
            assert!(rule(line, false).is_err(), "{line}");
        }
    }
}
