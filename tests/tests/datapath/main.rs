//! The datapath, one frame at a time: the BPF programs by `BPF_PROG_TEST_RUN`,
//! and the same code on the host.
//!
//! One file per matcher or reason, each with the policy it needs. Cases are
//! tables of a description, a frame and an expectation; [`ledger`] asserts that
//! exactly the counters moved that the expectation names, and no other.

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod ledger;
mod moves;
mod shared;

mod answers;
mod bans;
mod counting;
mod dhcp;
mod established;
mod ethernet;
mod failsafe;
mod fragments;
mod gso;
mod icmp_errors;
mod iface;
mod internal_error;
mod local;
mod malformed;
mod neighbors;
mod noise;
mod openings;
mod order;
mod ping;
mod roots;
mod services;
mod sockets;
mod tcp_flags;
