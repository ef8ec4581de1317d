//! `firewall attach`.

use anyhow::Result;
use serde::Serialize;

use super::client::{open_store, tell_agent};
use super::{Context, Json};
use crate::collect::Known;
use crate::enforce::{self, Attached, Detached};
use crate::failure::{Exit, Failure, require_root};
use crate::host::interfaces;
use crate::host::selection::Selection;
use crate::lock::Lock;
use crate::paths;
use crate::report::snapshot::SCHEMA;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall attach                     every interface that the policy names
  sudo firewall attach eth1

A running agent attaches new interfaces that the policy names by itself.")]
pub(super) struct Arguments {
    /// Interfaces; without any, all that the policy names
    #[arg(value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    dry_run: bool,
    attached: Vec<String>,
    failed: Vec<String>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    if !arguments.dry_run {
        require_root("only root may change what is enforced")?;
    }
    let store = open_store(context)?;
    let known = store
        .as_ref()
        .map(crate::kernel::store::Store::meta)
        .transpose()?
        .flatten()
        .map(Known::new);
    let (Some(store), Some(known)) = (store, known) else {
        return Err(Failure::new("no policy is loaded: there is nothing to enforce")
            .help("sudo firewall apply")
            .into());
    };
    let remembered = &known.remembered;
    let wanted = Selection::of(&remembered.matches, &remembered.ignore);
    for name in &arguments.interfaces {
        if interfaces::one(name).is_none() {
            return Err(Failure::new(format!("there is no interface `{name}`"))
                .help("ip link")
                .into());
        }
        if !interfaces::selected(name, &remembered.matches, &remembered.ignore) {
            let globs = remembered.matches.join(", ");
            return Err(Failure::new(format!("the policy does not name `{name}`"))
                .detail(format!("interfaces: {{ match: [{globs}] }}"))
                .help("add it there, then `firewall apply`")
                .into());
        }
        if let Some(one) = wanted.elsewhere.iter().find(|one| one.name == *name) {
            return Err(Failure::new(one.text())
                .help(format!("firewall attach {}", one.judged_on.join(" ")))
                .into());
        }
    }
    if arguments.dry_run {
        let links = store.attached()?;
        let open = wanted.judged.into_iter().filter(|one| {
            !links.iter().any(|link| link.ifindex == one.ifindex)
                && (arguments.interfaces.is_empty() || arguments.interfaces.contains(&one.name))
        });
        let attached: Vec<String> = open.map(|one| one.name).collect();
        let exit = if attached.is_empty() { Exit::Ok } else { Exit::Findings };
        report(context, arguments, attached, Vec::new())?;
        return Ok(exit);
    }
    let _lock = Lock::take(&paths::lock(), "attach")?;
    let names = &arguments.interfaces;
    Detached::remove((!names.is_empty()).then_some(names.as_slice()))?;
    let Attached { made, failed, .. } = enforce::interfaces(&store, remembered)?;
    let attached = made.into_iter().map(|(name, links)| {
        let hooks: Vec<&str> = links.iter().map(|link| link.hook.name()).collect();
        format!("{name} ({})", hooks.join(" + "))
    });
    let failed: Vec<String> =
        failed.into_iter().map(|(name, error)| format!("{name} is OPEN: {error:#}")).collect();
    let exit = if failed.is_empty() { Exit::Ok } else { Exit::Error };
    let printed = report(context, arguments, attached.collect(), failed);
    context.out.told(printed, Some("attached what the policy names".to_owned()))?;
    tell_agent(context, false);
    Ok(exit)
}

fn report(
    context: &Context,
    arguments: &Arguments,
    attached: Vec<String>,
    failed: Vec<String>,
) -> Result<()> {
    let dry_run = arguments.dry_run;
    if arguments.json.json {
        return context.out.json(&Document { schema: SCHEMA, dry_run, attached, failed });
    }
    let verb = if dry_run { "would attach" } else { "attached" };
    for name in &attached {
        context.out.line(&format!("{verb} {name}"))?;
    }
    for warning in &failed {
        context.out.note(&format!("error: {warning}"));
    }
    if attached.is_empty() && failed.is_empty() {
        context
            .out
            .line("nothing to do: everything of this host that the policy names is attached")?;
    }
    Ok(())
}
