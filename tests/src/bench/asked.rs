//! What options ask for: which rows, and how long each is measured.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::options::Options;
use super::range::HOT;
use super::sections::{SECTIONS, Section};

/// Beginnings of rows that others are held against: they are measured wherever one of
/// those is, and not by themselves.
const REFERENCES: [&str; 3] = ["bare drop", "bare pass", "nothing attached"];

/// Rows of `run` that take long to load, or are peers'.
const SLOW: [&str; 3] = ["0,000 rules", "1M set", "xdp-filter"];

impl Options {
    /// Whether a row is asked for, by the name that is printed.
    pub(super) fn asks(&self, section: &str, row: &str) -> bool {
        if !self.rule_set.is_empty() {
            return section == "classbench";
        }
        let left_out = match section {
            _ if !self.quick => false,
            "run" => SLOW.iter().any(|slow| row.contains(slow)),
            "egress" => row.contains(",000 rules"),
            _ => false,
        };
        !left_out && self.names(section, row)
    }

    fn names(&self, section: &str, row: &str) -> bool {
        let Some(only) = &self.only else { return self.includes(section) };
        if SECTIONS.iter().any(|known| known.id == only) {
            return section == only;
        }
        let is_reference = REFERENCES.iter().any(|reference| row.starts_with(reference));
        let row = if is_reference { "" } else { row };
        format!("{section}/{row}").contains(only.as_str())
    }

    /// Whether a row is asked for that begins so.
    pub(super) fn wants(&self, section: &str, start: &str) -> bool {
        let of = SECTIONS.iter().filter(|known| known.id == section);
        let mut rows = of.flat_map(Section::rows).filter(|row| row.starts_with(start));
        rows.any(|row| self.asks(section, row))
    }

    /// Whether a column of a row that is asked for is.
    pub(super) fn asks_column(&self, section: &str, column: &str) -> bool {
        !(self.quick && section == "run" && column != HOT)
    }

    /// Whether the run is compared with the baseline, which knows no rule set of a file.
    pub(super) fn compares(&self) -> bool {
        !self.no_check && !self.save_baseline && self.rule_set.is_empty()
    }

    /// Refuses a pattern that no row has in its name.
    pub(super) fn check(&self) -> Result<()> {
        let Some(only) = &self.only else { return Ok(()) };
        let names = |section: &Section| {
            let rows: Vec<&str> = section.rows().collect();
            format!("\n  {}/ {}", section.id, rows.join(" | "))
        };
        ensure!(
            SECTIONS.iter().any(|section| self.wants(section.id, "")),
            "no `section/row` of this run has `{only}` in its name. There are, beside bare drops, \
             which are measured with them:{}",
            SECTIONS.iter().map(names).collect::<String>()
        );
        Ok(())
    }

    /// Batches of a row in memory.
    pub(super) fn batches(&self) -> usize {
        match (self.quick, self.long) {
            (true, _) => 61,
            (_, true) => 101,
            _ => 31,
        }
    }

    /// Batches of a row of real frames.
    pub(super) fn trials(&self) -> usize {
        if self.long { 15 } else { 7 }
    }

    /// Swaps under load, and the time that they may take. The long run lets in 50 million
    /// frames meanwhile.
    pub(super) fn swaps(&self) -> (u32, Duration) {
        if self.long { (3_000, Duration::from_mins(20)) } else { (100, Duration::from_secs(30)) }
    }

    /// Longest wait for a quiet CPU.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 10 })
    }

    /// Whether a section belongs to this kind of run.
    fn includes(&self, section: &str) -> bool {
        !self.quick || matches!(section, "programs" | "run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(pattern: &str) -> Options {
        Options { only: Some(pattern.into()), ..Options::default() }
    }

    #[test]
    fn rows_are_found_by_the_names_that_are_printed() {
        assert!(only("xdp-filter tcp, 10").asks("run", "xdp-filter tcp, 10 ports"));
        assert!(only("xdp-filter tcp, 10").wants("veth", "xdp-filter"));
        assert!(only("1,000 rules, root").wants("egress", "1,000 rules"));
        assert!(!only("1,000 rules, root").asks("egress", "1,000 rules"));
        assert!(only("run/IPv6").wants("run", "") && !only("run/IPv6").wants("egress", ""));
        assert!(only("veth").asks("veth", "bare drop"));
        assert!(!only("egress").wants("socket", "TC egress"), "a section's name is that section");
        assert!(only("TC egress").wants("socket", "TC egress"));
        assert!(!only("bare drop").wants("veth", ""), "a reference is nothing by itself");
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused_with_the_names() {
        for pattern in ["run/nonsense", "nonsense", "run/bare"] {
            let error = only(pattern).check().unwrap_err().to_string();
            assert!(error.contains(pattern) && error.contains("port decides"), "{error}");
        }
        for pattern in ["run", "run/IPv6", "IPv6", "programs"] {
            only(pattern).check().unwrap();
        }
        Options::default().check().unwrap();
    }

    #[test]
    fn a_run_is_compared_unless_it_is_told_not_to() {
        assert!(Options::default().compares() && only("veth").compares());
        assert!(!Options { no_check: true, ..Options::default() }.compares());
        assert!(!Options { save_baseline: true, ..Options::default() }.compares());
        assert!(!Options { rule_set: vec!["acl1".into()], ..Options::default() }.compares());
    }

    #[test]
    fn a_quick_run_asks_for_hot_rows_of_few_rules() {
        let quick = Options { quick: true, ..Options::default() };
        assert!(quick.asks("run", "1,000 rules") && quick.asks("programs", "root_xdp"));
        assert!(!quick.asks("run", "10,000 rules") && !quick.asks("veth", "1,000 rules"));
        assert!(quick.asks_column("run", HOT) && !quick.asks_column("run", "1M flows"));
    }
}
