//! `firewall detach`.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use super::client::{open_store, tell_agent};
use super::{Context, Json};
use crate::enforce::Detached;
use crate::failure::{Exit, Failure, require_root};
use crate::host::interfaces;
use crate::lock::Lock;
use crate::paths;
use crate::report::snapshot::SCHEMA;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall detach eth1
  sudo firewall detach --all                  this host is open afterwards
  sudo firewall attach                        the way back

The policy stays loaded and counted; only the interfaces are let go. Stopping
the service does not detach. Until `attach`, `apply` or a reboot, the agent
does not attach them again.")]
pub(super) struct Arguments {
    /// Interfaces
    #[arg(value_name = "INTERFACE", conflicts_with = "all")]
    interfaces: Vec<String>,
    /// Every interface
    #[arg(long)]
    all: bool,
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
    detached: BTreeSet<String>,
    still_enforcing: BTreeSet<String>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    if arguments.interfaces.is_empty() && !arguments.all {
        return Err(Failure::new("no interface is named")
            .help("firewall detach eth0    or, for every interface, firewall detach --all")
            .into());
    }
    if !arguments.dry_run {
        require_root("only root may change what is enforced")?;
    }
    let Some(store) = open_store(context)? else {
        return Err(Failure::new("nothing is pinned: this host is open already").into());
    };
    let present = interfaces::all();
    let name_of = |ifindex: u32| {
        present.iter().find(|one| one.ifindex == ifindex).map(|one| one.name.clone())
    };
    let links = store.attached()?;
    let attached: BTreeSet<String> =
        links.iter().filter_map(|link| name_of(link.ifindex)).collect();
    for name in &arguments.interfaces {
        if !attached.contains(name) {
            return Err(Failure::new(format!(
                "nothing is attached to `{name}`: it is open already"
            ))
            .help("firewall status    names what is attached")
            .into());
        }
    }
    let wanted = |name: &String| arguments.all || arguments.interfaces.contains(name);
    let (detached, rest): (BTreeSet<String>, BTreeSet<String>) =
        attached.into_iter().partition(|name| wanted(name));
    if !arguments.dry_run {
        let _lock = Lock::take(&paths::lock(), "detach")?;
        // Noted first: the agent must not attach it again in between. Whoever needs to get in has it
        // detached even where that cannot be noted.
        if let Err(error) = Detached::add(detached.iter().cloned()) {
            let again = "a running agent will attach it again: systemctl stop firewall";
            context.out.note(&format!("warning: {error:#}; {again}"));
        }
        for one in present.iter().filter(|one| detached.contains(&one.name)) {
            store.detach(Some(one.ifindex))?;
        }
        tell_agent(context, false);
    }
    let exit = if arguments.dry_run && !detached.is_empty() { Exit::Findings } else { Exit::Ok };
    let names: Vec<&str> = detached.iter().map(String::as_str).collect();
    let change =
        (!arguments.dry_run && !names.is_empty()).then(|| format!("detached {}", names.join(", ")));
    context.out.told(report(context, arguments, detached, rest), change)?;
    Ok(exit)
}

fn report(
    context: &Context,
    arguments: &Arguments,
    detached: BTreeSet<String>,
    rest: BTreeSet<String>,
) -> Result<()> {
    let dry_run = arguments.dry_run;
    if arguments.json.json {
        let document = Document { schema: SCHEMA, dry_run, detached, still_enforcing: rest };
        return context.out.json(&document);
    }
    let verb = if dry_run { "would detach" } else { "detached" };
    for name in &detached {
        context.out.line(&format!("{verb} {name}: every packet passes there, in and out"))?;
    }
    let rest: Vec<String> = rest.into_iter().collect();
    context.out.line(&match rest.as_slice() {
        [] if dry_run => "this host would be OPEN: nothing enforced on any interface".to_owned(),
        [] => "this host is OPEN: nothing is enforced on any interface".to_owned(),
        rest => format!("still enforcing on {}", rest.join(", ")),
    })?;
    if !dry_run {
        context.out.line("the way back: firewall attach")?;
    }
    Ok(())
}
