//! One line of source text as a terminal shows it.

use unicode_width::UnicodeWidthChar as _;

/// Columns a source line may take; longer ones are cut around the label.
const WIDEST: usize = 150;
/// Columns kept before the label of a line that is cut.
const BEFORE: usize = 60;

/// A character of the line, and what stands for it on the terminal.
struct Piece {
    byte: usize,
    shown: String,
    width: usize,
}

/// A source line with everything invisible made visible.
pub(super) struct Line {
    pieces: Vec<Piece>,
}

impl Line {
    pub(super) fn new(text: &str) -> Self {
        let piece = |(byte, c): (usize, char)| match c {
            '\t' => Piece { byte, shown: "→   ".into(), width: 4 },
            c if is_hidden(c) => {
                let shown = escaped(c);
                Piece { byte, width: shown.len(), shown }
            }
            c => Piece { byte, shown: c.into(), width: c.width().unwrap_or(0) },
        };
        Self { pieces: text.char_indices().map(piece).collect() }
    }

    /// The column of a byte of the line, from 0; a byte past the end is next to
    /// the last character.
    pub(super) fn column(&self, byte: usize) -> usize {
        let before = self.pieces.iter().take_while(|piece| piece.byte < byte);
        before.map(|piece| piece.width).sum()
    }

    fn width(&self) -> usize {
        self.pieces.iter().map(|piece| piece.width).sum()
    }

    /// Cuts a line that is too long, keeping what is at `byte`.
    pub(super) fn cut_around(&mut self, byte: usize) {
        if self.width() <= WIDEST {
            return;
        }
        let from = self.column(byte).saturating_sub(BEFORE);
        let mut column = 0;
        let mut kept = Vec::new();
        for piece in self.pieces.drain(..) {
            let start = column;
            column += piece.width;
            if start >= from && column < from + WIDEST {
                kept.push(piece);
            } else if kept.len() < 2 {
                // One mark in front, which also takes the column of what is cut.
                kept = vec![Piece { byte: piece.byte, shown: "…".into(), width: 1 }];
            } else {
                kept.push(Piece { byte: piece.byte, shown: "…".into(), width: 1 });
                break;
            }
        }
        self.pieces = kept;
    }

    pub(super) fn shown(&self) -> String {
        let text: String = self.pieces.iter().map(|piece| piece.shown.as_str()).collect();
        text.trim_end().to_owned()
    }
}

/// Text of a user inside a sentence of ours, which stays one line.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.push_str(&escaped(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn escaped(c: char) -> String {
    format!("\\u{{{:x}}}", u32::from(c))
}

/// Spaces that look like a space and are none to YAML: what a word processor or
/// a web page leaves behind.
pub(crate) fn is_odd_space(c: char) -> bool {
    !c.is_ascii() && c.is_whitespace() && !is_hidden(c)
}

/// Characters that do not show, or that change how others show: control
/// characters, zero-width characters, and the bidirectional formatting
/// characters of Unicode Standard Annex 9.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns_and_combining_ones_none() {
        let line = Line::new("名e\u{301}x");
        assert_eq!(line.column("名".len()), 2);
        assert_eq!(line.column("名e\u{301}".len()), 3);
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides() {
        let text = format!("{}label{}", "a".repeat(300), "b".repeat(300));
        let mut line = Line::new(&text);
        line.cut_around(300);
        let shown = line.shown();
        assert!(shown.starts_with('…') && shown.ends_with('…'));
        assert_eq!(&shown.chars().skip(line.column(300)).take(5).collect::<String>(), "label");
        assert!(shown.chars().count() <= WIDEST + 1);
    }
}
