//! The real binary on lab hosts, with real sockets: what a frame at a time cannot
//! show.
//!
//! Needs root, and the programs that `cargo xtask test lab` installs.

#![expect(
    clippy::cast_precision_loss,
    clippy::format_collect,
    clippy::match_bool,
    clippy::needless_range_loop,
    clippy::similar_names,
    clippy::unchecked_time_subtraction,
    clippy::unnecessary_wraps,
    reason = "tables of figures for people, and cases that share one shape"
)]

mod apply;
mod attach;
mod audit;
mod bans;
mod boot;
mod containers;
mod crash;
mod established;
mod explain;
mod first_enforcement;
mod flood;
mod fragments;
mod import;
mod inbound;
mod interrupted;
mod lifecycle;
mod metrics;
mod neighbours;
mod openings;
mod path_mtu;
mod printing;
mod reload;
mod settle;
mod stacked;
mod strangers;
mod support;
mod trial;
mod vlan;
mod vrrp;
mod wire;
