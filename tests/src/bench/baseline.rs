//! The committed baseline: ratios, never nanoseconds, instruction counts, and sizes of tables.
//! Our own are held to it. What others cost, and what measures, is reported: where an nft is
//! slower, nothing of ours has become worse.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::agent::TABLES;
use super::book::{Book, Figure, is_ours};
use super::{Bench, Options};
use super::{measure_again, programs};

/// How much an instruction count may rise before the check fails. Less is a
/// warning: somebody should have a look, and save a new baseline.
const INSTRUCTIONS: f64 = 1.20;

/// How much the tables of a policy may grow.
const MEMORY: f64 = 1.02;

/// How much a ratio may rise, beside the noise of both runs. A rebuild puts code elsewhere within
/// its cache lines: that alone moves a figure by so much, and no number of batches shows it.
const RATIO: f64 = 1.10;

/// A run that would let half of its ratios rise by more than this says little.
const NOISY: f64 = 0.5;

/// Times that a run is repeated before it fails.
const REPEATS: u32 = 2;

/// What is committed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Baseline {
    /// Instructions that the verifier walked, by row.
    instructions: BTreeMap<String, f64>,
    /// Ratio to a bare drop and its noise, by `section/row/column`.
    ratios: BTreeMap<String, (f64, f64)>,
    /// MiB of the tables of one generation, by row.
    #[serde(default)]
    tables: BTreeMap<String, f64>,
}

/// Sections that are the same however often they are measured.
const EXACT: [&str; 2] = ["programs/", "host/"];

fn is_exact(key: &str) -> bool {
    EXACT.iter().any(|section| key.starts_with(section))
}

impl Baseline {
    fn path() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench/baseline.json")
    }

    /// What is committed; `None` if there is nothing.
    ///
    /// # Errors
    /// If it cannot be read, or is no baseline.
    pub(super) fn read() -> Result<Option<Self>> {
        Self::read_at(&Self::path())
    }

    fn read_at(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("could not read {}", path.display()))?,
        };
        let baseline = serde_json::from_str(&text);
        baseline.map(Some).with_context(|| format!("{} is no baseline", path.display()))
    }

    /// What a figure should be at most; `None` if it is not held to anything.
    fn limit(&self, figure: &Figure) -> Option<Limit> {
        if figure.column == programs::VERIFIED {
            let known = *self.instructions.get(&figure.row)?;
            return Some(Limit { found: figure.value, known, most: known * INSTRUCTIONS });
        }
        if figure.column == TABLES {
            let known = *self.tables.get(&figure.row)?;
            return Some(Limit { found: figure.value, known, most: known * MEMORY });
        }
        let &(known, noise) = self.ratios.get(&figure.key())?;
        // Three deviations of either run, of which there are about one in a hundred.
        let most = known * RATIO * (1.0 + 3.0 * (noise + figure.noise()));
        Some(Limit { found: figure.ratio?, known, most })
    }

    /// Section, row and column of everything that it holds.
    fn keys(&self) -> impl Iterator<Item = [&str; 3]> {
        let instructions =
            self.instructions.keys().map(|row| ["programs", row, programs::VERIFIED]);
        let ratios = self.ratios.keys().filter_map(|key| {
            let (section, rest) = key.split_once('/')?;
            let (row, column) = rest.rsplit_once('/')?;
            Some([section, row, column])
        });
        let tables = self.tables.keys().map(|row| ["host", row, TABLES]);
        instructions.chain(ratios).chain(tables)
    }
}

/// A figure beside its baseline.
struct Limit {
    found: f64,
    known: f64,
    most: f64,
}

/// Compares a run with the baseline. Rows that have fallen behind are measured again; those
/// that still have are returned, with figures, and those that were asked for and have none.
/// What is not held is said in notes.
pub(super) fn check(bench: &mut Bench<'_>, baseline: &Baseline) -> Vec<String> {
    let held = Held::of(baseline, &bench.book);
    let unmeasured = unmeasured(baseline, bench.options, &bench.book);
    let mut behind = above(baseline, &bench.book, true);
    for repeat in 1..=REPEATS {
        if behind.keys().all(|key| is_exact(key)) {
            break;
        }
        let again = behind.keys().filter_map(|key| key.split('/').next());
        let again: BTreeSet<String> = again.map(str::to_owned).collect();
        bench.book.say(&format!("{} rows are behind: measuring again ({repeat})", behind.len()));
        let fresh = measure_again(bench, &again);
        let still = above(baseline, &fresh, true);
        // Behind is what was behind every time, or not to be had again.
        let is_held = |key: &String| !still.contains_key(key) && fresh.has(key);
        behind.retain(|key, _| is_exact(key) || !is_held(key));
    }
    for figure in bench.book.section("programs") {
        if let Some(Limit { found, known, .. }) = baseline.limit(figure)
            && found > known
        {
            eprintln!("warning: {}: {found} instructions verified, {known} before", figure.row);
        }
    }
    let others = above(baseline, &bench.book, false).into_values();
    let words = [
        Some(held.words(behind.len(), unmeasured.len())),
        listed("not ours, so reported only", others),
        listed("not in the baseline, so not compared", unknown(baseline, &bench.book)),
    ];
    bench.book.notes.extend(words.into_iter().flatten());
    behind.into_values().chain(unmeasured).collect()
}

/// A note of several lines in one; `None` if there is nothing to list.
fn listed(what: &str, lines: impl IntoIterator<Item = String>) -> Option<String> {
    let lines: Vec<String> = lines.into_iter().collect();
    (!lines.is_empty()).then(|| format!("baseline: {what}: {}", lines.join("; ")))
}

/// How much was compared, and how sharply.
struct Held {
    rows: usize,
    /// How far a ratio may be above its baseline before it fails: of all the middle.
    above: Option<f64>,
}

impl Held {
    fn of(baseline: &Baseline, book: &Book) -> Self {
        let limits = |figure| Some((figure, baseline.limit(figure)?));
        let ours = book.figures.iter().filter(|figure| figure.ours);
        let limits: Vec<(&Figure, Limit)> = ours.filter_map(limits).collect();
        // The limits of instructions and tables are always the same.
        let ratios = limits.iter().filter(|(figure, _)| figure.ratio.is_some());
        let mut above: Vec<f64> = ratios.map(|(_, limit)| limit.most / limit.known - 1.0).collect();
        above.sort_by(f64::total_cmp);
        Self { rows: limits.len(), above: above.get(above.len() / 2).copied() }
    }

    fn words(&self, behind: usize, unmeasured: usize) -> String {
        let (held, rows) = (self.rows - behind, self.rows + unmeasured);
        if rows == 0 {
            return "baseline: it has none of these rows".into();
        }
        let mut words = format!("baseline: {held} of {rows} figures held");
        if let Some(above) = self.above {
            let percent = 100.0 * above;
            let noise = if above > NOISY { ": a noisy run, which says little" } else { "" };
            let _ = write!(words, "; a ratio may be {percent:.0} % above, in the middle{noise}");
        }
        words
    }
}

/// Figures above their limit, of ours or of all the rest, and in words.
fn above(baseline: &Baseline, book: &Book, ours: bool) -> BTreeMap<String, String> {
    let words = |figure: &Figure| {
        let Limit { found, known, most } = baseline.limit(figure)?;
        let key = figure.key();
        (found > most).then(|| {
            let words = format!("{key}: {found:.2}, was {known:.2}, may be {most:.2}");
            (key, words)
        })
    };
    book.figures.iter().filter(|figure| figure.ours == ours).filter_map(words).collect()
}

/// Figures of ours that the baseline would hold, and does not know.
fn unknown(baseline: &Baseline, book: &Book) -> Vec<String> {
    let ours = book.figures.iter().filter(|figure| figure.ours && is_kept(figure));
    ours.filter(|figure| baseline.limit(figure).is_none()).map(Figure::key).collect()
}

/// Whether a baseline has a place for such a figure.
fn is_kept(figure: &Figure) -> bool {
    figure.ratio.is_some() || [programs::VERIFIED, TABLES].contains(&figure.column.as_str())
}

/// Rows of ours in the baseline that were asked for and have no figure, and why.
fn unmeasured(baseline: &Baseline, options: &Options, book: &Book) -> Vec<String> {
    let asked = baseline.keys().filter(|[section, row, column]| {
        is_ours(section, row) && options.asks(section, row) && options.asks_column(section, column)
    });
    let words = |[section, row, column]: [&str; 3]| {
        let key = format!("{section}/{row}/{column}");
        if book.has(&key) {
            return None;
        }
        match book.why(section, row) {
            Some(skipped) => Some(format!("{key}: not measured: {}", skipped.reason)),
            None => Some(format!("{key}: not measured")),
        }
    };
    asked.filter_map(words).collect()
}

/// Writes what was measured beside what `baseline` holds of other rows.
pub(super) fn save(mut baseline: Baseline, book: &Book) -> Result<()> {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    for figure in &book.figures {
        if figure.column == programs::VERIFIED {
            baseline.instructions.insert(figure.row.clone(), figure.value);
        } else if figure.column == TABLES {
            baseline.tables.insert(figure.row.clone(), rounded(figure.value));
        } else if let Some(ratio) = figure.ratio {
            baseline.ratios.insert(figure.key(), (rounded(ratio), rounded(figure.noise())));
        }
    }
    let path = Baseline::path();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let text = serde_json::to_string_pretty(&baseline)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Spread;
    use crate::bench::sections::SECTIONS;

    fn book(ratio: f64, verified: f64) -> Book {
        let mut book = Book::new(true);
        let spread = Spread::of(vec![ratio; 9], 0).unwrap();
        let bare = Spread::of(vec![1.0; 9], 0).unwrap();
        book.measured("run", ("10 rules", "hot"), spread, Some(&bare));
        book.fact("programs", "judge_xdp", programs::VERIFIED, (verified, "instructions"));
        book
    }

    #[test]
    fn a_ratio_or_a_count_that_rises_is_behind() {
        let mut baseline = Baseline::default();
        baseline.ratios.insert("run/10 rules/hot".into(), (1.5, 0.01));
        baseline.instructions.insert("judge_xdp".into(), 1000.0);
        let behind = |baseline: &Baseline, book: &Book| above(baseline, book, true).len();
        assert_eq!(behind(&baseline, &book(1.6, 1190.0)), 0);
        assert_eq!(behind(&baseline, &book(1.8, 1000.0)), 1);
        assert_eq!(behind(&baseline, &book(1.2, 1210.0)), 1);
        assert_eq!(behind(&Baseline::default(), &book(9.0, 9e6)), 0);
    }

    #[test]
    fn tables_that_grow_are_behind() {
        let mut baseline = Baseline::default();
        baseline.tables.insert("1,000 rules".into(), 5.0);
        let behind = |size: f64| {
            let mut book = Book::new(true);
            book.fact("host", "1,000 rules", TABLES, (size, "MiB"));
            above(&baseline, &book, true).len()
        };
        assert_eq!([behind(5.05), behind(5.2)], [0, 1]);
    }

    #[test]
    fn a_slower_peer_is_reported_and_no_failure() {
        let mut baseline = Baseline::default();
        let peer = "xdp-filter tcp, 10 ports";
        baseline.ratios.insert(format!("run/{peer}/hot"), (1.3, 0.01));
        let mut book = Book::new(true);
        assert!(unmeasured(&baseline, &Options::default(), &book).is_empty());
        let spread = |value| Spread::of(vec![value; 9], 0).unwrap();
        book.measured("run", (peer, "hot"), spread(9.0), Some(&spread(1.0)));
        assert!(above(&baseline, &book, true).is_empty());
        let reported = listed("not ours", above(&baseline, &book, false).into_values()).unwrap();
        assert!(reported.contains("10 ports/hot: 9.00, was 1.30"), "{reported}");
    }

    #[test]
    fn a_row_that_the_baseline_does_not_know_is_said() {
        let mut baseline = Baseline::default();
        baseline.instructions.insert("judge_xdp".into(), 1000.0);
        let book = book(1.5, 1000.0);
        assert_eq!(unknown(&baseline, &book), ["run/10 rules/hot"]);
        baseline.ratios.insert("run/10 rules/hot".into(), (1.5, 0.01));
        assert!(unknown(&baseline, &book).is_empty());
        assert_eq!(listed("not compared", unknown(&baseline, &book)), None);
    }

    #[test]
    fn a_row_that_was_asked_for_and_not_measured_is_named() {
        let mut baseline = Baseline::default();
        baseline.instructions.insert("judge_xdp".into(), 1000.0);
        baseline.instructions.insert("root_xdp".into(), 500.0);
        for row in ["10 rules/hot", "10 rules/1M flows", "IPv6, 1,000 rules/hot"] {
            baseline.ratios.insert(format!("run/{row}"), (1.5, 0.01));
        }
        let named =
            |options: &Options, book: &Book| unmeasured(&baseline, options, book).join("\n");
        let quick = Options { quick: true, ..Options::default() };
        let mut book = book(1.5, 1000.0);
        assert_eq!(
            named(&quick, &book),
            "programs/root_xdp/verified: not measured\nrun/IPv6, 1,000 rules/hot: not measured"
        );
        let only = |pattern: &str| Options { only: Some(pattern.into()), ..Options::default() };
        assert_eq!(named(&only("run/10"), &book), "run/10 rules/1M flows: not measured");
        assert_eq!(named(&only("judge_xdp"), &book), "");
        book.skip("run", "all", &anyhow::anyhow!("returned 2"));
        assert_eq!(
            named(&only("IPv6"), &book),
            "run/IPv6, 1,000 rules/hot: not measured: returned 2"
        );
    }

    #[test]
    fn a_baseline_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let path = std::env::temp_dir().join(format!("baseline-{}.json", std::process::id()));
        assert!(Baseline::read_at(&path).unwrap().is_none());
        std::fs::write(&path, "{\n<<<<<<< ours\n").unwrap();
        let error = format!("{:#}", Baseline::read_at(&path).unwrap_err());
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("is no baseline"), "{error}");
    }

    #[test]
    fn every_row_of_the_committed_baseline_is_listed() {
        for [section, row, _] in Baseline::read().unwrap().unwrap().keys() {
            let known = SECTIONS.iter().find(|known| known.id == section).unwrap();
            assert!(known.rows().any(|name| name == row), "{section}/{row}");
        }
    }

    #[test]
    fn a_check_says_how_much_it_held_and_how_sharply() {
        let mut baseline = Baseline::default();
        baseline.ratios.insert("run/10 rules/hot".into(), (1.5, 0.02));
        let held = Held::of(&baseline, &book(1.5, 1000.0));
        let words = "baseline: 1 of 2 figures held; a ratio may be 17 % above, in the middle";
        assert_eq!(held.words(0, 1), words);
        baseline.ratios.clear();
        baseline.instructions.insert("judge_xdp".into(), 1000.0);
        let held = Held::of(&baseline, &book(1.5, 1000.0));
        assert_eq!(held.words(0, 0), "baseline: 1 of 1 figures held");
        let held = Held::of(&Baseline::default(), &book(1.5, 1000.0));
        assert_eq!(held.words(0, 0), "baseline: it has none of these rows");
    }
}
