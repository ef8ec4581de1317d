//! Where commands get their numbers from: the agent, else the pinned maps.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Context;
use crate::agent::protocol::{Request, Response, response_of};
use crate::collect::{self, Extra, Known, Sample, Series};
use crate::failure::{Failure, as_root};
use crate::host::session::Session;
use crate::host::users;
use crate::kernel::clock::monotonic_ns;
use crate::kernel::store::Store;
use crate::paths;
use crate::probe::session::told;
use crate::report::Snapshot;
use crate::report::history::History;
use crate::report::snapshot::{Bans, Enforcement, Events, Flows, SCHEMA, Source};
use crate::report::status::You;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; `None` if no agent listens.
    ///
    /// # Errors
    /// If one listens and this user may not ask it.
    pub(super) fn connect() -> Result<Option<Self>> {
        let path = paths::socket();
        match UnixStream::connect(&path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Some(Self { stream: BufReader::new(stream) }))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let message = format!("you may not ask the agent at {}", path.display());
                let join =
                    format!("sudo usermod -aG {} $USER    (then log in again)", users::READERS);
                Err(Failure::not_permitted(message)
                    .help(format!("{join}, or: {}", as_root()))
                    .into())
            }
            Err(_) => Ok(None),
        }
    }

    /// Asks for one answer.
    ///
    /// # Errors
    /// If the agent refuses or does not answer.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Response> {
        self.send(request)?;
        self.next()?.context("the agent has closed the connection")
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).context("the agent does not listen")
    }

    /// The next answer; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Response>> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let seconds = PATIENCE.as_secs();
                return Err(
                    Failure::new(format!("the agent does not answer within {seconds} s")).into()
                );
            }
            Err(error) => return Err(error).context("the agent does not answer"),
        }
        match response_of(&line)? {
            Response::Refused { exit, message, help } => {
                let failure = Failure { help, ..Failure::new(message).exit(exit) };
                Err(failure.into())
            }
            response => Ok(Some(response)),
        }
    }

    /// Waits for answers as long as it takes.
    pub(super) fn wait_forever(&mut self) -> Result<()> {
        Ok(self.stream.get_mut().set_read_timeout(None)?)
    }
}

/// A source of snapshots.
pub(super) enum Numbers {
    /// The agent: has watched for a while.
    Agent(Client),
    /// The pinned maps: watched since this command started.
    Maps(Box<Maps>),
    /// Nothing is pinned.
    Nothing,
}

/// The pinned maps.
pub(super) struct Maps {
    store: Store,
    known: Option<Known>,
    history: History<Series>,
}

impl Numbers {
    /// Finds one.
    ///
    /// # Errors
    /// If this user may use none.
    pub(super) fn open(context: &Context) -> Result<Self> {
        let denied = match Client::connect() {
            Ok(Some(client)) => return Ok(Self::Agent(client)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        match open_store(context) {
            Ok(Some(store)) => Ok(Self::Maps(Box::new(Maps::new(store)?))),
            Ok(None) => Ok(Self::Nothing),
            Err(error) => Err(denied.unwrap_or_else(|| without_agent(&error))),
        }
    }

    /// Everything at this moment.
    pub(super) fn snapshot(&mut self, context: &Context) -> Result<Snapshot> {
        match self {
            Self::Agent(client) => match client.ask(&Request::Snapshot) {
                Ok(Response::Snapshot { snapshot }) => Ok(*snapshot),
                Ok(other) => Err(unexpected(&other)),
                Err(error) => {
                    // An agent that hangs is as good as dead.
                    let Ok(Some(store)) = open_store(context) else { return Err(error) };
                    context.out.note(&format!("note: {error:#}; reading what is pinned"));
                    *self = Self::Maps(Box::new(Maps::new(store)?));
                    self.snapshot(context)
                }
            },
            Self::Maps(maps) => maps.snapshot(),
            Self::Nothing => Ok(nothing()),
        }
    }

    /// Everything at this moment, with rates: without an agent that takes a
    /// second.
    pub(super) fn with_rates(&mut self, context: &Context) -> Result<Snapshot> {
        if let Self::Maps(maps) = self
            && maps.history.watched(Duration::from_mins(1)).is_none()
        {
            maps.snapshot()?;
            std::thread::sleep(Duration::from_secs(1));
        }
        self.snapshot(context)
    }

    /// What happens to the session that this command was typed in; `None` on a
    /// console.
    pub(super) fn you(&mut self, context: &Context) -> Option<You> {
        let session = Session::current()?;
        let Session { peer, local } = session;
        let (allowed, by, place) = match self {
            Self::Agent(client) => match client.ask(&Request::Session { peer, local }) {
                Ok(Response::Session { allowed, by, place }) => (allowed, by, place),
                _ => (None, None, None),
            },
            Self::Maps(maps) => told(maps.policy(context).as_ref(), &session),
            Self::Nothing => (Some(true), None, None),
        };
        Some(You { from: peer, port: local.port(), allowed, by, place })
    }
}

impl Maps {
    fn new(store: Store) -> Result<Self> {
        let known = store.meta()?.map(Known::new);
        Ok(Self { store, known, history: History::default() })
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let sample = Sample::take(&self.store)?;
        if let Some(known) = &self.known {
            self.history.record(sample.at, sample.series(known));
        }
        let (entries, capacity) = self.store.flow_usage()?;
        let now = monotonic_ns();
        let (count, ending_soon) = self.store.bans()?.count(now, now + 600_000_000_000)?;
        let extra = Extra {
            flows: Flows { entries: Some(entries as u64), capacity: Some(capacity.into()) },
            bans: Bans { count, ending_soon },
            held_bytes: self.store.pins().held_bytes().ok(),
            openings: collect::openings::in_force(&self.store)?,
            ..Extra::default()
        };
        Ok(collect::snapshot(&sample, self.known.as_ref(), &self.history, extra))
    }

    /// The policy in force, if the files say it.
    fn policy(&self, context: &Context) -> Option<firewall_policy::ir::Policy> {
        let wanted = crate::candidate::Wanted::default();
        let loaded = crate::candidate::read(&context.config, &wanted).ok()?;
        let ready = crate::enforce::Ready::new(Some(&self.store), &loaded.policy).ok()?;
        ready.is_in_force().then_some(loaded.policy)
    }
}

/// Opens the pinned firewall; `None` if this host has none.
///
/// # Errors
/// If this user may not, with the command that helps.
pub(super) fn open_store(context: &Context) -> Result<Option<Store>> {
    Store::open(&context.pins).map_err(|error| {
        let failure = Failure::of(&error);
        if users::effective_uid() == 0 {
            return error;
        }
        let message = "only root may read what is pinned";
        Failure::not_permitted(message).detail(failure.message).help(as_root()).into()
    })
}

/// Why nothing can be read: nobody is there to ask, either.
fn without_agent(error: &anyhow::Error) -> anyhow::Error {
    let failure = Failure::of(error);
    let message = format!("no agent runs, and {}", failure.message);
    Failure { message, ..failure }.into()
}

/// Tells a living agent that something has changed.
pub(super) fn tell_agent(context: &Context, policy: bool) {
    let told = Client::connect().and_then(|client| match client {
        Some(mut client) => client.ask(&Request::Refresh { policy }).map(|_| ()),
        None => Ok(()),
    });
    if let Err(error) = told {
        context.out.note(&format!("note: the agent could not be told: {error:#}"));
    }
}

pub(super) fn unexpected(response: &Response) -> anyhow::Error {
    Failure::new(format!("the agent answered something else: {response:?}")).into()
}

/// A host without a firewall.
fn nothing() -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        source: Source::Maps,
        host: crate::host::name(),
        time_ms: crate::host::clock::unix_ms(),
        enforcement: Enforcement::NoPolicy,
        agent: None,
        policy: None,
        interfaces: Vec::new(),
        recent: None,
        flows: Flows::default(),
        events: Events::default(),
        bans: Bans::default(),
        openings: Vec::new(),
        outcomes: Vec::new(),
        rules: Vec::new(),
        rates: Vec::new(),
        containers: None,
        warnings: Vec::new(),
    }
}
