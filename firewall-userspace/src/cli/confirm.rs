//! `firewall confirm` and `firewall rollback`: the two ends of a trial.

use anyhow::Result;
use serde::Serialize;

use super::client::{open_store, tell_agent};
use super::{Context, Json};
use crate::collect::Known;
use crate::confirmed;
use crate::enforce::{self, Attached};
use crate::failure::{Exit, Failure, as_root};
use crate::host::users;
use crate::kernel::meta::Meta;
use crate::kernel::store::Store;
use crate::kernel::trial::Trial;
use crate::lock::Lock;
use crate::paths;
use crate::report::snapshot::SCHEMA;
use crate::report::status::short_hash;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall confirm            from a NEW session: the old proves nothing
  sudo firewall confirm 43-9c1f    only if that is the policy on trial

Exit code 0 confirmed or nothing on trial, 1 another policy is on trial, 3 too
late: the kernel has returned to the policy before it.")]
pub(super) struct Confirm {
    /// What `apply --confirm-within` printed
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall rollback            end the trial now

Returns to the policy before `apply --confirm-within`. Where nothing was
enforced before, every interface is let go. A policy that is confirmed is taken
back by applying the files before it.")]
pub(super) struct Rollback {
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Common {
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

/// What makes a copy for the next boot that is missing.
const RETRY: &str = "`firewall apply` keeps it, once the disk has room";

#[derive(Serialize)]
struct Document {
    schema: u32,
    dry_run: bool,
    changed: bool,
    generation: Option<u64>,
    hash: Option<String>,
}

pub(super) fn confirm(context: &Context, arguments: &Confirm) -> Result<Exit> {
    let Common { dry_run, .. } = arguments.common;
    let _lock = lock("confirm")?;
    let store = pinned(context)?;
    let wanted = arguments.token.as_deref();
    let Some(Trial { candidate, before, left }) = store.trial()? else {
        let meta = store.meta()?;
        if let Some(token) = wanted
            && meta.as_ref().and_then(|meta| meta.token.as_deref()) != Some(token)
        {
            return Err(not_on_trial(token, meta.as_ref()).exit(Exit::Unconfirmed).into());
        }
        let text = format!("nothing to do: {} is confirmed", name(meta.as_ref()));
        let mut exit = Exit::Ok;
        // What the disk had no room for is not made by asking again.
        if let Some(meta) = &meta
            && !confirmed::is_of(&meta.hash)
        {
            context.out.note(&format!("warning: the next boot enforces another policy; {RETRY}"));
            exit = Exit::Error;
        }
        return report(context, arguments.common, false, meta.as_ref(), &text, exit);
    };
    // Before the token: whichever it is, the policy on trial is in force no more.
    if left.is_none() {
        if !dry_run {
            store.roll_back()?;
        }
        let (late, back) = (name(Some(&candidate)), name(before.as_ref()));
        return Err(Failure::new(format!("too late: {late} was not confirmed in time"))
            .detail(format!("in force: {back}"))
            .help("sudo firewall apply --confirm-within 60s")
            .exit(Exit::Unconfirmed)
            .into());
    }
    if let Some(token) = wanted
        && candidate.token.as_deref() != Some(token)
    {
        return Err(not_on_trial(token, Some(&candidate)).into());
    }
    let text = format!("{} is confirmed", name(Some(&candidate)));
    if dry_run {
        let text = format!("would confirm {}", name(Some(&candidate)));
        return report(context, arguments.common, true, Some(&candidate), &text, Exit::Findings);
    }
    store.confirm();
    let mut exit = Exit::Ok;
    if let Err(error) = confirmed::choose(&candidate.hash) {
        context.out.note(&format!(
            "warning: the next boot enforces what was kept before: {error:#}; {RETRY}"
        ));
        exit = Exit::Error;
    }
    align(context, &store, candidate.clone())?;
    report(context, arguments.common, true, Some(&candidate), &text, exit)
}

pub(super) fn rollback(context: &Context, arguments: &Rollback) -> Result<Exit> {
    let common = arguments.common;
    let _lock = lock("rollback")?;
    let store = pinned(context)?;
    let Some(Trial { candidate, before, .. }) = store.trial()? else {
        return Err(Failure::new(format!(
            "nothing is on trial: {} is confirmed",
            name(store.meta()?.as_ref())
        ))
        .help("put the files of the policy before it back, then `firewall apply`")
        .into());
    };
    let (from, to) = (name(Some(&candidate)), name(before.as_ref()));
    if common.dry_run {
        let text = format!("would return from {from} to {to}");
        return report(context, common, true, before.as_ref(), &text, Exit::Findings);
    }
    store.roll_back()?;
    match &before {
        Some(before) => align(context, &store, before.clone())?,
        None => {
            store.detach(None)?;
        }
    }
    let text = format!("rolled back from {from} to {to}");
    report(context, common, true, before.as_ref(), &text, Exit::Ok)
}

fn lock(purpose: &str) -> Result<Lock> {
    if users::effective_uid() != 0 {
        return Err(Failure::not_permitted("only root may change what is enforced")
            .help(as_root())
            .into());
    }
    Lock::take(&paths::lock(), purpose)
}

fn pinned(context: &Context) -> Result<Store> {
    open_store(context)?
        .ok_or_else(|| Failure::new("nothing is pinned: there is no policy on trial").into())
}

/// Interfaces that only the policy in force, or only the other one, names.
fn align(context: &Context, store: &Store, meta: Meta) -> Result<()> {
    let Attached { removed, failed, .. } =
        enforce::interfaces(store, &Known::new(meta).remembered)?;
    for name in removed {
        context.out.note(&format!("detached {name}: the policy does not name it"));
    }
    for (name, error) in failed {
        context.out.note(&format!("warning: {name} is OPEN: {error:#}"));
    }
    tell_agent(context, true);
    Ok(())
}

fn not_on_trial(token: &str, meta: Option<&Meta>) -> Failure {
    Failure::new(format!("{token} is not on trial"))
        .detail(format!("in force: {}", name(meta)))
        .help("firewall status")
}

fn name(meta: Option<&Meta>) -> String {
    match meta {
        Some(meta) => format!("generation {} (policy {})", meta.generation, short_hash(&meta.hash)),
        None => "no policy: every packet passes".to_owned(),
    }
}

fn report(
    context: &Context,
    common: Common,
    changed: bool,
    meta: Option<&Meta>,
    text: &str,
    exit: Exit,
) -> Result<Exit> {
    let printed = if common.json.json {
        context.out.json(&Document {
            schema: SCHEMA,
            dry_run: common.dry_run,
            changed,
            generation: meta.map(|meta| meta.generation),
            hash: meta.map(|meta| meta.hash.clone()),
        })
    } else {
        context.out.line(text)
    };
    context.out.told(printed, (changed && !common.dry_run).then(|| text.to_owned()))?;
    Ok(exit)
}
