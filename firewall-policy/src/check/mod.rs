//! What files mean together: names resolved, rules checked, roles composed.
//!
//! One module per class of error. A part that was reported as broken is left
//! out of every later check, so that one mistake makes one message.

mod ahead;
pub(crate) mod compose;
pub(crate) mod counting;
pub(crate) mod expiry;
pub(crate) mod exposure;
pub(crate) mod impossible;
mod index;
pub(crate) mod lifeline;
pub(crate) mod lists;
pub(crate) mod references;
pub(crate) mod region;
pub(crate) mod rules;
pub(crate) mod scope;
pub(crate) mod shadow;
pub(crate) mod units;
pub(crate) mod vital;

use std::sync::Arc;
use std::time::SystemTime;

use crate::diagnostic::Sink;
use crate::set::AddrSet;
use crate::source::{Files, Source, Sources};

/// What every check works with.
pub(crate) struct Context<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) sink: &'a mut Sink,
    /// Takes every file that is read, if somebody wants them.
    pub(crate) sources: Option<&'a mut Sources>,
    pub(crate) now: Option<SystemTime>,
    /// This host's addresses; `None` off the host.
    pub(crate) own_addresses: Option<&'a AddrSet>,
    pub(crate) allow_unsupported: bool,
    /// Somebody wants to know what all services stand for.
    pub(crate) keep_services: bool,
}

impl Context<'_> {
    /// Keeps a file that has been read, once however often it is named.
    pub(crate) fn keep(&mut self, path: &str, source: &Arc<Source>) {
        if let Some(sources) = &mut self.sources {
            sources.insert(path.to_owned(), source.clone());
        }
    }
}
