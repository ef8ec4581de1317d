//! The shape of rule files and of host.yaml: nodes to typed, unresolved values.
//!
//! What one file says can be checked here; what names mean is
//! [`check`](crate::check)'s.

pub(crate) mod file;
pub(crate) mod host;
pub(crate) mod keys;
pub(crate) mod limit;
pub(crate) mod named;
pub(crate) mod peer;
pub(crate) mod rate;
pub(crate) mod reader;
pub(crate) mod rule;
pub(crate) mod settings;
pub(crate) mod test;
mod unknown;
