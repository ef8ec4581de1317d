//! `firewall apply`.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use firewall_policy::Loaded;
use firewall_policy::compile::parallel;
use firewall_policy::diagnostic;

use super::applied::{Document, Times, dry_run, report, selection};
use super::client::{open_store, tell_agent};
use super::work::{Work, micros};
use super::{Context, Json, refusals, value};
use crate::candidate::{self, Origin, Wanted};
use crate::confirmed::{self, Confirmed, Kept};
use crate::enforce::{self, Attached, Detached, Ready};
use crate::failure::{Exit, require_root};
use crate::forwarded::Forwarded;
use crate::host::containers::Containers;
use crate::host::{clock, interfaces, process, users};
use crate::kernel::store::Store;
use crate::lock::Lock;
use crate::paths;
use crate::remembered::Remembered;
use crate::report::snapshot::SCHEMA;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall apply                 what host.yaml and its roles say
  sudo firewall apply rules/web.yaml  one role file, without host.yaml
  sudo firewall apply --dry-run       check, test, compare; change nothing
  sudo firewall apply --confirm-within 60s
                                      taken back by the kernel, if not confirmed

The policy is read, checked, compiled and tested first; any error leaves what
is enforced as it is. The swap is one store for both directions and all CPUs.
A policy equal to the one in force changes nothing. Exit code 0 done or
nothing to do, 1 refused, 2 --dry-run found changes, 3 in force, unconfirmed.")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Return to the policy before it after this time (24h at most), unless `firewall confirm`
    /// comes first; the kernel does it, whoever is alive
    #[arg(long, value_name = "TIME", value_parser = trial)]
    pub(super) confirm_within: Option<Duration>,
    /// Load it even if it is the one in force: a new binary brings new programs
    #[arg(long)]
    again: bool,
    /// Apply even if that cuts the SSH session you are typing in
    #[arg(long)]
    pub(super) i_have_console: bool,
    /// Apply even if this host is not in the group of its role
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    json: Json,
    /// Who applies, if not the user who logged in (the agent says so)
    #[arg(long = "as", value_name = "WHO", hide = true)]
    on_behalf_of: Option<String>,
    /// Why it is applied, if nobody asked for another policy
    #[arg(long, hide = true)]
    pub(super) occasion: Option<Occasion>,
}

/// Why a policy is applied that nobody has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Occasion {
    /// Nothing is pinned. A failed test is a warning, and interfaces may come later.
    Boot,
    /// A new interface that rules may name: what was confirmed last is loaded again.
    Interface,
    /// A new binary: what was confirmed last is loaded again, with its programs.
    Upgrade,
}

/// Longest trial: one that is forgotten for longer is no trial.
const LONGEST: Duration = Duration::from_hours(24);

fn trial(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        time if time > LONGEST => Err("a policy is on trial for 24h at most".to_owned()),
        time => Ok(time),
    }
}

impl Arguments {
    /// What a boot does with a policy.
    pub(super) fn at_boot(wanted: Wanted, who: &str, json: Json) -> Self {
        Self {
            wanted,
            dry_run: false,
            confirm_within: None,
            again: false,
            i_have_console: true,
            force: true,
            json,
            on_behalf_of: Some(who.to_owned()),
            occasion: Some(Occasion::Boot),
        }
    }

    /// Whether the host boots: worse off without a policy, and perhaps not whole yet.
    pub(super) fn boots(&self) -> bool {
        self.occasion == Some(Occasion::Boot)
    }
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    // The same again means what is enforced, not what the files say since.
    let last = match arguments.occasion {
        Some(Occasion::Interface | Occasion::Upgrade) => confirmed::last()?,
        _ => None,
    };
    match last {
        Some(Confirmed { config, wanted }) => apply(context, &config, &wanted, arguments),
        None => apply(context, &context.config, &arguments.wanted, arguments),
    }
}

/// Applies a policy of the files in `config`.
pub(super) fn apply(
    context: &Context,
    config: &Path,
    wanted: &Wanted,
    arguments: &Arguments,
) -> Result<Exit> {
    refusals::other_versions(context)?;
    process::hoard();
    let what = wanted.words();
    let work = Work::new(context.out);
    let mut times = Times::default();
    let read = || candidate::read_with_origin(config, wanted);
    let (read, took) = work.part("reading and checking the rules", read);
    times.read = took;
    let read =
        read.map_err(|report| super::check::refused(context, &report, &what, arguments.json));
    // A hundred thousand rules are freed sooner by the end of the process, which is near.
    let (loaded, origin) = &*ManuallyDrop::new(read?);
    require_root(if arguments.dry_run {
        "only root may load programs and read what is enforced"
    } else {
        "only root may change what is enforced"
    })?;
    let purpose = format!("apply {what}");
    let _lock = (!arguments.dry_run).then(|| Lock::take(&paths::lock(), &purpose)).transpose()?;
    let store = open_store(context)?;
    if let Some(store) = &store
        && !arguments.dry_run
    {
        refusals::trial(store)?;
    }
    let compile = || Ready::new(store.as_ref(), &loaded.policy);
    let (ready, took) = work.part("compiling", compile);
    times.compile = took;
    let mut ready = ManuallyDrop::new(ready?);
    let mut document = announce(context, arguments, loaded, &ready);
    refusals::misfit(context, loaded, (store.as_ref(), ready.is_in_force()), arguments)?;
    if !ready.is_in_force() {
        let test = || refusals::tests(context, loaded, &ready, arguments);
        let (passed, took) = work.part("running the policy's tests", test);
        times.test = took;
        document.tests = passed?;
        refusals::session(context, loaded, arguments)?;
    }
    document.times_us = times;
    if arguments.dry_run {
        return dry_run(context, arguments.json.json, loaded, document, store.as_ref());
    }
    swap(context, arguments, (loaded, origin), store, &mut ready, &mut document, &work)?;
    drop(work);
    let printed = report(context, arguments.json.json, loaded, &document);
    context.out.told(printed, Some(document.in_brief()))?;
    // At boot the agent waits for this process, and looks then.
    if !arguments.boots() {
        tell_agent(context, true);
    }
    Ok(match document {
        Document { warnings, .. } if !warnings.is_empty() => Exit::Error,
        Document { token: Some(_), .. } => Exit::Unconfirmed,
        _ => Exit::Ok,
    })
}

/// What is known before anything is changed. Says what warns, and what containers will feel.
fn announce(context: &Context, arguments: &Arguments, loaded: &Loaded, ready: &Ready) -> Document {
    let warnings = diagnostic::render(&loaded.warnings, context.out.style());
    if !warnings.is_empty() {
        context.out.diagnostics(&format!("{warnings}\n"));
    }
    let is_new = !ready.is_in_force();
    let containers = if is_new { containers(loaded, ready) } else { Vec::new() };
    for sentence in &containers {
        context.out.note(&format!("containers: {sentence}"));
    }
    Document {
        schema: SCHEMA,
        dry_run: arguments.dry_run,
        changed: is_new || arguments.again || arguments.occasion.is_some(),
        before: ready.before.as_ref().map(|meta| meta.hash.clone()),
        hash: ready.generation.hash.clone(),
        containers,
        ..Document::default()
    }
}

/// Loads it and switches to it, while a copy is made for the next boot.
fn swap(
    context: &Context,
    arguments: &Arguments,
    (loaded, origin): (&Loaded, &Origin),
    store: Option<Store>,
    ready: &mut Ready,
    document: &mut Document,
    work: &Work,
) -> Result<()> {
    let on_trial = arguments.confirm_within.is_some();
    let hash = ready.generation.hash.clone();
    // A copy waits for a disk, and the verifier for nobody.
    let ((kept, installed), took) = work.part("loading", || {
        let copy = || copy(origin, &hash, on_trial);
        let install = || change(context, arguments, loaded, store, ready, document);
        parallel::both(true, copy, install)
    });
    document.times_us.install = took;
    if let Err(error) = installed {
        if let Ok(Some(kept)) = kept {
            kept.discard();
        }
        return Err(error);
    }
    let ((), took) = work.part("choosing the rules for the next boot", || keep(kept, document));
    document.times_us.keep = took;
    Ok(())
}

/// Copies what will be enforced for the next boot, unless that has it already.
fn copy(origin: &Origin, hash: &str, on_trial: bool) -> Result<Option<Kept>> {
    if !on_trial && confirmed::is_chosen(origin, hash) {
        return Ok(None);
    }
    confirmed::keep(origin, hash).map(Some)
}

/// Lets the next boot take what is enforced. A trial is chosen when it is confirmed.
fn keep(kept: Result<Option<Kept>>, document: &mut Document) {
    let chosen = match kept {
        Ok(Some(_)) if document.token.is_none() => confirmed::choose(&document.hash),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = chosen {
        document.warnings.push(format!("the next boot enforces what was kept before: {error:#}"));
    }
}

/// What the policy does to containers, a sentence each.
fn containers(loaded: &Loaded, ready: &Ready) -> Vec<String> {
    let found = Containers::of_this_host();
    let mut sentences = Forwarded::by_generation(&found, &ready.generation).sentences();
    let judged = selection(loaded).judged.into_iter();
    sentences.extend(judged.filter(interfaces::is_bridged).map(|one| {
        let name = one.name;
        format!(
            "{name} is part of a bridge: what containers send is judged there, by their addresses"
        )
    }));
    sentences
}

fn change(
    context: &Context,
    arguments: &Arguments,
    loaded: &Loaded,
    store: Option<Store>,
    ready: &mut Ready,
    document: &mut Document,
) -> Result<()> {
    let policy = &loaded.policy;
    let mut store = match store {
        Some(store) if !document.changed => store,
        // Also completes what a crash has left half made.
        _ => enforce::create(&context.pins, policy, ready)?,
    };
    let seeded = enforce::seed(&store, loaded)?;
    document.seeded_flows = seeded;
    if document.changed {
        let who = arguments.on_behalf_of.clone().unwrap_or_else(users::who);
        let trial = arguments.confirm_within;
        let installed = enforce::install(&mut store, ready, policy, who, trial);
        let installed = ManuallyDrop::new(installed?);
        document.generation = Some(installed.meta.generation);
        document.switch_us = Some(micros(installed.timings.switch));
        document.load_us = Some(micros(installed.timings.tables + installed.timings.load));
        document.times_us.tables = micros(installed.timings.tables);
        document.times_us.verify = micros(installed.timings.load);
        document.token.clone_from(&installed.meta.token);
        document.deadline_ms = trial.map(|time| clock::unix_ms() + micros(time) / 1000);
    } else {
        document.generation = ready.before.as_ref().map(|meta| meta.generation);
    }
    Detached::remove(None)?;
    let Attached { made, removed, failed } = enforce::interfaces(&store, &Remembered::of(policy))?;
    document.attached = made.into_iter().map(|(name, _)| name).collect();
    document.detached = removed;
    document.warnings =
        failed.into_iter().map(|(name, error)| format!("{name} is OPEN: {error:#}")).collect();
    if store.attached()?.is_empty() && document.warnings.is_empty() {
        let globs = policy.interfaces.matches.join(", ");
        let none =
            format!("no interface of this host matches `interfaces: {{ match: [{globs}] }}`");
        if arguments.boots() {
            context.out.note(&format!("{none} yet"));
        } else {
            document.warnings.push(format!("{none}: every packet passes"));
        }
    }
    Ok(())
}
