//! Same frame, same policy, same state: same verdict, reason and rule on the host
//! and in the kernel.
//!
//! | module | frames |
//! | --- | --- |
//! | [`random`] | valid, mutated and truncated, under random policies |
//! | [`segments`] | of connections that exist, whose requests are counted |
//! | [`captures`] | of real and hostile networks, from files |
//! | [`order`] | the same under policies whose rules are permuted |
//! | [`passes`] | again and again, where the host remembers what it let out and where not |
//! | [`sizes`] | few, under policies of every size and form |
//!
//! What both machines decide is compared frame by frame; every counter and every
//! flow is compared at the end of each run of frames, so nothing can move unseen.
//!
//! The clock is out of the picture: the host's is set to the kernel's before each
//! frame, nothing that a run leaves behind grows old within it, and every token
//! bucket is filled again after each frame that took from one. That rates hold is
//! for the tables of the `datapath` tests.

#![expect(dead_code, reason = "the common bench serves other tests, too")]

#[path = "../common/mod.rs"]
mod common;

mod captures;
mod frames;
mod order;
mod pair;
mod passes;
mod policies;
mod random;
mod rng;
mod segments;
mod sizes;
