//! `firewall check`.

use anyhow::Result;
use firewall_policy::codes::Severity;
use firewall_policy::diagnostic::{self, Diagnostic, Report};
use firewall_policy::{Loaded, compile::Generation};
use serde::Serialize;

use super::sarif;
use super::{Context, Json};
use crate::candidate::{self, Wanted};
use crate::enforce::Ready;
use crate::failure::{Exit, Failure};
use crate::host::process;
use crate::probe::engine::Engine;
use crate::report::snapshot::SCHEMA;
use crate::report::units;
use crate::verify;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall check                             what host.yaml and its roles say
  firewall check rules/web.yaml
  firewall check rules/web.yaml --format github    annotations of a pull request

Reads, checks, compiles and tests (on the model) a policy. Nothing is changed,
no root is needed. Exit code 0 sound, 1 refused, 2 with warnings.")]
pub(super) struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
    /// How to print
    #[arg(long, value_parser = ["human", "json", "sarif", "github"], default_value = "human")]
    format: String,
    /// The same as `--format json`
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    policy: Option<Summary>,
    diagnostics: &'a [Diagnostic],
    hidden: usize,
}

#[derive(Serialize)]
struct Summary {
    hash: String,
    roles: Vec<String>,
    rules: usize,
    tests: usize,
    #[serde(skip)]
    words: String,
    memory_bytes: u64,
    generation_bytes: u64,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    process::hoard();
    let (diagnostics, hidden, compiled) = match candidate::read(&context.config, &arguments.wanted)
    {
        Ok(loaded) => {
            let (mut diagnostics, compiled) = compile(&loaded)?;
            diagnostics.extend(loaded.warnings.iter().cloned());
            (diagnostics, 0, compiled.map(|compiled| (loaded, compiled)))
        }
        Err(Report { diagnostics, hidden }) => (diagnostics, hidden, None),
    };
    let summary = compiled.map(|(loaded, Compiled { generation, tests })| Summary {
        hash: generation.hash,
        roles: loaded.policy.roles,
        rules: generation.rules.len(),
        tests: loaded.policy.tests.len(),
        words: tests,
        memory_bytes: generation.memory.total_bytes(),
        generation_bytes: generation.memory.generation_bytes(),
    });
    let errors = diagnostics.iter().filter(|one| one.is_error()).count() + hidden;
    match if arguments.json { "json" } else { arguments.format.as_str() } {
        "json" => {
            let document =
                Document { schema: SCHEMA, policy: summary, diagnostics: &diagnostics, hidden };
            context.out.json(&document)?;
        }
        "sarif" => context.out.json(&sarif::log(&diagnostics))?,
        "github" => context.out.text(&github(&diagnostics))?,
        _ => human(context, arguments, &diagnostics, hidden, summary)?,
    }
    Ok(match (errors, diagnostics.len()) {
        (0, 0) => Exit::Ok,
        (0, _) => Exit::Findings,
        _ => Exit::Error,
    })
}

/// A policy that fits, and a word about its tests.
struct Compiled {
    generation: Generation,
    tests: String,
}

/// Compiles a policy and runs its tests on the model: what there is to say, and
/// what was compiled unless it does not fit.
fn compile(loaded: &Loaded) -> Result<(Vec<Diagnostic>, Option<Compiled>)> {
    let generation = match Ready::new(None, &loaded.policy) {
        Ok(ready) => ready.generation,
        Err(error) => return Ok((vec![candidate::too_large(loaded, error)?], None)),
    };
    let verified = verify::run(loaded, &mut Engine::model(&generation))?;
    let tests = verified.words("hold");
    let diagnostics = [verified.failures, verified.warnings].concat();
    Ok((diagnostics, Some(Compiled { generation, tests })))
}

fn human(
    context: &Context,
    arguments: &Arguments,
    diagnostics: &[Diagnostic],
    hidden: usize,
    summary: Option<Summary>,
) -> Result<()> {
    let style = context.out.style();
    context.out.diagnostics(&diagnostic::render(diagnostics, style));
    let errors = diagnostics.iter().filter(|one| one.is_error()).count() + hidden;
    let warnings = diagnostics.len().saturating_sub(errors - hidden);
    let counts = [(errors, "error"), (warnings, "warning")];
    let found: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| units::plural(*n, word)).collect();
    let found = if found.is_empty() { String::new() } else { format!("   {}", found.join(", ")) };
    let what = arguments.wanted.words();
    match summary {
        Some(Summary { hash, roles, rules, words, memory_bytes, generation_bytes, .. })
            if errors == 0 =>
        {
            let memory = [memory_bytes, generation_bytes].map(units::memory);
            let hash = crate::report::status::short_hash(&hash).to_owned();
            context.out.line(&format!(
                "ok      {what}   policy {hash}   {}: {}, {words}   {} of kernel memory, {} a generation{found}",
                roles.join(", "),
                units::plural(rules, "rule"),
                memory[0],
                memory[1],
            ))
        }
        _ => {
            context.out.note(&format!("refused {what}{found}; nothing was changed"));
            Ok(())
        }
    }
}

/// Annotations of a pull request, as GitHub's runner reads them.
fn github(diagnostics: &[Diagnostic]) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let line = |one: &Diagnostic| {
        let kind = match one.code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = one.labels.first().map_or(String::new(), |label| {
            let (span, name) = (&label.span, escaped(&label.span.source.name));
            format!(
                " file={name},line={},col={},title={}",
                span.line(),
                span.column(),
                one.code.id()
            )
        });
        let help = one.help.as_ref().map_or(String::new(), |help| format!("\nhelp: {help}"));
        format!("::{kind}{place}::{}\n", escaped(&format!("{}{help}", one.message)))
    };
    diagnostics.iter().map(line).collect()
}

/// Prints a report, as JSON as well if that is asked for, and says how the command ends.
pub(super) fn refused(
    context: &Context,
    report: &Report,
    what: &str,
    Json { json }: Json,
) -> anyhow::Error {
    if json {
        let Report { diagnostics, hidden } = report;
        let document = Document { schema: SCHEMA, policy: None, diagnostics, hidden: *hidden };
        // The exit code says the same to whom this does not reach.
        let _told = context.out.json(&document);
    }
    context.out.diagnostics(&format!("{}\n", report.render(context.out.style())));
    let errors = report.diagnostics.iter().filter(|one| one.is_error()).count() + report.hidden;
    Failure::new(format!(
        "{what} is refused: {}; nothing was changed",
        units::plural(errors, "error")
    ))
    .into()
}

#[cfg(test)]
mod tests {
    use firewall_policy::codes::Code;

    use super::*;

    #[test]
    fn annotations_are_one_line_each() {
        let one = Diagnostic::new(Code::NoSuchFile, "100 % gone\nreally").help("look");
        assert_eq!(github(&[one]), "::error::100 %25 gone%0Areally%0Ahelp: look\n");
    }
}
