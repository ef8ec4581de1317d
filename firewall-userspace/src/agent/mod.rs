//! The daemon: collects, serves, attaches new interfaces. Never a condition for
//! enforcement: it may be killed at any time.
//!
//! | module | idea |
//! | --- | --- |
//! | [`run`] | start, the loop, the end |
//! | [`state`] | what is known: the sample of the last second and its history |
//! | [`policy`] | adopting, loading and reloading what is enforced |
//! | [`events`] | sampled events: named, aggregated, kept |
//! | [`protocol`], [`server`] | the Unix socket |
//! | [`http`], [`progress`] | `/metrics` |
//! | [`notify`] | systemd |

mod events;
mod http;
mod notify;
mod policy;
mod progress;
pub(crate) mod protocol;
mod run;
mod server;
mod state;

pub(crate) use events::name as name_event;
pub(crate) use run::{METRICS, Settings, run};
