//! Pure datapath logic and the bytes shared between the BPF programs and user
//! space.
//!
//! Everything a verdict depends on is ordinary Rust here, compiled for the BPF
//! target and for the host alike: no I/O, no clock, no allocation, no `unsafe` but a mark.
//! What it reads from outside comes through three narrow traits: [`frame::Frame`]
//! (packet bytes), [`policy::Tables`] (the compiled policy) and
//! [`pipeline::World`] (flows, bans, counters and time).
//!
//! | module | idea |
//! | --- | --- |
//! | [`pipeline`] | one packet from frame to verdict, on one page |
//! | [`fast`] | the same verdict sooner, for packets that are like most |
//! | [`parse`] | frame to [`packet::Packet`], or a malformed reason |
//! | [`policy`] | classes and cells: what the rules say |
//! | [`question`] | what a packet asks of the policy, and its answers |
//! | [`ban`] | sources dropped until a time |
//! | [`hosts`] | lone addresses of huge sets, and what nobody names |
//! | [`lines`] | the first rule that holds, where both ends are networks by the thousand |
//! | [`baseline`] | built-in rules that keep a host alive |
//! | [`opening`] | what somebody lets in for a while |
//! | [`control`] | which slot is in force, and until when |
//! | [`flow`] | flows this host opened, and replies |
//! | [`passes`] | what a CPU let out a moment ago |
//! | [`fragment`], [`guard`] | fragments; rates of what is admitted unasked |
//! | [`request`] | requests per second from packets |
//! | [`service`] | protocols and ports as one number |
//! | [`time`] | moments that are compared though they wrap |
//! | [`verdict`] | every reason to pass or drop |
//! | [`cold`] | a mark of what packets seldom need |
//! | [`abi`] | bytes shared through maps |
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![deny(clippy::indexing_slicing, clippy::float_arithmetic)]

pub mod abi;
pub mod ban;
pub mod baseline;
pub mod cold;
pub mod control;
pub mod fast;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod guard;
pub mod hosts;
pub mod lines;
pub mod opening;
pub mod packet;
pub mod parse;
pub mod passes;
pub mod pipeline;
pub mod policy;
pub mod question;
pub mod request;
pub mod service;
pub mod time;
pub mod verdict;

/// Version of every byte that kernel and user space share; part of the pin path.
pub const ABI_VERSION: u32 = 6;
