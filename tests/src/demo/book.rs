//! What was checked, and what came of it.

use anyhow::Result;

use super::plan::Tier;
use super::progress::Progress;

/// What a check is about; the parts of the report, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Without the firewall everything is open: the attempts are real.
    Before,
    /// The firewall comes on, and nobody notices who should not.
    Start,
    /// What must work.
    Works,
    /// What must not.
    Blocked,
    /// Counts beside the servers' own.
    Counts,
    /// Servers and agents that fail.
    Failure,
    /// What the firewall says about the site.
    Findings,
}

impl Part {
    /// All, in order.
    pub(crate) const ALL: [Self; 7] = [
        Self::Before,
        Self::Start,
        Self::Works,
        Self::Blocked,
        Self::Counts,
        Self::Failure,
        Self::Findings,
    ];

    /// As the report says it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Before => "without the firewall, everybody reaches everything",
            Self::Start => "the firewall comes on and cuts nobody off",
            Self::Works => "what must work, works",
            Self::Blocked => "what must not, is dropped, and by the rule that should",
            Self::Counts => "counts are those of the servers themselves",
            Self::Failure => "servers and agents fail, the site and its firewall do not",
            Self::Findings => "what the firewall says about the site",
        }
    }

    /// As JSON says it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Start => "start",
            Self::Works => "works",
            Self::Blocked => "blocked",
            Self::Counts => "counts",
            Self::Failure => "failure",
            Self::Findings => "findings",
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
}

/// A check.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// What it is about.
    pub(crate) part: Part,
    /// What should hold.
    pub(crate) what: String,
    /// Whether it does.
    pub(crate) outcome: Outcome,
    /// What was seen.
    pub(crate) seen: String,
}

/// All checks so far.
#[derive(Debug)]
pub(crate) struct Book {
    only: Option<Tier>,
    progress: Progress,
    checks: Vec<Check>,
}

impl Book {
    /// An empty book, for one tier or for all.
    pub(crate) fn new(only: Option<Tier>, progress: Progress) -> Self {
        Self { only, progress, checks: Vec::new() }
    }

    /// The tier that is asked for.
    pub(crate) fn only(&self) -> Option<Tier> {
        self.only
    }

    /// Whether anything about these tiers is asked for.
    pub(crate) fn wants(&self, tiers: &[Tier]) -> bool {
        self.only.is_none_or(|only| tiers.contains(&only))
    }

    /// Makes a check, if anything about its tiers is asked for. `look` returns
    /// what it has seen; an error is what it should not have.
    pub(crate) fn check(
        &mut self,
        part: Part,
        tiers: &[Tier],
        what: impl Into<String>,
        look: impl FnOnce() -> Result<String>,
    ) {
        if self.wants(tiers) {
            self.note(part, what, look());
        }
    }

    /// Notes a check that was made.
    pub(crate) fn note(&mut self, part: Part, what: impl Into<String>, seen: Result<String>) {
        let what = what.into();
        let (outcome, seen) = match seen {
            Ok(seen) => (Outcome::Passed, seen),
            Err(error) => {
                self.progress.say(&format!("FAILED: {what}: {error:#}"));
                (Outcome::Failed, format!("{error:#}"))
            }
        };
        self.checks.push(Check { part, what, outcome, seen });
    }

    /// The checks.
    pub(crate) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Checks of a part.
    pub(crate) fn part(&self, part: Part) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.part == part)
    }

    /// How many checks came out like this.
    pub(crate) fn count(&self, outcome: &Outcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == *outcome).count()
    }

    /// Whether something was checked, and nothing failed.
    pub(crate) fn passed(&self) -> bool {
        self.count(&Outcome::Failed) == 0 && self.count(&Outcome::Passed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn one_failure_is_a_failure_and_nothing_is_no_pass() {
        let mut book = Book::new(None, Progress::start());
        assert!(!book.passed());
        book.check(Part::Works, &[Tier::Web], "a page", || Ok("200".to_owned()));
        assert!(book.passed());
        book.check(Part::Works, &[Tier::Web], "another", || bail!("404"));
        assert!(!book.passed());
        assert_eq!(book.part(Part::Works).last().unwrap().seen, "404");
    }

    #[test]
    fn only_the_tier_that_is_asked_for_is_checked() {
        let mut book = Book::new(Some(Tier::Web), Progress::start());
        book.check(Part::Works, &[Tier::App], "not asked for", || bail!("looked at"));
        book.check(Part::Works, &[Tier::App, Tier::Web], "asked for", || Ok(String::new()));
        assert_eq!(book.checks().len(), 1);
    }
}
