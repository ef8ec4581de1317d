//! The kernel's side of user space: the only module that names aya.
//!
//! | module | idea |
//! | --- | --- |
//! | [`store`], `install` | everything pinned: open, read counters; put a generation in force |
//! | [`trial`] | a generation that nobody has confirmed yet |
//! | [`attach`] | links to interfaces |
//! | [`settle`] | judges in the place of roots, once a policy has stood for a while |
//! | [`generation`], [`object`], [`program`] | loading programs with their tables and settings |
//! | [`sandbox`] | the same programs with maps of their own, for tests and `explain` |
//! | [`counters`], [`events`], [`bans`], [`flows`], [`seed`] | one family of maps each |
//! | [`maps`], [`meta`], [`pins`], `bpffs`, [`sys`], `link`, [`clock`], [`grace`], [`jiffies`] | what these stand on |

pub mod attach;
pub mod bans;
mod bpffs;
pub mod clock;
pub mod counters;
pub mod events;
pub mod flows;
mod fold;
pub mod generation;
pub mod grace;
mod install;
pub mod jiffies;
mod link;
pub mod maps;
pub mod meta;
pub mod object;
pub mod openings;
pub mod pins;
pub mod program;
pub mod sandbox;
pub mod seed;
pub mod settle;
mod stages;
pub mod store;
pub mod sys;
pub mod trial;
