//! `cargo xtask install` between lab hosts, over a real sshd: what it leaves, what it
//! puts back, and what a kill at any moment does.
//!
//! Lab hosts have no systemd: `cargo xtask test systemd` shows the units.

mod killed;
mod lifecycle;
mod login;
mod obstacles;
mod rollout;
mod site;
