//! Reading what cargo and its tests print, and the table at the end.

use std::fmt::Write as _;
use std::time::Duration;

use crate::exec;

/// Counts of tests, as the test programs print them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests marked `#[ignore]`.
    pub(crate) skipped: u64,
    /// Names of the failed ones.
    pub(crate) failures: Vec<String>,
}

impl Counts {
    /// Takes one line of a test program's output into account.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
        // test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; ...
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Adds another level's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Records that the level failed, even if no test said so: it did not
    /// compile, was killed, or is no test.
    pub(crate) fn note_failure(&mut self, what: &str) {
        if self.failed == 0 {
            self.failed = 1;
            self.failures.push(what.to_owned());
        }
    }

    /// `12 passed, 0 failed`, and `, 1 skipped` if there are any.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            let _ = write!(line, ", {} skipped", self.skipped);
        }
        line
    }
}

/// What became of one level.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The level's name.
    pub(crate) level: String,
    /// Whether it holds tests, or is a check with no counts.
    pub(crate) is_test: bool,
    /// Its counts.
    pub(crate) counts: Counts,
    /// How long it took.
    pub(crate) time: Duration,
}

/// The table of all levels, their failures, and the total as its last line.
pub(crate) fn table(rows: &[Row], time: Duration) -> String {
    let mut text = format!("\n{:<14} {:<8} {:>9}   tests\n", "level", "result", "time");
    let mut total = Counts::default();
    for row in rows {
        total.add(&row.counts);
        let result = if row.counts.failed > 0 { "FAILED" } else { "ok" };
        let tests = if row.is_test { row.counts.line() } else { "-".to_owned() };
        let _ = writeln!(
            text,
            "{:<14} {result:<8} {:>9}   {tests}",
            row.level,
            exec::seconds(row.time)
        );
        for failure in &row.counts.failures {
            let _ = writeln!(text, "    failed: {failure}");
        }
    }
    let _ = writeln!(text, "total time {}\n", exec::seconds(time));
    text + &total.line()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        let mut counts = Counts::default();
        text.lines().for_each(|line| counts.read(line));
        counts
    }

    #[test]
    fn counts_of_several_test_programs_add_up() {
        let counts = counts(
            "running 3 tests\n\
             test a ... ok\n\
             test b::c ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 1.20s\n",
        );
        assert_eq!((counts.passed, counts.failed, counts.skipped), (41, 1, 1));
        assert_eq!(counts.failures, ["b::c"]);
    }

    #[test]
    fn a_line_that_only_looks_like_a_result_counts_nothing() {
        assert_eq!(counts("test result: yes\n1 passed; 2 failed\n"), Counts::default());
    }

    #[test]
    fn a_level_that_fails_without_a_failing_test_counts_one_failure() {
        let mut counts = counts("test result: ok. 4 passed; 0 failed; 0 ignored\n");
        counts.note_failure("did not compile");
        counts.note_failure("again");
        assert_eq!(counts.line(), "4 passed, 1 failed");
        assert_eq!(counts.failures, ["did not compile"]);
    }

    #[test]
    fn the_table_ends_with_the_plain_total() {
        let row = |level: &str, counts: Counts, is_test| Row {
            level: level.into(),
            is_test,
            counts,
            time: Duration::from_millis(1200),
        };
        let rows = [
            row("fmt", Counts::default(), false),
            row("unit", Counts { passed: 5, skipped: 2, ..Counts::default() }, true),
        ];
        let table = table(&rows, Duration::from_secs(3));
        assert_eq!(table.lines().last(), Some("5 passed, 0 failed, 2 skipped"));
        assert!(table.contains("fmt            ok           1.2 s   -"), "{table}");
    }
}
