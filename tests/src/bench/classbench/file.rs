//! Filter sets as `ClassBench` and its heirs write them: a rule on each line,
//!
//! ```text
//! @192.0.2.0/24  198.51.100.7/32  0 : 65535  443 : 443  0x06/0xFF  0x0000/0x0000
//! ```
//!
//! source, destination, their ports, protocol and, not everywhere, TCP flags. Source ports and
//! flags are read, and then left out. Such files say nothing of what becomes of a packet: every
//! other rule denies, if it is about few addresses.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::rules::{ALL_PORTS, Prefix, Rule, has_ports, mask};

/// What files are called in tables: by their names or, where these are equal, by their paths.
///
/// # Errors
/// If a file is there twice.
pub(super) fn rows(paths: &[PathBuf]) -> Result<Vec<(String, &Path)>> {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let rows = paths.iter().map(|path| {
        ensure!(
            paths.iter().filter(|other| *other == path).count() == 1,
            "{} is named twice",
            path.display()
        );
        let (row, equal) = (name(path), paths.iter().filter(|other| name(other) == name(path)));
        let row = if equal.count() == 1 { row } else { path.display().to_string() };
        Ok((row, path.as_path()))
    });
    rows.collect()
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
    let words: Vec<&str> = line.split_whitespace().collect();
    let [source, destination, s0, ":", s1, d0, ":", d1, protocol, flags @ ..] = &words[..] else {
        bail!("a rule has two addresses, two ranges of ports as `0 : 65535`, and a protocol");
    };
    let _left_out = ports(s0, s1).context("source port")?;
    let ports = ports(d0, d1).context("destination port")?;
    let protocol = self::protocol(protocol).context("protocol")?;
    match flags {
        [] => {}
        [flags] => drop(number_and_mask(flags).context("flags")?),
        [_, garbage, ..] => bail!("`{garbage}` is behind the end of a rule"),
    }
    let ports = match protocol {
        Some(protocol) if has_ports(protocol) => ports,
        None if ports != ALL_PORTS => {
            bail!("destination port: ports of any protocol cannot be said in a rule")
        }
        _ => ALL_PORTS,
    };
    let source = prefix(source).context("source address")?;
    let destination = prefix(destination).context("destination address")?;
    Ok(Rule { source, destination, protocol, ports, deny }.careful())
}

/// First and last of a range.
fn ports(first: &str, last: &str) -> Result<(u16, u16)> {
    let port = |text: &str| text.parse().with_context(|| format!("`{text}` is no port"));
    let range = (port(first)?, port(last)?);
    ensure!(range.0 <= range.1, "`{first} : {last}` ends before it begins");
    Ok(range)
}

/// A protocol, or any.
fn protocol(text: &str) -> Result<Option<u8>> {
    match number_and_mask(text)? {
        (protocol @ 0..=0xff, 0xff) => Ok(Some(u8::try_from(protocol)?)),
        (_, 0) => Ok(None),
        _ => bail!("`{text}`: a protocol is one, with the mask 0xFF, or any, with 0x00"),
    }
}

fn number_and_mask(text: &str) -> Result<(u16, u16)> {
    let hex = |text: &str| u16::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let both = text.split_once('/').and_then(|(number, mask)| hex(number).zip(hex(mask)));
    both.with_context(|| format!("`{text}` is no number and mask as `0x06/0xFF`"))
}

fn prefix(text: &str) -> Result<Prefix> {
    let (address, length) =
        text.split_once('/').with_context(|| format!("`{text}` has no length"))?;
    let address: Ipv4Addr =
        address.parse().with_context(|| format!("`{address}` is no address"))?;
    let length = length.parse().ok().filter(|length| *length <= 32);
    Ok(mask((address.into(), length.with_context(|| format!("`{text}`: no such length"))?)))
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
    fn what_is_no_rule_is_refused_by_the_name_of_its_field() {
        let ends = "@192.0.2.0/24 198.51.100.7/32";
        for (line, field) in [
            ("192.0.2.0/24 198.51.100.7/32 0 : 65535 80 : 80 0x06/0xFF".into(), "`@`"),
            (format!("{ends} 0 : 65535 80 : 80"), "a rule has"),
            (format!("{ends} 0 65535 80 : 80 0x06/0xFF"), "a rule has"),
            ("@192.0.2.0/33 198.51.100.7/32 0 : 1 80 : 80 0x06/0xFF".into(), "source address"),
            ("@192.0.2.0/24 198.51.100 0 : 1 80 : 80 0x06/0xFF".into(), "destination address"),
            (format!("{ends} 65535 : 0 80 : 80 0x06/0xFF"), "source port"),
            (format!("{ends} 0 : 65535 80 : 79 0x06/0xFF"), "destination port"),
            (format!("{ends} 0 : 65535 80 : 65536 0x06/0xFF"), "destination port"),
            (format!("{ends} 0 : 65535 80 : 80 6/0xFF"), "protocol"),
            (format!("{ends} 0 : 65535 80 : 80 0x06/0xF0"), "protocol"),
            (format!("{ends} 0 : 65535 80 : 80 0x106/0xFF"), "protocol"),
            (format!("{ends} 0 : 65535 80 : 80 0x00/0x00"), "destination port"),
            (format!("{ends} 0 : 65535 80 : 80 0x06/0xFF allow"), "flags"),
            (format!("{ends} 0 : 65535 80 : 80 0x06/0xFF 0x0000/0x0000 x"), "`x`"),
        ] {
            let error = format!("{:#}", rule(&line, false).unwrap_err());
            assert!(error.contains(field), "{line}: {error}");
        }
    }

    #[test]
    fn equal_names_of_files_are_told_apart() {
        let names = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            let rows = rows(&paths)?;
            anyhow::Ok(rows.into_iter().map(|(row, _)| row).collect::<Vec<_>>())
        };
        assert_eq!(names(&["/a/acl1", "/b/fw-1"]).unwrap(), ["acl1", "fw-1"]);
        assert_eq!(names(&["/a/acl1", "/b/acl1"]).unwrap(), ["/a/acl1", "/b/acl1"]);
        assert!(names(&["/a/acl1", "/a/acl1"]).unwrap_err().to_string().contains("twice"));
    }
}
