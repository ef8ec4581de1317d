//! Traffic of real sockets between lab hosts.
//!
//! - [`echo`]: servers that send back what they get.
//! - [`conversation`]: a client of theirs, to ask again and again.
//! - [`stream`]: conversations that go on in a thread of their own.
//! - [`cable`]: a cable that loses, doubles and delays what passes.
//! - [`raw`]: frames as they are, past the sender's own stack.
//! - [`truth`]: what the kernel itself counted, to compare the firewall with.

pub mod cable;
pub mod conversation;
pub mod echo;
pub mod raw;
pub mod stream;
pub mod truth;

use std::net::SocketAddr;
use std::time::Duration;

/// Patience with something that must work, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Patience with something that must not work.
pub const REFUSAL: Duration = Duration::from_millis(250);

/// An address and a port from text that the test itself wrote.
///
/// # Panics
///
/// If it is none.
#[must_use]
#[expect(clippy::panic, reason = "the text is the test's own")]
pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no address and port"))
}
