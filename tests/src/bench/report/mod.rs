//! Figures as text, JSON, Markdown, and a page with plots.

mod page;
mod tables;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Options;
use super::book::Book;
use tables::Table;

/// Version of the JSON document.
const SCHEMA: u32 = 2;

/// Prints a run and stores it.
pub(super) fn finish(options: &Options, book: &Book, machine: &Value) -> Result<()> {
    let document = json!({
        "schema": SCHEMA,
        "machine": machine,
        "noise": { "typical": book.noise(), "batches_redone": book.redone() },
        "figures": book.figures,
        "skipped": book.skipped,
        "wrong": book.wrong,
        "notes": book.notes,
    });
    let directory = directory()?;
    let store = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    store("bench.json", &serde_json::to_string_pretty(&document)?)?;
    let tables = tables::of(&document)?;
    store("bench.html", &page::page(&document, &tables))?;
    if options.json {
        print(&document.to_string());
        return Ok(());
    }
    for table in &tables {
        print(&table.text());
    }
    print(&tables::remarks(&document, false));
    print(&format!("stored: {}", directory.join("bench.html").display()));
    Ok(())
}

/// Prints the tables of the last run in Markdown.
pub(super) fn markdown() -> Result<()> {
    let path = directory()?.join("bench.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("no run is stored at {}: cargo xtask bench", path.display()))?;
    let document: Value = serde_json::from_str(&text)?;
    print(&tables::remarks(&document, true));
    for table in tables::of(&document)? {
        print(&table.markdown());
    }
    Ok(())
}

/// `target/bench`.
fn directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // target/release/firewall-bench
    let target = program.ancestors().nth(2).context("no target directory")?;
    let directory = target.join("bench");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}

#[expect(clippy::print_stdout, reason = "the result of the program")]
fn print(text: &str) {
    println!("{text}");
}
