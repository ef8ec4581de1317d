//! Changing what is enforced: install a policy, attach, detach.
//!
//! Everything goes through the pins, under one lock, whether the agent lives or
//! not; an agent is told afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::abi::tables::Setting;
use firewall_policy::Loaded;
use firewall_policy::compile::{Generation, SlotTable};
use firewall_policy::ir::{Action, IngressHook, Policy};

use crate::candidate::{self, Pinned};
use crate::host::selection::Selection;
use crate::host::{clock, interfaces};
use crate::kernel::attach::{Attachment, Hook};
use crate::kernel::flows::Idle;
use crate::kernel::generation::Timings;
use crate::kernel::maps::Capacity;
use crate::kernel::meta::{Before, Meta};
use crate::kernel::pins::Pins;
use crate::kernel::store::Store;
use crate::kernel::sys;
use crate::lock::Lock;
use crate::paths;
use crate::remembered::Remembered;

/// A policy that is ready to be installed.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Compiled.
    pub generation: Generation,
    /// Counter slots as they will be.
    slots: SlotTable,
    /// What is in force now; its counter slots are in the others.
    pub before: Option<Before>,
}

impl Ready {
    /// Compiles a policy against what is pinned now.
    pub(crate) fn new(store: Option<&Store>, policy: &Policy) -> Result<Self> {
        let mut before = store.map_or(Ok(None), Store::before)?;
        let slots = before.as_mut().map(|meta| std::mem::take(&mut meta.slots));
        let mut slots = slots.unwrap_or_default();
        let free = store.map_or(0, Store::free_slot);
        let told = store.map_or(Ok(None), |store| store.told(free))?;
        let seed = match &told {
            Some(told) => told[Setting::Seed as usize],
            None => sys::halves(sys::random()?)[0],
        };
        let flows = store.map(Store::flow_capacity).transpose()?;
        let pinned = Pinned { slot: free, seed, told, flows };
        let generation = candidate::compile(policy, &pinned, &mut slots)?;
        Ok(Self { generation, slots, before })
    }

    /// Whether the policy is the one in force.
    pub(crate) fn is_in_force(&self) -> bool {
        self.before.as_ref().is_some_and(|meta| meta.hash == self.generation.hash)
    }
}

/// What installing a policy did.
#[derive(Debug)]
pub(crate) struct Installed {
    /// Its metadata.
    pub meta: Meta,
    /// How long the parts took.
    pub timings: Timings,
}

/// Makes a policy the one in force, for good or on trial for so long. Interfaces
/// stay as they are. Rules and slots move from what was ready to the metadata.
///
/// # Errors
/// Nothing in force has changed then.
pub(crate) fn install(
    store: &mut Store,
    ready: &mut Ready,
    policy: &Policy,
    applied_by: String,
    trial: Option<Duration>,
) -> Result<Installed> {
    let slots = std::mem::take(&mut ready.slots);
    let (generation, before) = (&mut ready.generation, &ready.before);
    let capacity = Capacity::new(store.flow_capacity()?, slots.rules(), slots.requests())?;
    let word = |action: Action| match action {
        Action::Allow => "allow".to_owned(),
        Action::Drop => "drop".to_owned(),
    };
    let number = before.as_ref().map_or(1, |before| before.generation + 1);
    let token = |_| anyhow::Ok(format!("{number}-{:04x}", sys::random()? >> 48));
    let token = trial.map(token).transpose()?;
    let mut meta = Meta {
        generation: number,
        slot: 0,
        hash: generation.hash.clone(),
        roles: policy.roles.clone(),
        files: candidate::files(policy),
        applied_at: clock::unix_ms() / 1000,
        applied_by,
        defaults: [policy.ingress.default, policy.egress.default].map(word),
        rules: std::mem::take(&mut generation.rules),
        slots,
        capacity,
        generation_bytes: generation.memory.generation_bytes(),
        memory_bytes: generation.memory.total_bytes(),
        token,
        agent: serde_json::to_value(Remembered::of(policy))?,
    };
    let _links = Lock::wait(&paths::links_lock(), "apply")?;
    let timings = store.install(generation, &mut meta, trial)?;
    Ok(Installed { meta, timings })
}

/// Opens the pinned firewall, or makes one for a policy.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn create(pins: &Pins, policy: &Policy, ready: &Ready) -> Result<Store> {
    let (rules, requests) = (ready.slots.rules(), ready.slots.requests());
    Store::create(pins, &Capacity::new(policy.state.flows, rules, requests)?)
}

/// What became of the interfaces.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    /// Newly attached: name, and how.
    pub made: Vec<(String, Vec<Attachment>)>,
    /// Detached, because the policy does not name them any more, or they are
    /// gone.
    pub removed: Vec<String>,
    /// Could not be attached, and why.
    pub failed: Vec<(String, anyhow::Error)>,
}

/// Brings the interfaces into line with the policy in force: attaches those it
/// names, lets go of the others if there is one that it names. Those that the operator has
/// detached are left alone. During a trial nothing is let go: the policy to return to may name it.
///
/// # Errors
/// If the pins cannot be read; an interface that refuses is reported apart.
pub(crate) fn interfaces(store: &Store, remembered: &Remembered) -> Result<Attached> {
    let links = store.attached()?;
    let present = interfaces::all();
    let detached = Detached::read();
    let on_trial = store.trial()?.is_some();
    let mut outcome = Attached::default();
    let wanted = Selection::of(&remembered.matches, &remembered.ignore);
    let hooks =
        |ifindex| links.iter().filter(move |link| link.ifindex == ifindex).map(|link| link.hook);
    // Where none is there that the policy names, what is judged stays so: one may have been renamed.
    let lets_go = !on_trial && !wanted.judged.is_empty();
    // First: the kernel takes no XDP program below an interface that has one.
    for one in present.iter().filter(|one| lets_go && !wanted.judges(&one.name)) {
        if hooks(one.ifindex).next().is_some() {
            store.detach(Some(one.ifindex))?;
            outcome.removed.push(one.name.clone());
        }
    }
    for one in wanted.judged {
        if is_whole(hooks(one.ifindex), remembered.hook()) || detached.contains(&one.name) {
            continue;
        }
        match store.attach(one.ifindex, remembered.hook()) {
            Ok(links) => outcome.made.push((one.name, links)),
            Err(error) => outcome.failed.push((one.name, error)),
        }
    }
    let gone: BTreeSet<u32> = links
        .iter()
        .map(|link| link.ifindex)
        .filter(|ifindex| !present.iter().any(|one| one.ifindex == *ifindex))
        .collect();
    for ifindex in gone {
        store.detach(Some(ifindex))?;
    }
    Ok(outcome)
}

/// Whether these hooks are both of an interface, as a policy wants them.
pub(crate) fn is_whole(hooks: impl Iterator<Item = Hook>, wanted: IngressHook) -> bool {
    let hooks: Vec<Hook> = hooks.collect();
    let has_ingress = hooks.iter().any(|hook| hook.is_wanted(wanted));
    has_ingress && hooks.iter().any(|hook| !hook.is_ingress())
}

/// Interfaces that the operator has detached: until `firewall attach`, `firewall
/// apply` or a reboot nobody attaches them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Detached(BTreeSet<String>);

impl Detached {
    fn path() -> PathBuf {
        paths::run().join("detached")
    }

    /// As noted in the run-time directory.
    pub(crate) fn read() -> Self {
        let text = crate::host::read(Self::path()).unwrap_or_default();
        Self(text.lines().map(str::to_owned).collect())
    }

    /// Whether an interface was detached.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Notes interfaces.
    pub(crate) fn add(names: impl IntoIterator<Item = String>) -> Result<()> {
        let mut detached = Self::read();
        detached.0.extend(names);
        detached.write()
    }

    /// Forgets interfaces; all of them without a name.
    pub(crate) fn remove(names: Option<&[String]>) -> Result<()> {
        let mut detached = Self::read();
        match names {
            Some(names) => detached.0.retain(|name| !names.contains(name)),
            None => detached.0.clear(),
        }
        detached.write()
    }

    fn write(&self) -> Result<()> {
        let path = Self::path();
        if self.0.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("could not remove {}", path.display()))
                }
                _ => Ok(()),
            };
        }
        std::fs::create_dir_all(paths::run())
            .with_context(|| format!("could not create {}", paths::run().display()))?;
        let lines: Vec<&str> = self.0.iter().map(String::as_str).collect();
        std::fs::write(&path, lines.join("\n"))
            .with_context(|| format!("could not write {}", path.display()))
    }
}

/// Flows that were open before the first enforcement get entries, if nothing has
/// been enforced yet and the policy does not forbid it.
///
/// # Errors
/// If the table refuses; replies to running connections would be dropped then.
pub(crate) fn seed(store: &Store, loaded: &Loaded) -> Result<Option<usize>> {
    if !loaded.policy.state.seed || !store.attached()?.is_empty() {
        return Ok(None);
    }
    let idle = Idle { tcp: loaded.policy.state.tcp_idle_s, udp: loaded.policy.state.udp_idle_s };
    store.seed(idle).map(Some).context("could not note the connections that are open already")
}
