//! Groups of addresses, one on each line.

use super::{Line, Quick};
use crate::read::{Networks, Node, Value};
use crate::value::address;

/// Ranges, first and last word.
type Found = (Vec<(u32, u32)>, [std::ops::Range<usize>; 2]);

impl<'s> Quick<'s> {
    /// A list of nothing but `- 192.0.2.1` and `- 192.0.2.0/24`, such as have a hundred
    /// thousand lines. At its beginning again if there is more to it.
    pub(super) fn networks(&mut self, indent: usize, indented: bool) -> Option<Node<'s>> {
        let (start, line): (usize, Line) = (self.at, self.line);
        let found = self.lines_of_networks(indent).filter(|_| !self.goes_on_at(indent));
        let Some((ranges, [first, last])) = found else {
            (self.at, self.line) = (start, line);
            return None;
        };
        let span = self.span(if indented { start } else { first.start }, last.end);
        let first = self.span(first.start, first.end);
        Some(Node { value: Value::Networks(Box::new(Networks { ranges, first })), span })
    }

    /// Whether the line is one of a list so deep, or of something in it.
    fn goes_on_at(&self, indent: usize) -> bool {
        let deep = self.line.indent();
        !self.is_over() && (deep > indent || deep == indent && self.is_item(self.at))
    }

    fn lines_of_networks(&mut self, indent: usize) -> Option<Found> {
        let (mut ranges, mut first, mut word) = (Vec::new(), None, 0..0);
        while let [b'-', b' ', rest @ ..] = &self.bytes[self.at..] {
            let (range, behind) = address::leading_v4(rest)?;
            // Of what begins with 0.0.0.0 there is something to be said.
            if range.0 == 0 || !matches!(behind, [] | [b'\n', ..]) {
                return None;
            }
            ranges.push(range);
            word = self.at + 2..self.bytes.len() - behind.len();
            first.get_or_insert_with(|| word.clone());
            self.at = self.bytes.len().min(word.end + 1);
            let next = self.bytes[self.at..].split_at_checked(indent);
            let is_as_deep = |(spaces, rest): (&[u8], &[u8])| {
                rest.starts_with(b"- ") && spaces.iter().all(|&byte| byte == b' ')
            };
            if !next.is_some_and(is_as_deep) {
                break;
            }
            self.at += indent;
        }
        self.next_line();
        Some((ranges, [first?, word]))
    }
}
