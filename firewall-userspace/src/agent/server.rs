//! The Unix socket: answers lines with lines.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;

use super::policy::{self, Occasion};
use super::protocol::{REQUEST_MAX, Request, Response, line_of};
use super::run::Settings;
use super::state::Shared;
use crate::collect::bans::in_force;
use crate::failure::Failure;
use crate::host::session::Session;
use crate::host::users::{self, READERS};
use crate::probe::session::told;

/// Clients at one time that ask and go.
const CLIENTS: usize = 32;
/// Clients at one time that follow events, beside those: they stay.
const FOLLOWERS: usize = 64;

/// Binds the socket: for root, and for reading by the group `firewall`.
///
/// # Errors
/// If another agent listens there.
pub(super) fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("could not create {}", directory.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Failure::new(format!("another agent listens on {}", path.display()))
            .help("firewall status    names its process")
            .into());
    }
    let _stale = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)
        .with_context(|| format!("could not listen on {}", path.display()))?;
    let group = users::group(READERS);
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group))
            .with_context(|| format!("could not give {} to group {READERS}", path.display()))?;
    } else {
        log::info!("there is no group `{READERS}`: only root can read the socket");
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("could not set the mode of {}", path.display()))?;
    Ok(listener)
}

/// Serves clients until the agent ends.
pub(super) async fn serve(listener: UnixListener, state: Shared, settings: Rc<Settings>) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    let followers = Rc::new(Semaphore::new(FOLLOWERS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (state, settings) = (Rc::clone(&state), Rc::clone(&settings));
                let followers = Rc::clone(&followers);
                spawn_local(async move {
                    let places = (permit, &*followers);
                    if let Err(error) = client(stream, places, &state, &settings).await {
                        log::debug!("a client has gone: {error:#}");
                    }
                });
            }
            Err(error) => {
                log::warn!("could not accept a client: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn client(
    mut stream: UnixStream,
    (place, followers): (OwnedSemaphorePermit, &Semaphore),
    state: &Shared,
    settings: &Settings,
) -> Result<()> {
    let is_root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
    let mut buffer = BytesMut::with_capacity(512);
    loop {
        let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
            if buffer.len() > REQUEST_MAX {
                let refusal = Failure::new(format!("a request has {REQUEST_MAX} bytes at most"));
                stream.write_all(line_of(refusal.into()).as_bytes()).await?;
                return Ok(());
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let line = buffer.split_to(end + 1);
        match serde_json::from_slice::<Request>(&line) {
            Ok(Request::Events { last, follow: false }) => {
                past(&mut stream, state, last).await?;
                return Ok(());
            }
            Ok(Request::Events { last, follow: true }) => {
                let Ok(_place) = followers.try_acquire() else {
                    let refusal = Failure::new(format!("{FOLLOWERS} follow events already"));
                    stream.write_all(line_of(refusal.into()).as_bytes()).await?;
                    return Ok(());
                };
                drop(place);
                return follow(stream, state, last).await;
            }
            Ok(request) => {
                let response = answer(&request, state, settings, is_root).await;
                stream.write_all(line_of(response).as_bytes()).await?;
            }
            Err(error) => {
                let refusal = Failure::new(format!("no such request: {error}"));
                stream.write_all(line_of(refusal.into()).as_bytes()).await?;
            }
        }
    }
}

async fn answer(request: &Request, state: &Shared, settings: &Settings, is_root: bool) -> Response {
    if request.is_change() && !is_root {
        return Failure::not_permitted("only root may change what is enforced").into();
    }
    match request {
        Request::Snapshot => {
            Response::Snapshot { snapshot: Box::new(state.borrow_mut().snapshot()) }
        }
        Request::Session { peer, local } => {
            let session = Session { peer: *peer, local: *local };
            let (allowed, by, place) = told(state.borrow().policy.as_ref(), &session);
            Response::Session { allowed, by, place }
        }
        Request::Bans => match in_force(&state.borrow().store) {
            Ok(bans) => Response::Bans { bans },
            Err(error) => Failure::of(&error).into(),
        },
        Request::Refresh { policy } => {
            let mut state = state.borrow_mut();
            let looked = if *policy {
                policy::refresh(&mut state, settings)
            } else {
                state.count_again();
                Ok(())
            };
            let outcome = looked.and_then(|()| state.tick());
            drop(state);
            done(outcome.map(|()| "looked again".to_owned()))
        }
        Request::Reload => done(policy::apply(settings, Occasion::Reload).await),
        Request::Events { .. } => Failure::new("events have a connection of their own").into(),
    }
}

fn done(outcome: Result<String>) -> Response {
    match outcome {
        Ok(message) => Response::Done { message },
        Err(error) => Failure::of(&error).into(),
    }
}

/// Tells of the last events.
async fn past(stream: &mut UnixStream, state: &Shared, last: usize) -> Result<()> {
    let past = state.borrow().events.last(last);
    for line in past {
        stream.write_all(line_of(Response::Event { line: Box::new(line) }).as_bytes()).await?;
    }
    Ok(())
}

/// Tells of the last events, then of those to come.
async fn follow(mut stream: UnixStream, state: &Shared, last: usize) -> Result<()> {
    let mut coming = state.borrow().events.follow();
    past(&mut stream, state, last).await?;
    let (mut reading, mut writing) = stream.into_split();
    let mut nothing = [0; 64];
    loop {
        tokio::select! {
            line = coming.recv() => match line {
                Ok(line) => writing.write_all(line_of(Response::Event { line: Box::new(line) }).as_bytes()).await?,
                // A slow reader misses lines; counters have them all.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            // The client has gone, or says what nobody asked for.
            gone = reading.read(&mut nothing) => if gone? == 0 { return Ok(()) },
        }
    }
}
