//! `firewall rules`.

use anyhow::Result;

use super::client::Numbers;
use super::{Context, Json, Watch, repeat};
use crate::failure::{Exit, Failure};
use crate::report::Snapshot;
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

/// A role that is not in force has no rules, and a slip of the fingers should say so.
fn known_role(snapshot: &Snapshot, role: Option<&str>) -> Result<(), Failure> {
    let roles = snapshot.policy.as_ref().map(|policy| policy.roles.as_slice()).unwrap_or_default();
    match role {
        Some(role) if !roles.iter().any(|known| known == role) => {
            let failure = Failure::new(format!("no role called `{role}` is in force here"));
            Err(match roles {
                [] => failure,
                roles => failure.help(format!("in force: {}", roles.join(", "))),
            })
        }
        _ => Ok(()),
    }
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let selection = Selection {
        unused: arguments.unused,
        by_hits: arguments.sort == "hits",
        role: arguments.role.clone(),
        name: None,
    };
    let mut numbers = Numbers::open(context)?;
    repeat(context, (arguments.watch, arguments.json), || {
        let snapshot = numbers.snapshot(context)?;
        known_role(&snapshot, arguments.role.as_deref())?;
        if arguments.json.json {
            context.out.json(&rules::rules_json(&snapshot, &selection))
        } else {
            context.out.screen(
                &rules::rules_text(&snapshot, &selection, context.out.width()),
                arguments.watch,
            )
        }
    })?;
    Ok(Exit::Ok)
}
