//! Lists of networks outside of a policy, such as bans to import: one address or
//! network a line, `#` or `;` begins a comment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::codes::Code;
use crate::compile::parallel;
use crate::diagnostic::{Report, Sink};
use crate::schema::reader::fault_at;
use crate::source::{Source, Span};
use crate::text;
use crate::value::{Fault, address};

/// An address or network of a list, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// First address.
    pub address: IpAddr,
    /// Prefix length.
    pub length: u8,
    /// Line, from 1.
    pub line: usize,
}

/// Reads a list.
///
/// # Errors
///
/// A [`Report`] of all bad lines; nothing of the list may be used.
pub fn read(name: &str, bytes: Vec<u8>) -> Result<Vec<Network>, Report> {
    let mut sink = Sink::default();
    let networks =
        text::decode(name.to_owned(), bytes, &mut sink).map(|source| entries(&source, &mut sink));
    Ok(sink.finish(networks)?.0)
}

/// What begins a comment: `;` in Spamhaus' lists and in those like them.
const COMMENT: [char; 2] = ['#', ';'];

/// Bytes of a list for which a thread is worth it.
const WORTH_A_THREAD: usize = 1 << 18;

fn entries(source: &Arc<Source>, sink: &mut Sink) -> Vec<Network> {
    if let Some(networks) = all_good(&source.text) {
        return networks;
    }
    let mut networks = Vec::new();
    let mut start = 0;
    for (line, text) in (1..).zip(source.text.split('\n')) {
        let written = text.split(COMMENT).next().unwrap_or_default();
        let entry = written.trim();
        if !entry.is_empty() {
            match network(entry) {
                Ok((address, length)) => networks.push(Network { address, length, line }),
                Err(_) if sink.is_full() => sink.count(true),
                Err(fault) => {
                    let first = start + (written.len() - written.trim_start().len());
                    let (start, end) = (first + fault.at.start, first + fault.at.end);
                    sink.push(fault_at(&fault, &Span { source: source.clone(), start, end }));
                }
            }
        }
        start += text.len() + 1;
    }
    networks
}

/// What a list without a bad line says; `None` if there is one.
fn all_good(text: &str) -> Option<Vec<Network>> {
    let mut parts = parallel::all(pieces(text), good).into_iter();
    let (mut all, mut lines) = parts.next()??;
    for part in parts {
        let (networks, count) = part?;
        all.extend(networks.iter().map(|one| Network { line: one.line + lines, ..*one }));
        lines += count;
    }
    Some(all)
}

/// The same of a piece, whose first line is line 1; and how many lines it has.
fn good(piece: &str) -> Option<(Vec<Network>, usize)> {
    // The shortest line that many have: too little room is made up for.
    let mut networks = Vec::with_capacity(piece.len() / 12);
    let mut lines = 0;
    for text in piece.strip_suffix('\n').unwrap_or(piece).split('\n') {
        lines += 1;
        // Nearly every line is an address and nothing else.
        let (address, length) = if let Ok(address) = text.parse::<Ipv4Addr>() {
            (address.into(), 32)
        } else {
            let entry = text.split(COMMENT).next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            network(entry).ok()?
        };
        networks.push(Network { address, length, line: lines });
    }
    Some((networks, lines))
}

/// Cuts a text behind ends of lines, into pieces of about the same length: as many as
/// are worth a thread.
fn pieces(text: &str) -> Vec<&str> {
    let count = parallel::threads(text.len(), WORTH_A_THREAD);
    let (mut pieces, mut rest) = (Vec::new(), text);
    for left in (2..=count).rev() {
        let middle = rest.len() / left;
        let end = rest.as_bytes().iter().skip(middle).position(|&byte| byte == b'\n');
        let (piece, behind) = rest.split_at(end.map_or(rest.len(), |end| middle + end + 1));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

fn network(text: &str) -> Result<(IpAddr, u8), Fault> {
    // Most of a long list.
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok((address.into(), 32));
    }
    // As `ban add` has it: of an IPv4 address in IPv6 clothes, packets show the IPv4 one.
    if let Some(inside) = text.parse::<Ipv6Addr>().ok().and_then(|v6| v6.to_ipv4_mapped()) {
        return Ok((inside.into(), 32));
    }
    let set = address::parse(text)?;
    let found = match (set.v4.ranges(), set.v6.ranges()) {
        (&[(first, last)], []) => {
            prefix(first.into(), last.into(), 32).map(|length| (IpAddr::V4(first.into()), length))
        }
        ([], &[(first, last)]) => {
            prefix(first, last, 128).map(|length| (IpAddr::V6(Ipv6Addr::from(first)), length))
        }
        _ => None,
    };
    found.ok_or_else(|| {
        Fault::new(Code::Address, text, format!("`{text}` is not one network"))
            .label("a range that no single prefix covers exactly")
            .help("write it as several networks")
    })
}

/// The length of the prefix of `width` bits that is exactly a range.
fn prefix(first: u128, last: u128, width: u32) -> Option<u8> {
    let hosts = first ^ last;
    let is_prefix = hosts & hosts.wrapping_add(1) == 0 && first & hosts == 0;
    is_prefix.then(|| u8::try_from(width - hosts.count_ones()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_both_families_are_read_with_their_lines() {
        let text = "; mine\n192.0.2.1\n\n  198.51.100.0/24 # theirs\r\n2001:db8::/32 ; SBL1\n::1\n\
                    10.0.0.0-10.0.0.255\n0.0.0.0/0\n::ffff:203.0.113.7\n";
        let found = read("list", text.into()).unwrap();
        let found: Vec<_> =
            found.iter().map(|one| (format!("{}/{}", one.address, one.length), one.line)).collect();
        let wanted = [
            ("192.0.2.1/32", 2),
            ("198.51.100.0/24", 4),
            ("2001:db8::/32", 5),
            ("::1/128", 6),
            ("10.0.0.0/24", 7),
            ("0.0.0.0/0", 8),
            ("203.0.113.7/32", 9),
        ];
        assert_eq!(found, wanted.map(|(network, line)| (network.to_owned(), line)));
    }

    #[test]
    fn every_bad_line_is_shown_where_it_is() {
        let text = "192.0.2.1\n192.0.2.300\n  10.0.0.1/8\n10.0.0.1-10.0.0.9\n";
        let report = read("bad.txt", text.into()).unwrap_err();
        let said = report.to_string();
        for place in ["[bad.txt:2:9]", "[bad.txt:3:", "[bad.txt:4:1]"] {
            assert!(said.contains(place), "{place}: {said}");
        }
    }

    #[test]
    fn a_long_list_in_pieces_has_the_lines_it_has_in_one() {
        let line = |number: usize| match number % 5 {
            0 => format!("192.0.2.{}\n", number % 256),
            1 => format!("  2001:db8::{:x}/128 # theirs\r\n", number % 65_536),
            2 => "\n".to_owned(),
            3 => format!("198.51.{}.0/24\n", number % 256),
            _ => "# é\n".to_owned(),
        };
        let lines = 100_000;
        let mut text: String = (0..lines).map(line).collect();
        assert!(text.len() > 4 * WORTH_A_THREAD);
        assert_eq!(pieces(&text).concat(), text);
        let found = read("list", text.clone().into()).map_err(|report| report.to_string()).unwrap();
        let numbers = found.iter().map(|one| one.line - 1);
        assert!(numbers.eq((0..lines).filter(|number| matches!(number % 5, 0 | 1 | 3))));
        text.push_str("last");
        let report = read("list", text.into()).unwrap_err().to_string();
        assert!(report.contains(&format!("[list:{}:1]", lines + 1)), "{report}");
    }

    #[test]
    fn a_range_is_a_prefix_only_if_it_is_one() {
        assert_eq!(prefix(8, 15, 32), Some(29));
        assert_eq!(prefix(8, 16, 32), None);
        assert_eq!(prefix(4, 11, 32), None);
        assert_eq!(prefix(0, u128::MAX, 128), Some(0));
    }
}
