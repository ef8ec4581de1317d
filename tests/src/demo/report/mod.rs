//! What came of the demo: as tables, as JSON, and as a page with plots.

pub(crate) mod html;
mod json;
mod map;
mod page;
mod plot;
mod text;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::agents::Readings;
use super::book::Book;
use super::findings::Warnings;
use super::numbers::Numbers;
use super::timeline::Record;
use crate::lab;

pub(crate) use json::print as print_json;
pub(crate) use text::print as print_text;

/// Everything that there is to say.
pub(crate) struct Results<'a> {
    /// The checks.
    pub(crate) book: &'a Book,
    /// Counts beside the servers' own.
    pub(crate) numbers: &'a Numbers,
    /// Counters of every server at the end: of the whole run.
    pub(crate) totals: &'a Readings,
    /// Rates over time.
    pub(crate) record: &'a Record,
    /// What each server's audit warned of, in the order of the servers.
    pub(crate) warnings: &'a [Warnings],
    /// How long it all took, seconds.
    pub(crate) seconds: f64,
}

impl Results<'_> {
    /// The last line.
    pub(crate) fn verdict(&self) -> String {
        use super::book::Outcome::{Failed, Passed};
        let [passed, failed] = [Passed, Failed].map(|one| self.book.count(&one));
        let word = if self.book.passed() { "PASS" } else { "FAIL" };
        let only =
            self.book.only().map_or(String::new(), |tier| format!(" of tier {}", tier.name()));
        format!("{word}: {passed} checks{only} passed, {failed} failed, in {:.0} s", self.seconds)
    }

    /// Writes the page, and returns where it is.
    pub(crate) fn write_page(&self) -> Result<PathBuf> {
        let directory = directory()?;
        let path = directory.join("report.html");
        std::fs::write(&path, page::page(self))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// `target/demo`, made if it is not there.
pub(crate) fn directory() -> Result<PathBuf> {
    let lab = lab::base_directory();
    let directory = lab.parent().unwrap_or(&lab).join("demo");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}

/// What a server has dropped over the whole run, by rule or reason, most first.
pub(crate) fn drops(totals: &Readings, server: &str) -> Vec<(String, u64)> {
    let Some(counters) = totals.get(server) else { return Vec::new() };
    let mut drops: Vec<(String, u64)> = Vec::new();
    let mut add = |name: String, packets: u64| match drops.iter_mut().find(|one| one.0 == name) {
        _ if packets == 0 => {}
        Some(one) => one.1 += packets,
        None => drops.push((name, packets)),
    };
    for ((_, way, reason), outcome) in counters.outcomes.iter().filter(|(_, one)| !one.passed) {
        let name = match (reason.as_str(), *way) {
            // The rules themselves say it better.
            ("deny", _) => continue,
            ("default-drop", "ingress") => "default-in",
            ("default-drop", _) => "default-out",
            (reason, _) => reason,
        };
        add(name.to_owned(), outcome.packets);
    }
    for deny in ["listed-abusers", "no-cloud-metadata"] {
        add(deny.to_owned(), counters.rule("ingress", deny).packets);
        add(deny.to_owned(), counters.rule("egress", deny).packets);
    }
    drops.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
    drops
}

/// What a server has allowed over the whole run, by rule, most first; replies and
/// the baseline by reason.
pub(crate) fn passes(totals: &Readings, server: &str) -> Vec<(String, u64)> {
    let Some(counters) = totals.get(server) else { return Vec::new() };
    let mut passes: Vec<(String, u64)> = counters
        .rules
        .iter()
        .filter(|((_, name), rule)| {
            rule.packets > 0 && !["listed-abusers", "no-cloud-metadata"].contains(&name.as_str())
        })
        .map(|((_, name), rule)| (name.clone(), rule.packets))
        .collect();
    for ((_, _, reason), outcome) in counters.outcomes.iter().filter(|(_, one)| one.passed) {
        if ["rule", "failsafe"].contains(&reason.as_str()) {
            continue;
        }
        match passes.iter_mut().find(|one| one.0 == *reason) {
            Some(one) => one.1 += outcome.packets,
            None => passes.push((reason.clone(), outcome.packets)),
        }
    }
    passes.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
    passes
}
