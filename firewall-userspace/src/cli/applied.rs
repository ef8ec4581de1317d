//! What `firewall apply` says: its document, and the same in words.

use std::time::Duration;

use anyhow::Result;
use firewall_policy::Loaded;
use serde::Serialize;

use super::Context;
use crate::enforce::is_whole;
use crate::failure::Exit;
use crate::host::selection::Selection;
use crate::host::session::Session;
use crate::host::{clock, interfaces};
use crate::kernel::store::Store;
use crate::probe::session::{Reach, reach};
use crate::report::status::short_hash;
use crate::report::units;

/// What it did, as JSON.
#[derive(Default, Serialize)]
pub(super) struct Document {
    pub(super) schema: u32,
    pub(super) changed: bool,
    pub(super) dry_run: bool,
    pub(super) generation: Option<u64>,
    pub(super) before: Option<String>,
    pub(super) hash: String,
    pub(super) tests: usize,
    pub(super) seeded_flows: Option<usize>,
    pub(super) token: Option<String>,
    pub(super) deadline_ms: Option<u64>,
    pub(super) switch_us: Option<u64>,
    pub(super) load_us: Option<u64>,
    pub(super) times_us: Times,
    pub(super) attached: Vec<String>,
    pub(super) detached: Vec<String>,
    /// What the policy does to containers.
    pub(super) containers: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Document {
    /// What is in force, and how it stays so.
    pub(super) fn in_brief(&self) -> String {
        let generation = self.generation.unwrap_or_default();
        let hash = short_hash(&self.hash);
        let trial = self
            .token
            .as_ref()
            .map_or(String::new(), |token| format!(", on trial: firewall confirm {token}"));
        format!("generation {generation} (policy {hash}) is in force{trial}")
    }
}

/// Microseconds that the parts took.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Times {
    /// Reading and checking the files.
    pub(super) read: u64,
    /// Compiling, against what is in force.
    pub(super) compile: u64,
    /// The policy's own tests.
    pub(super) test: u64,
    /// Creating and filling the tables.
    pub(super) tables: u64,
    /// Loading the programs.
    pub(super) verify: u64,
    /// All of installing: tables, programs, metadata, the switch; the copy meanwhile.
    pub(super) install: u64,
    /// Waiting for the copy that the next boot takes, and choosing it.
    pub(super) keep: u64,
}

/// What was done, in words or as JSON.
pub(super) fn report(
    context: &Context,
    json: bool,
    loaded: &Loaded,
    document: &Document,
) -> Result<()> {
    if json {
        return context.out.json(document);
    }
    let printed = lines(context, loaded, document);
    for warning in &document.warnings {
        context.out.note(&format!("warning: {warning}"));
    }
    stacked(context, loaded);
    printed
}

fn lines(context: &Context, loaded: &Loaded, document: &Document) -> Result<()> {
    let hash = short_hash(&document.hash);
    let generation = document.generation.unwrap_or_default();
    let out = &context.out;
    match document.switch_us {
        Some(micros) => out.line(&format!(
            "swapped to generation {generation} (policy {hash}, {}) in {}{}; loaded in {}, {}",
            loaded.policy.roles.join(", "),
            units::elapsed(Duration::from_micros(micros)),
            if document.token.is_some() { " (unconfirmed)" } else { "" },
            units::elapsed(Duration::from_micros(document.load_us.unwrap_or_default())),
            match document.tests {
                0 => "no tests".to_owned(),
                tests => format!("{} passed", units::plural(tests, "test")),
            },
        ))?,
        None if document.attached.is_empty() && document.detached.is_empty() => {
            out.line(&format!(
                "nothing to do: generation {generation} (policy {hash}) says the same"
            ))?;
        }
        None => out.line(&format!("generation {generation} (policy {hash}) stays in force"))?,
    }
    if let Some(flows) = document.seeded_flows {
        let kept = units::plural(flows, "connection");
        out.line(&format!("kept {kept} that this host had opened already"))?;
    }
    for name in &document.attached {
        out.line(&format!("attached {name}"))?;
    }
    for name in &document.detached {
        out.line(&format!(
            "detached {name}: the policy does not name it; every packet passes there"
        ))?;
    }
    if let (Some(token), Some(deadline)) = (&document.token, document.deadline_ms) {
        let back = match &document.before {
            Some(before) => format!("The kernel returns to policy {}", short_hash(before)),
            None => "The kernel lets every packet pass again,".to_owned(),
        };
        let at = clock::Local::of(deadline).as_of(clock::unix_ms());
        out.line(&format!("{back} by itself at {at} unless you run, from a NEW session:"))?;
        out.line(&format!("    firewall confirm {token}"))?;
    }
    Ok(())
}

/// Which interfaces the policy judges.
pub(super) fn selection(loaded: &Loaded) -> Selection {
    let policy = &loaded.policy.interfaces;
    Selection::of(&policy.matches, &policy.ignore)
}

/// Says which interfaces are left out, and which are judged twice.
fn stacked(context: &Context, loaded: &Loaded) {
    let selection = selection(loaded);
    for one in &selection.elsewhere {
        context.out.note(&format!("note: {}", one.text()));
    }
    for double in &selection.doubles {
        context.out.note(&format!("warning: {}", double.text()));
    }
}

/// What would be done.
pub(super) fn dry_run(
    context: &Context,
    json: bool,
    loaded: &Loaded,
    mut document: Document,
    store: Option<&Store>,
) -> Result<Exit> {
    let selection = selection(loaded);
    let links = store.map_or_else(|| Ok(Vec::new()), Store::attached)?;
    let wanted = loaded.policy.interfaces.ingress_hook;
    for one in interfaces::all() {
        let mut hooks =
            links.iter().filter(|link| link.ifindex == one.ifindex).map(|link| link.hook);
        if !selection.judges(&one.name) {
            let goes = hooks.next().is_some() && !selection.judged.is_empty();
            document.detached.extend(goes.then_some(one.name));
        } else if !is_whole(hooks, wanted) {
            document.attached.push(one.name);
        }
    }
    let has_moves = !document.attached.is_empty() || !document.detached.is_empty();
    let exit = if document.changed || has_moves { Exit::Findings } else { Exit::Ok };
    if json {
        context.out.json(&document)?;
        return Ok(exit);
    }
    let hash = short_hash(&document.hash);
    let out = &context.out;
    match &document.before {
        _ if !document.changed && has_moves => {
            out.line(&format!("policy {hash} stays in force"))?;
        }
        _ if !document.changed => out.line(&format!("nothing to do: policy {hash} is in force"))?,
        Some(before) => out.line(&format!("policy {} → {hash}", short_hash(before)))?,
        None => out.line(&format!("no policy → {hash}"))?,
    }
    for name in &document.attached {
        out.line(&format!("would attach {name}"))?;
    }
    for name in &document.detached {
        out.line(&format!("would detach {name}: every packet would pass there"))?;
    }
    stacked(context, loaded);
    if let Some(session) = Session::current() {
        let (peer, port) = (session.peer, session.local.port());
        out.line(&match reach(&loaded.policy, &session) {
            Some(Reach { allowed, by, place, .. }) => {
                let verb = if allowed { "stay connected" } else { "would be CUT" };
                format!("you {verb}: {peer} → :{port} by {by} ({place})")
            }
            None => format!("you stay connected: {peer} → :{port} by an interface without policy"),
        })?;
    }
    if document.changed {
        out.line(&format!(
            "{} passed; nothing was changed",
            units::plural(document.tests, "test")
        ))?;
    }
    Ok(exit)
}
