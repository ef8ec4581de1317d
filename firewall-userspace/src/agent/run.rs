//! Start, the loop, the end.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::notify::{self, Notify};
use super::policy::{self, Occasion};
use super::state::{Shared, State};
use super::{http, server};
use crate::candidate;
use crate::host::containers::Containers;
use crate::kernel::events::Events;
use crate::kernel::pins::Pins;
use crate::lock::Lock;
use crate::paths;

/// Where metrics are served unless host.yaml says otherwise.
pub(crate) const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9477);
/// Events read at one go, so that a flood of them leaves time for the rest.
const EVENTS_AT_ONCE: usize = 256;
/// Pause behind a full go: what the ring cannot hold meanwhile is counted.
const EVENTS_PAUSE: Duration = Duration::from_millis(50);
/// Containers are looked for this often at most, and in this share of the time.
const CONTAINERS_EVERY: Duration = Duration::from_secs(10);
const CONTAINERS_SHARE: u32 = 500;
/// The loop's step.
const TICK: Duration = Duration::from_secs(1);

/// What the agent was started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where everything is pinned.
    pub pins: Pins,
    /// Directory of host.yaml.
    pub config: PathBuf,
    /// Address of `/metrics`, if not host.yaml's.
    pub listen: Option<SocketAddr>,
}

impl Settings {
    /// Where `/metrics` is served; `None` if host.yaml cannot be read.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        if self.listen.is_some() {
            return self.listen;
        }
        let host = candidate::read_host(&self.config).ok()?;
        Some(host.prometheus_listen.unwrap_or(METRICS))
    }
}

/// Runs the agent until it is told to end; enforcement goes on afterwards.
///
/// # Errors
/// If it cannot start.
pub(crate) fn run(settings: Settings) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start")?;
    LocalSet::new().block_on(&runtime, agent(Rc::new(settings)))
}

async fn agent(settings: Rc<Settings>) -> Result<()> {
    let notify = Notify::from_environment();
    // Two agents must not both attach, even if somebody has removed the socket of one.
    let _alone = Lock::of_agent(&paths::agent_lock())?;
    let socket = paths::socket();
    let listener = server::bind(&socket)?;
    let state = policy::start(&settings).await?;
    let events = state.store.events()?;
    let state = Rc::new(RefCell::new(state));
    give_back_memory();

    let (listen, address) = watch::channel(settings.metrics_address().unwrap_or(METRICS));
    state.borrow_mut().listen = Some(listen);
    spawn_local(server::serve(listener, Rc::clone(&state), Rc::clone(&settings)));
    spawn_local(http::serve(address, Rc::clone(&state)));
    spawn_local(read_events(events, Rc::clone(&state)));
    spawn_local(look_for_containers(Rc::clone(&state)));
    log::info!("ready; socket {}", socket.display());

    let outcome = watch(&state, &settings, &notify).await;
    notify.tell("STOPPING=1");
    let _gone = std::fs::remove_file(&socket);
    log::info!("ended; what is attached stays enforced (`firewall detach` opens the host)");
    outcome
}

/// Once a second, and when a signal says so.
async fn watch(state: &Shared, settings: &Rc<Settings>, notify: &Notify) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut seconds = interval(TICK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watched = notify::watchdog().is_some();
    let mut ready = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => apply(settings, Occasion::Reload),
            _ = seconds.tick() => {
                match second(&mut state.borrow_mut(), settings) {
                    Ok(true) => apply(settings, Occasion::Interface),
                    Ok(false) => {}
                    Err(error) => log::error!("{error:#}"),
                }
                if !ready {
                    notify.tell("READY=1");
                    ready = true;
                }
                if watched {
                    notify.tell("WATCHDOG=1");
                }
            }
        }
    }
}

/// Has the policy applied by a child process, which tells when it is done.
fn apply(settings: &Rc<Settings>, occasion: Occasion) {
    let settings = Rc::clone(settings);
    spawn_local(async move {
        if let Err(error) = policy::apply(&settings, occasion).await {
            log::error!("{error:#}");
        }
    });
}

/// True if rules may name an interface that has just come.
fn second(state: &mut State, settings: &Settings) -> Result<bool> {
    if state.is_stale() {
        policy::refresh(state, settings)?;
        give_back_memory();
    }
    let renew = policy::attach(state)?;
    policy::settle(state);
    state.tick()?;
    Ok(renew)
}

/// Looks for containers now and then, on a thread of its own: other programs are
/// asked, who may take their time.
async fn look_for_containers(state: Shared) {
    loop {
        let start = Instant::now();
        if let Ok(found) = spawn_blocking(Containers::of_this_host).await {
            state.borrow_mut().set_containers(found);
        }
        sleep(CONTAINERS_EVERY.max(start.elapsed() * CONTAINERS_SHARE)).await;
    }
}

/// Readiness of the ring.
fn register(ring: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open, and the same, until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    registered.map_err(std::io::Error::from)
}

async fn read_events(mut events: Events, state: Shared) {
    // A descriptor of its own for readiness: `events` is borrowed to read.
    let own = events.as_fd().try_clone_to_owned();
    let ring = match own.and_then(register) {
        Ok(ring) => ring,
        Err(error) => {
            log::error!("events cannot be read: {error}");
            return;
        }
    };
    loop {
        let Ok(mut ready) = ring.readable().await else { return };
        let mut read = 0;
        {
            let mut state = state.borrow_mut();
            let State { events: log, known, .. } = &mut *state;
            while read < EVENTS_AT_ONCE
                && let Some(event) = events.next_event()
            {
                log.push(&event, Some(known));
                read += 1;
            }
        }
        if read < EVENTS_AT_ONCE {
            ready.clear_ready();
        } else {
            sleep(EVENTS_PAUSE).await;
        }
    }
}

/// Loading reads the kernel's types and compiles the policy: megabytes that are
/// not needed again.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only gives free pages of the heap back to the kernel.
    unsafe {
        libc::malloc_trim(0);
    }
}
