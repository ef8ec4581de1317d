//! What the agent knows, renewed once a second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_policy::ir::Policy;
use tokio::sync::watch;

use super::events::Log;
use crate::collect::{self, Extra, Known, Sample, Series};
use crate::forwarded::Forwarded;
use crate::host::containers::Containers;
use crate::host::{clock, process};
use crate::kernel::attach::Attachment;
use crate::kernel::clock::{after, monotonic_ns};
use crate::kernel::pins::Pins;
use crate::kernel::store::Store;
use crate::report::exposition::{Format, write};
use crate::report::history::History;
use crate::report::metrics::families;
use crate::report::snapshot::{Agent, Bans, Flows, Snapshot};

/// State that tasks of the one thread share; never borrowed across a wait.
pub(super) type Shared = Rc<RefCell<State>>;

/// Counting a table reads all of it: that may take this share of the time.
const TABLE_SHARE: u32 = 500;
/// Tables are counted this often at most.
const TABLES_EVERY: Duration = Duration::from_secs(10);
/// A sample that is not older is as good as a new one.
const FRESH: Duration = Duration::from_millis(20);
/// A ban that ends within this is worth telling.
const SOON: Duration = Duration::from_mins(10);

/// What the agent knows.
pub(super) struct State {
    /// Where everything is pinned.
    pub pins: Pins,
    /// The pinned firewall.
    pub store: Store,
    /// The policy in force, by its metadata.
    pub known: Known,
    /// The policy in force, if the files still say it.
    pub policy: Option<Policy>,
    /// The stream of events.
    pub events: Log,
    /// Where `/metrics` is wanted, for who serves it.
    pub listen: Option<watch::Sender<SocketAddr>>,
    /// What a person should look at, by what it is about.
    pub warnings: BTreeMap<&'static str, String>,
    sample: Sample,
    history: History<Series>,
    flows: Flows,
    bans: Bans,
    /// Kernel memory of all that is pinned, when it was last asked for.
    held_bytes: Option<u64>,
    tables_due: Duration,
    /// The generation that is known, and since when, or since it was last settled.
    stands: (u64, Duration),
    /// Links that did not take the judges of that generation.
    pub refused: Vec<Attachment>,
    agent: Agent,
    containers: Containers,
}

impl State {
    /// Of a pinned firewall.
    pub(super) fn new(
        pins: Pins,
        store: Store,
        known: Known,
        policy: Option<Policy>,
    ) -> Result<Self> {
        let sample = Sample::take(&store)?;
        let agent = Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ms: clock::unix_ms(),
            scraped_ms: None,
        };
        let mut state = Self {
            events: Log::new((sample.suppressed, sample.lost)),
            pins,
            store,
            known,
            policy,
            listen: None,
            warnings: BTreeMap::new(),
            sample,
            history: History::default(),
            flows: Flows::default(),
            bans: Bans::default(),
            held_bytes: None,
            tables_due: Duration::ZERO,
            stands: (0, Duration::ZERO),
            refused: Vec::new(),
            agent,
            containers: Containers::default(),
        };
        state.tick()?;
        Ok(state)
    }

    /// Once a second.
    pub(super) fn tick(&mut self) -> Result<()> {
        self.sample = Sample::take(&self.store)?;
        self.history.record(self.sample.at, self.sample.series(&self.known));
        self.events.close((self.sample.suppressed, self.sample.lost));
        if self.sample.at >= self.tables_due {
            self.count_tables()?;
        }
        Ok(())
    }

    /// Counts flows and bans, and lets go of bans that have ended.
    fn count_tables(&mut self) -> Result<()> {
        let start = clock::monotonic();
        // A table that cannot be counted is not waited for every second.
        self.tables_due = self.sample.at + TABLES_EVERY;
        let (entries, capacity) = self.store.flow_usage()?;
        self.flows = Flows { entries: Some(entries as u64), capacity: Some(capacity.into()) };
        self.held_bytes = self.store.pins().held_bytes().ok();
        let mut table = self.store.bans()?;
        let now = monotonic_ns();
        let ended = table.expire(now)?;
        if ended > 0 {
            log::info!("{ended} bans have ended");
        }
        let soon = after(now, SOON);
        let (count, ending_soon) = table.count(now, soon)?;
        self.bans = Bans { count, ending_soon };
        let taken = clock::monotonic().saturating_sub(start);
        self.tables_due = self.sample.at + TABLES_EVERY.max(taken * TABLE_SHARE);
        Ok(())
    }

    /// Whether the policy has stood for so long, or as long again.
    pub(super) fn has_stood(&mut self, time: Duration) -> bool {
        let (generation, now) = (self.known.meta.generation, clock::monotonic());
        let (known, since) = self.stands;
        if known == generation && now < since + time {
            return false;
        }
        self.stands = (generation, now);
        if known != generation {
            self.refused.clear();
        }
        known == generation
    }

    /// Takes over what containers have of this host.
    pub(super) fn set_containers(&mut self, containers: Containers) {
        self.containers = containers;
    }

    /// Whether another policy is in force than the one that is known. After a trial
    /// that nobody confirmed, every packet may pass: then there is none to know.
    pub(super) fn is_stale(&self) -> bool {
        self.store.is_overtaken()
    }

    /// Counts the tables at the next tick, whatever that costs.
    pub(super) fn count_again(&mut self) {
        self.tables_due = Duration::ZERO;
    }

    /// Takes over what is in force now. Maps may have been replaced by larger
    /// ones, so everything is opened anew.
    pub(super) fn adopt(&mut self, store: Store, policy: Option<Policy>) -> Result<()> {
        let known = Known::new(store.meta()?.context("no policy is in force any more")?);
        let same = known.meta.generation == self.known.meta.generation;
        self.known = known;
        self.store = store;
        self.policy = policy;
        self.count_again();
        if !same {
            self.history.retain(|series| self.known.means(*series));
        }
        Ok(())
    }

    /// Everything at this moment: totals are read anew, rates are those of the
    /// last second.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        if clock::monotonic() >= self.sample.at + FRESH {
            match Sample::take(&self.store) {
                Ok(sample) => self.sample = sample,
                Err(error) => log::error!("{error:#}"),
            }
        }
        let forwarded = Forwarded::by_meta(&self.containers, &self.known.meta);
        let extra = Extra {
            agent: Some(self.agent.clone()),
            flows: self.flows,
            bans: self.bans,
            held_bytes: self.held_bytes,
            openings: collect::openings::in_force(&self.store).unwrap_or_default(),
            events_read: self.events.read,
            warnings: self.warnings.values().cloned().chain(forwarded.shut_text()).collect(),
            containers: forwarded.confined_text(),
        };
        collect::snapshot(&self.sample, Some(&self.known), &self.history, extra)
    }

    /// `/metrics`, for whoever asks.
    pub(super) fn metrics(&mut self, format: Format) -> String {
        self.agent.scraped_ms = Some(clock::unix_ms());
        write(&families(&self.snapshot(), &process::process()), format)
    }
}
