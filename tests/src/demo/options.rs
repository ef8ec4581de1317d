//! What the demo is asked to do.

use std::time::Duration;

use clap::Parser;

use super::plan::Tier;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                    the whole site; the verdict is the last line
  cargo xtask demo --only database    the same site, and only what concerns the databases
  cargo xtask demo --keep             leaves the site running, to look around in it
  cargo xtask demo --stop             ends a site that was kept
  cargo xtask demo --json             the results on standard output, for programs

Progress is on standard error. The report with plots is target/demo/report.html.
Exit codes: 0 every check passed, 1 a check failed, or the site could not be brought up.";

/// The firewall at work: the whole site of www.foobar.com in network namespaces.
///
/// HAProxy, nginx, an application, MariaDB with replication, Prometheus and sshd,
/// a firewall on each server; real traffic, real attacks, and every number beside
/// the servers' own. Nothing is left behind.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo", after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Check one tier only
    #[arg(long, value_name = "TIER")]
    pub(crate) only: Option<Tier>,
    /// Print the results as JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave the site running
    #[arg(long)]
    pub(crate) keep: bool,
    /// End every site that was left running
    #[arg(long)]
    pub(crate) stop: bool,
    /// Seconds of load in which requests are counted
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) load: u64,
}

impl Options {
    /// Length of the load.
    pub(crate) fn load(&self) -> Duration {
        Duration::from_secs(self.load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, ValueEnum as _};

    #[test]
    fn the_grammar_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn tiers_are_asked_for_by_the_names_they_are_shown_with() {
        for tier in Tier::ALL {
            assert_eq!(Tier::from_str(tier.name(), false), Ok(tier));
        }
    }
}
