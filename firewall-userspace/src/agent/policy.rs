//! What is enforced: adopted at start, changed by a child process.
//!
//! Checking, compiling and loading a policy takes memory and time that the agent
//! does not want to have spent, so it runs `firewall apply`, which also means
//! that there is one way to change a policy. The agent serves meanwhile.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use firewall_policy::ir::Policy;
use tokio::process::Command;

use super::run::Settings;
use super::state::State;
use crate::candidate::{self, Wanted};
use crate::collect::Known;
use crate::enforce::{self, Attached, Ready};
use crate::failure::Failure;
use crate::kernel::store::Store;
use crate::paths;
use crate::report::status::short_hash;
use crate::settle;

/// Keys of [`State::warnings`].
const FILES: &str = "files";
const INTERFACES: &str = "interfaces";

/// A policy that has stood for so long has its judges attached.
const STANDS: Duration = Duration::from_secs(5);

/// Why the agent changes a policy: what it tells `apply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Nothing is pinned: what was confirmed last.
    Boot,
    /// Somebody asked for it.
    Reload,
    /// Rules name interfaces, and there is a new one: what was confirmed last again.
    Interface,
}

impl Occasion {
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Boot => &["boot", "--as", "agent at boot"],
            Self::Reload => &["apply", "--as", "agent, asked to reload"],
            Self::Interface => {
                &["apply", "--as", "agent, for a new interface", "--occasion", "interface"]
            }
        }
    }
}

/// What is pinned, or else what was confirmed last, or else what the files say.
///
/// A pinned policy is adopted as it is: starting an agent changes nothing.
///
/// # Errors
/// If nothing is pinned and neither can be enforced.
pub(super) async fn start(settings: &Settings) -> Result<State> {
    let pinned = || -> Result<Option<(Store, Known)>> {
        let Some(store) = Store::open(&settings.pins)? else { return Ok(None) };
        let meta = store.meta()?;
        Ok(meta.map(|meta| (store, Known::new(meta))))
    };
    let (store, known) = if let Some((store, known)) = pinned()? {
        let (number, hash) = (known.meta.generation, short_hash(&known.meta.hash));
        let by = &known.meta.applied_by;
        log::info!("adopting generation {number} (policy {hash}), applied by {by}");
        (store, known)
    } else {
        apply(settings, Occasion::Boot).await?;
        pinned()?.context("nothing is pinned after the policy was applied")?
    };
    let (policy, warning) = compare(&store, &settings.config);
    let mut state = State::new(settings.pins.clone(), store, known, policy)?;
    note(&mut state, FILES, warning);
    Ok(state)
}

/// Runs `firewall apply` or `boot`, and logs what it says.
///
/// # Errors
/// With what it said, if it failed; what is enforced stays.
pub(super) async fn apply(settings: &Settings, occasion: Occasion) -> Result<String> {
    // The directory of this ABI version stands in the one that the environment
    // names.
    let root = settings.pins.directory().parent().unwrap_or(settings.pins.directory());
    let output = Command::new("/proc/self/exe")
        .args(occasion.arguments())
        .env("FIREWALL_CONFIG", &settings.config)
        .env("FIREWALL_PINS", root)
        .env("FIREWALL_RUN", paths::run())
        .env("FIREWALL_STATE", paths::state())
        .env("NO_COLOR", "1")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::null())
        .output()
        .await
        .context("could not run `firewall apply`")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    if !output.status.success() {
        return Err(Failure::new("the policy was not applied; what is enforced stays")
            .detail(complained)
            .into());
    }
    if !complained.is_empty() {
        log::warn!("{complained}");
    }
    log::info!("{said}");
    Ok(said)
}

/// The policy of the files if it is the one in force, else a warning.
fn compare(store: &Store, config: &Path) -> (Option<Policy>, Option<String>) {
    let loaded = candidate::read(config, &Wanted::default()).map_err(|report| anyhow!("{report}"));
    let config = config.display();
    let ready = loaded.and_then(|loaded| Ok((Ready::new(Some(store), &loaded.policy)?, loaded)));
    match ready {
        Ok((ready, loaded)) if ready.is_in_force() => (Some(loaded.policy), None),
        Ok((ready, _)) => {
            let hash = ready.generation.short_hash();
            let warning =
                format!("the files in {config} say policy {hash}: `firewall apply` takes them");
            (None, Some(warning))
        }
        Err(error) => {
            log::warn!("the files in {config} cannot be used; what is enforced stays\n{error:#}");
            let warning =
                format!("the files in {config} cannot be used: `firewall check` says why");
            (None, Some(warning))
        }
    }
}

/// Looks again at what somebody has changed.
///
/// # Errors
/// If the pins cannot be read.
pub(super) fn refresh(state: &mut State, settings: &Settings) -> Result<()> {
    if let (Some(listen), Some(wanted)) = (&state.listen, settings.metrics_address()) {
        listen.send_if_modified(|address| std::mem::replace(address, wanted) != wanted);
    }
    let store = Store::open(&state.pins)?.context("the pins are gone")?;
    let before = state.known.meta.generation;
    let (policy, warning) = compare(&store, &settings.config);
    state.adopt(store, policy)?;
    note(state, FILES, warning);
    let meta = &state.known.meta;
    if meta.generation != before {
        let (number, hash, by) = (meta.generation, short_hash(&meta.hash), &meta.applied_by);
        log::info!("generation {number} (policy {hash}) is in force, applied by {by}");
    }
    Ok(())
}

/// Brings the interfaces into line with the policy; true if a new one came that
/// rules may name.
///
/// # Errors
/// If the pins cannot be read.
pub(super) fn attach(state: &mut State) -> Result<bool> {
    let remembered = &state.known.remembered;
    let Attached { made, removed, failed } = enforce::interfaces(&state.store, remembered)?;
    for (name, links) in &made {
        let hooks: Vec<&str> = links.iter().map(|link| link.hook.name()).collect();
        log::info!("attached {name}: {}", hooks.join(" + "));
    }
    for name in removed {
        log::warn!("detached {name}: the policy does not name it");
    }
    let renew = !made.is_empty() && remembered.asks_interface;
    let warning = failed.first().map(|(name, error)| format!("{name} is OPEN: {error:#}"));
    if let Some(warning) = &warning
        && state.warnings.get(INTERFACES) != Some(warning)
    {
        log::error!("{warning}");
    }
    note(state, INTERFACES, warning);
    Ok(renew)
}

/// Attaches the judges of a policy that stands, which spares each packet a tail call.
pub(super) fn settle(state: &mut State) {
    if !state.has_stood(STANDS) {
        return;
    }
    match settle::settle(&state.store, &mut state.refused) {
        Ok(0) => {}
        Ok(changed) => {
            log::info!("the policy stands: its programs are attached themselves ({changed} links)");
        }
        Err(error) => log::warn!("a root program stays attached: {error:#}"),
    }
}

fn note(state: &mut State, about: &'static str, warning: Option<String>) {
    match warning {
        Some(warning) => state.warnings.insert(about, warning),
        None => state.warnings.remove(about),
    };
}
