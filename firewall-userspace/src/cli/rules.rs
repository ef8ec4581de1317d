//! `firewall rules`.

use anyhow::Result;

use super::client::Numbers;
use super::{Context, Json, Watch, repeat};
use crate::failure::Exit;
use crate::report::rules::{self, Selection};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall rules --sort hits                  busiest first
  firewall rules --unused                     candidates for removal")]
pub(super) struct Arguments {
    /// Only rules that never decided a packet
    #[arg(long)]
    unused: bool,
    /// Order; `file` is the order in which rules win
    #[arg(long, value_parser = ["file", "hits"], default_value = "file")]
    sort: String,
    /// Only rules of a role
    #[arg(long)]
    role: Option<String>,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    json: Json,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let selection = Selection {
        unused: arguments.unused,
        by_hits: arguments.sort == "hits",
        role: arguments.role.clone(),
        name: None,
    };
    let mut numbers = Numbers::open(context)?;
    repeat(context, arguments.watch, || {
        let snapshot = numbers.snapshot(context)?;
        if arguments.json.json {
            context.out.json(&rules::rules_json(&snapshot, &selection))
        } else {
            context.out.screen(&rules::rules_text(&snapshot, &selection))
        }
    })?;
    Ok(Exit::Ok)
}
