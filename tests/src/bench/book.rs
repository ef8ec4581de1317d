//! What was measured, what was not, and how noisy it was.

use std::time::Instant;

use serde::Serialize;

use super::measure::Spread;
use super::sections::SECTIONS;

/// Begin and end of a long text: a command, and what became of it.
fn shortened(text: &str) -> String {
    const PART: usize = 100;
    let count = text.chars().count();
    if count <= 2 * PART {
        return text.to_owned();
    }
    let begin: String = text.chars().take(PART).collect();
    let end: String = text.chars().skip(count - PART).collect();
    format!("{begin} … {end}")
}

/// Whether a row is the product's. A rule set of a file, which no list has, is.
pub(super) fn is_ours(section: &str, row: &str) -> bool {
    let section = SECTIONS.iter().find(|known| known.id == section);
    section.is_none_or(|section| !section.others.contains(&row))
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    /// Part it belongs to.
    pub(super) section: &'static str,
    /// What was measured.
    pub(super) row: String,
    /// Whether that is the product.
    pub(super) ours: bool,
    /// Under what.
    pub(super) column: String,
    /// Of `value`.
    pub(super) unit: &'static str,
    /// The figure: of times, the lower quartile of the batches.
    pub(super) value: f64,
    /// Against the bare drop of the same run and column.
    pub(super) ratio: Option<f64>,
    /// Of what was measured in batches.
    pub(super) spread: Option<Spread>,
}

impl Figure {
    /// What the baseline calls it.
    pub(super) fn key(&self) -> String {
        format!("{}/{}/{}", self.section, self.row, self.column)
    }

    /// Ratio of the noise to the figure.
    pub(super) fn noise(&self) -> f64 {
        self.spread.map_or(0.0, |spread| spread.deviation / spread.median.max(f64::MIN_POSITIVE))
    }
}

/// A row that could not be had.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Skipped {
    pub(super) section: &'static str,
    /// Or [`ALL`].
    pub(super) row: String,
    pub(super) reason: String,
}

/// In place of a row: every one of the section that has no figure.
pub(super) const ALL: &str = "all";

/// Everything of a run.
#[derive(Debug)]
pub(super) struct Book {
    start: Instant,
    quiet: bool,
    pub(super) figures: Vec<Figure>,
    pub(super) skipped: Vec<Skipped>,
    /// What was judged or counted otherwise than it must be.
    pub(super) wrong: Vec<String>,
    /// What a reader must know beside the figures.
    pub(super) notes: Vec<String>,
}

impl Book {
    /// An empty one; without progress lines if `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            start: Instant::now(),
            quiet,
            figures: Vec::new(),
            skipped: Vec::new(),
            wrong: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Says what is going on.
    pub(super) fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("bench: {:>5.1} s  {what}", self.start.elapsed().as_secs_f64());
        }
    }

    /// Adds a figure that is no time per packet.
    pub(super) fn fact(
        &mut self,
        section: &'static str,
        row: impl Into<String>,
        column: impl Into<String>,
        (value, unit): (f64, &'static str),
    ) {
        let (row, column) = (row.into(), column.into());
        let (ours, ratio, spread) = (is_ours(section, &row), None, None);
        self.figures.push(Figure { section, row, ours, column, unit, value, ratio, spread });
    }

    /// Adds a measured one.
    pub(super) fn measured(
        &mut self,
        section: &'static str,
        (row, column): (&str, &str),
        spread: Spread,
        bare: Option<&Spread>,
    ) {
        self.figures.push(Figure {
            section,
            row: row.to_owned(),
            ours: is_ours(section, row),
            column: column.to_owned(),
            unit: "ns",
            value: spread.low,
            ratio: bare.map(|bare| spread.low / bare.low),
            spread: Some(spread),
        });
    }

    /// Notes a row that could not be had, and why.
    pub(super) fn skip(&mut self, section: &'static str, row: &str, error: &anyhow::Error) {
        let reason = shortened(&format!("{error:#}").lines().take(3).collect::<Vec<_>>().join(" "));
        self.say(&format!("{section}: {row}: skipped: {reason}"));
        self.skipped.push(Skipped { section, row: row.to_owned(), reason });
    }

    /// Notes as wrong what was counted and must not be: the run ends with an error.
    pub(super) fn must_be_none(&mut self, place: &str, counts: &[(u64, &str)]) {
        let some = counts.iter().filter(|(count, _)| *count > 0);
        self.wrong.extend(some.map(|(count, what)| format!("{place}: {count} {what}")));
    }

    /// Why a row has no figure.
    pub(super) fn why(&self, section: &str, row: &str) -> Option<&Skipped> {
        let of = |name: &str| {
            self.skipped.iter().find(|skipped| skipped.section == section && skipped.row == name)
        };
        of(row).or_else(|| of(ALL))
    }

    /// Whether there is a figure of this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.figures.iter().any(|figure| figure.key() == key)
    }

    /// Figures of a section, row by row.
    pub(super) fn section(&self, id: &str) -> Vec<&Figure> {
        self.figures.iter().filter(|figure| figure.section == id).collect()
    }

    /// Batches that were disturbed and redone.
    pub(super) fn redone(&self) -> u32 {
        self.figures.iter().filter_map(|figure| figure.spread).map(|spread| spread.redone).sum()
    }

    /// The middle of all rows' noise, as a ratio.
    pub(super) fn noise(&self) -> f64 {
        let mut all: Vec<f64> = self
            .figures
            .iter()
            .filter(|figure| figure.spread.is_some())
            .map(Figure::noise)
            .collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use firewall_userspace::kernel::object;

    use super::*;
    use crate::bench::programs::{PORTS, RULES};

    #[test]
    fn what_must_not_be_is_noted_as_wrong() {
        let mut book = Book::new(true);
        book.must_be_none("swap", &[(0, "misjudged"), (2, "lost by the counters")]);
        assert_eq!(book.wrong, ["swap: 2 lost by the counters"]);
    }

    #[test]
    fn a_long_reason_keeps_its_begin_and_its_end() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&format!("sh -c {} failed", "x ".repeat(500)));
        assert!(long.starts_with("sh -c x") && long.ends_with("x  failed"), "{long}");
        assert!(long.chars().count() < 210);
    }

    #[test]
    fn every_program_is_listed() {
        let of = |policy: &'static str| {
            let names = object::JUDGES.into_iter().chain(object::ANSWERS);
            names.map(move |name| format!("{name}, {policy}"))
        };
        let others = object::ROOTS.into_iter().chain(object::STAGES).map(str::to_owned);
        let mut programs: Vec<String> = of(PORTS).chain(of(RULES)).chain(others).collect();
        let mut listed: Vec<&str> = SECTIONS[0].rows().collect();
        programs.sort_unstable();
        listed.sort_unstable();
        assert_eq!(programs, listed);
    }

    #[test]
    fn no_row_is_listed_twice() {
        for section in &SECTIONS {
            let mut rows: Vec<_> = section.rows().collect();
            rows.sort_unstable();
            let count = rows.len();
            rows.dedup();
            assert_eq!(rows.len(), count, "{}", section.id);
        }
    }
}
