//! `firewall man`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap_mangen::Man;

use super::Context;
use crate::failure::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall man | man -l -                     read the first page
  firewall man /usr/share/man/man1            write all of them")]
pub(super) struct Arguments {
    /// Directory to write every page to; without it the first page is printed
    directory: Option<PathBuf>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let mut grammar = super::grammar();
    grammar.build();
    let Some(directory) = &arguments.directory else {
        context.out.text(&page(&grammar)?)?;
        return Ok(Exit::Ok);
    };
    std::fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    let mut written = 0;
    for (name, page) in pages(&grammar, "")? {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, page)
            .with_context(|| format!("could not write {}", path.display()))?;
        written += 1;
    }
    context.out.line(&format!("wrote {written} pages to {}", directory.display()))?;
    Ok(Exit::Ok)
}

fn page(command: &clap::Command) -> Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).context("could not render a page")?;
    Ok(with_examples_kept(&String::from_utf8(page)?))
}

/// Lines that are indented in what follows a command's help are to be typed: they are
/// neither filled nor hyphenated.
fn with_examples_kept(page: &str) -> String {
    let (mut kept, mut is_extra, mut is_kept) = (String::new(), false, false);
    for line in page.lines() {
        if line.starts_with(".SH") {
            is_extra = line == ".SH EXTRA";
        }
        let is_example = is_extra && line.starts_with("  ");
        if is_example != is_kept {
            kept.push_str(if is_example { ".nf\n" } else { ".fi\n" });
            is_kept = is_example;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// The page of a command and of every command below it, by name.
fn pages(command: &clap::Command, above: &str) -> Result<Vec<(String, String)>> {
    let name = format!("{above}{}", command.get_name());
    let mut pages = vec![(name.clone(), page(command)?)];
    for below in command.get_subcommands().filter(|command| command.get_name() != "help") {
        pages.extend(self::pages(below, &format!("{name}-"))?);
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let mut grammar = super::super::grammar();
        grammar.build();
        let names: Vec<String> =
            pages(&grammar, "").unwrap().into_iter().map(|(name, _)| name).collect();
        for wanted in ["firewall", "firewall-status", "firewall-ban-add", "firewall-show-baseline"]
        {
            assert!(names.iter().any(|name| name == wanted), "{wanted} {names:?}");
        }
    }

    #[test]
    fn examples_stand_as_they_are_typed() {
        let mut grammar = super::super::grammar();
        grammar.build();
        let pages = pages(&grammar, "").unwrap();
        let (_, page) = pages.iter().find(|(name, _)| name == "firewall-explain").unwrap();
        let (before, rest) = page.split_once("Examples:\n.nf\n  firewall explain out").unwrap();
        let (examples, after) = rest.split_once("\n.fi\n").unwrap();
        assert!(examples.ends_with("\\-\\-file rules/web.yaml \\-\\-model"), "{examples}");
        assert!(!before.contains(".nf") && !after.contains(".nf"), "{page}");
    }
}
