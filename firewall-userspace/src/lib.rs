//! The agent and the command line of the firewall: one binary, `firewall`.
//!
//! | module | idea |
//! | --- | --- |
//! | `cli` | one file per command; the only module that prints |
//! | `agent` | the daemon: collects, serves, attaches new interfaces |
//! | [`kernel`] | programs and maps; the only module that names aya |
//! | `candidate`, `verify`, `enforce` | a policy: read and compiled, tested, put in force |
//! | `collect`, [`report`] | numbers: from the maps to a snapshot; from a snapshot to text |
//! | `probe` | packets made to ask a question, and what judges them |
//! | `host` | facts about this host |
//! | `audit`, `forwarded` | what a policy and a host together give away, or cut off |
//! | `settle` | judges in the place of roots, where that disturbs nobody |
//! | `confirmed` | the copy of what was confirmed, which a boot enforces |
//! | `banning`, `remembered`, `lock`, `paths`, `failure` | what these stand on |

mod agent;
mod audit;
mod banning;
mod candidate;
mod cli;
mod collect;
mod confirmed;
mod enforce;
mod failure;
mod forwarded;
mod host;
pub mod kernel;
mod lock;
mod paths;
mod preflight;
mod probe;
mod remembered;
pub mod report;
mod settle;
mod verify;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> std::process::ExitCode {
    cli::main()
}
