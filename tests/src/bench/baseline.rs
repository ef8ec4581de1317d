//! The committed baseline: ratios, never nanoseconds, and instruction counts.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::book::{Book, Figure};
use super::{measure_again, programs};

/// How much an instruction count may rise before the check fails. Less is a
/// warning: somebody should have a look, and save a new baseline.
const INSTRUCTIONS: f64 = 1.20;

/// How much a ratio may rise, beside the noise of both runs.
const RATIO: f64 = 1.10;

/// Times that a run is repeated before it fails.
const REPEATS: u32 = 2;

/// What is committed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Baseline {
    /// Instructions that the verifier walked, by row.
    instructions: BTreeMap<String, f64>,
    /// Ratio to a bare drop and its noise, by `section/row/column`.
    ratios: BTreeMap<String, (f64, f64)>,
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
        let &(known, noise) = self.ratios.get(&figure.key())?;
        // Three deviations of either run, of which there are about one in a hundred.
        let most = known * RATIO * (1.0 + 3.0 * (noise + figure.noise()));
        Some(Limit { found: figure.ratio?, known, most })
    }
}

/// A figure beside its baseline.
struct Limit {
    found: f64,
    known: f64,
    most: f64,
}

/// Compares a run with the baseline. Rows that have fallen behind are measured
/// again; those that still have are returned, with figures.
///
/// # Errors
/// If nothing can be measured again.
pub(super) fn check(bench: &mut Bench<'_>, baseline: &Baseline) -> Result<Vec<String>> {
    let mut behind = behind(baseline, &bench.book);
    for repeat in 1..=REPEATS {
        if behind.is_empty() || behind.keys().all(|key| key.starts_with("programs/")) {
            break;
        }
        let again = behind.keys().filter_map(|key| key.split('/').next());
        let again: std::collections::BTreeSet<String> = again.map(str::to_owned).collect();
        bench.book.say(&format!("{} rows are behind: measuring again ({repeat})", behind.len()));
        let fresh = measure_again(bench, &again)?;
        let still = self::behind(baseline, &fresh);
        // Behind is what was behind every time.
        behind.retain(|key, _| still.contains_key(key) || key.starts_with("programs/"));
    }
    for figure in bench.book.section("programs") {
        if let Some(Limit { found, known, .. }) = baseline.limit(figure)
            && found > known
        {
            eprintln!("warning: {}: {found} instructions verified, {known} before", figure.row);
        }
    }
    Ok(behind.into_values().collect())
}

/// Figures behind the baseline, and in words.
fn behind(baseline: &Baseline, book: &Book) -> BTreeMap<String, String> {
    let words = |figure: &Figure| {
        let Limit { found, known, most } = baseline.limit(figure)?;
        let key = figure.key();
        (found > most).then(|| {
            let words = format!("{key}: {found:.2}, was {known:.2}, may be {most:.2}");
            (key, words)
        })
    };
    book.figures.iter().filter_map(words).collect()
}

/// Writes what was measured beside what `baseline` holds of other rows.
pub(super) fn save(mut baseline: Baseline, book: &Book) -> Result<()> {
    for figure in &book.figures {
        if figure.column == programs::VERIFIED {
            baseline.instructions.insert(figure.row.clone(), figure.value);
        } else if let Some(ratio) = figure.ratio {
            let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
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
        assert!(behind(&baseline, &book(1.6, 1190.0)).is_empty());
        assert_eq!(behind(&baseline, &book(1.8, 1000.0)).len(), 1);
        assert_eq!(behind(&baseline, &book(1.2, 1210.0)).len(), 1);
        assert!(behind(&Baseline::default(), &book(9.0, 9e6)).is_empty());
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
}
