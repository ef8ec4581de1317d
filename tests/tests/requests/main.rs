//! Requests per second, counted from packets alone, beside what the servers
//! themselves have counted. Where counting is exact, the difference is 0.
//!
//! Needs root, and the programs that `cargo xtask test requests` installs.

#![expect(
    clippy::format_collect,
    clippy::format_push_string,
    clippy::ptr_arg,
    clippy::unused_self,
    reason = "messages for people, and cases that share one shape"
)]

mod cable;
mod client;
mod dns;
mod handshake;
mod hostile;
mod http;
mod lifecycle;
mod loss;
mod mysql;
mod mysql_client;
mod mysql_connections;
mod proxied;
mod site;
mod table;
mod tls;
