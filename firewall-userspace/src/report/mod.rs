//! What people and machines are shown: one [`Snapshot`], and its encoders.
//!
//! Pure: numbers in, text out. The agent, the commands and failing tests print
//! through the same code.

pub mod aggregate;
pub mod event;
pub mod exposition;
pub mod history;
pub mod metrics;
pub mod rates;
pub mod rules;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod services;
pub mod snapshot;
pub mod status;
pub mod table;
pub mod units;
pub mod words;

pub use snapshot::Snapshot;
