//! `firewall explain-code`.

use anyhow::Result;
use firewall_policy::codes::Code;
use serde::Serialize;

use super::{Context, Json};
use crate::failure::{Exit, Failure};
use crate::report::snapshot::SCHEMA;
use crate::report::table::{Align, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall explain-code E0203
  firewall explain-code                       every code, one per line")]
pub(super) struct Arguments {
    /// The code in brackets behind `error` or `warning`
    code: Option<String>,
    #[command(flatten)]
    json: Json,
}

#[derive(Serialize)]
struct Explained {
    code: &'static str,
    severity: &'static str,
    title: &'static str,
    explanation: &'static str,
    example: &'static str,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    codes: Vec<Explained>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let codes = match &arguments.code {
        None => Code::ALL.to_vec(),
        Some(id) => vec![Code::from_id(id.trim_matches(['[', ']'])).ok_or_else(|| {
            Failure::new(format!("no error or warning has the code `{id}`"))
                .help("firewall explain-code    lists them all")
        })?],
    };
    if arguments.json.json {
        let codes = codes.into_iter().map(explained).collect();
        context.out.json(&Document { schema: SCHEMA, codes })?;
    } else if let (Some(_), [code]) = (&arguments.code, codes.as_slice()) {
        let Explained { code, severity, title, explanation, example } = explained(*code);
        let example = example.trim_end();
        context.out.line(&format!(
            "{severity}[{code}]: {title}\n\n{}\n\n{example}",
            wrapped(explanation)
        ))?;
    } else {
        let mut table = Table::new([("code", Align::Left), ("", Align::Left), ("", Align::Left)]);
        for code in codes {
            table.row([code.id().into(), code.severity().name().into(), code.title().into()]);
        }
        context.out.text(&table.render())?;
    }
    Ok(Exit::Ok)
}

fn explained(code: Code) -> Explained {
    Explained {
        code: code.id(),
        severity: code.severity().name(),
        title: code.title(),
        explanation: code.explanation(),
        example: code.example(),
    }
}

/// Text in lines of at most 80 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let room = lines.last().map_or(0, |line| line.chars().count());
        if room > 0 && room + word.chars().count() >= 80 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
