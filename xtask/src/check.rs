//! `cargo xtask check`: every test level that needs no root.

use anyhow::Result;

use crate::test::{self, Outcome};

/// Run everything that needs no root: formatting, lints, documentation, unit tests
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the subcommand.
///
/// # Errors
///
/// If the toolchain is not there; failing levels are an [`Outcome`].
pub(crate) fn run(_: &Args) -> Result<Outcome> {
    test::run(&test::Args::without_root())
}
