//! The command line: one file per command, and one place that prints.
//!
//! Reading commands take their numbers from the agent's socket, which members of
//! group `firewall` may read, and from the pinned maps if no agent lives.

mod agent;
mod applied;
mod apply;
mod attach;
mod audit;
mod ban;
mod ban_import;
mod boot;
mod check;
mod client;
mod code;
mod completions;
mod confirm;
mod counters;
mod detach;
mod doctor;
mod events;
mod explain;
mod import;
mod man;
mod open;
mod out;
mod rates;
mod refusals;
mod rules;
mod sarif;
mod says;
mod sets;
mod show;
mod status;
mod test;
mod value;
mod version;
mod walk;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::failure::{Exit, Failure};
use crate::kernel::pins::Pins;
use crate::paths;
use out::Out;

/// A host firewall and packet filter in XDP and TC, with requests per second.
#[derive(Debug, Parser)]
#[command(name = "firewall", version, max_term_width = 80, disable_version_flag = true)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// host.yaml and rules/ [`FIREWALL_CONFIG`, or /etc/firewall]
    #[arg(long, global = true, value_name = "DIR", help_heading = PLACES)]
    config: Option<PathBuf>,
    /// What is pinned [`FIREWALL_PINS`, or /sys/fs/bpf/firewall]
    #[arg(long, global = true, value_name = "DIR", help_heading = PLACES)]
    pins: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command has stand apart.
const PLACES: &str = "Directories";

const EXAMPLES: &str = "\
Examples:
  firewall status               is this host protected, and how do I stay in?
  firewall check rules/web.yaml is this rule file sound?
  firewall test                 do the sentences of its owner hold?
  firewall apply                enforce what host.yaml and rules/ say
  firewall explain out --from 10.0.2.11 --to 10.0.4.10 --tcp 3306
  firewall rates --watch        packets and requests per second
  firewall events -f            what is dropped, as it happens
  firewall audit                what is weak about this host?

Exit codes: 0 ok or no change, 1 error, 2 changes or findings, 3 unconfirmed or
rolled back, 4 not permitted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Is this host protected? One screen
    Status(status::Arguments),
    /// Read, check and compile a policy; nothing is changed
    Check(check::Arguments),
    /// Run the tests that a policy carries
    Test(test::Arguments),
    /// Enforce a policy: checked, tested, swapped in one store
    Apply(apply::Arguments),
    /// Keep the policy that is on trial
    Confirm(confirm::Confirm),
    /// Return to the policy before the one on trial
    Rollback(confirm::Rollback),
    /// Enforce what was confirmed last: for firewall-boot.service
    Boot(boot::Arguments),
    /// What would happen to a packet, and why
    Explain(explain::Arguments),
    /// What an error code means, with an example
    ExplainCode(code::Arguments),
    /// The rules in force and what each has decided
    Rules(rules::Arguments),
    /// Packets, bytes, flows and requests, by rule and by reason
    Counters(counters::Arguments),
    /// Packets and requests per second
    Rates(rates::Arguments),
    /// What is dropped, packet by packet (a sample)
    Events(events::Arguments),
    /// What is weak about this host, and what to do about it
    Audit(audit::Arguments),
    /// Drop everything from an address for a while
    Ban(ban::Arguments),
    /// Let something in for a while that no rule names
    Open(open::Arguments),
    /// What stands behind the names: baseline, services, groups, policy, schema
    Show(show::Arguments),
    /// Rules of iptables, nftables, ufw or firewalld as a role file
    Import(import::Arguments),
    /// Enforce on interfaces
    Attach(attach::Arguments),
    /// Stop enforcing on interfaces: they are open afterwards
    Detach(detach::Arguments),
    /// Is this host fit for XDP? Reads only
    Doctor(doctor::Arguments),
    /// The daemon: collects and serves numbers, attaches new interfaces
    Agent(agent::Arguments),
    /// Completions for a shell
    Completions(completions::Arguments),
    /// The manual pages
    Man(man::Arguments),
    /// Version of this program and of what it shares with the kernel
    Version(version::Arguments),
}

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// Directory of host.yaml and rules.
    pub config: PathBuf,
    /// Where everything is pinned.
    pub pins: Pins,
    /// The only way to print.
    pub out: Out,
}

/// Whether a command prints JSON.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Json {
    /// Print JSON (`"schema": 1`)
    #[arg(long)]
    json: bool,
}

/// Whether a command repeats itself.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Watch {
    /// Show it again every second, until interrupted
    #[arg(long, short)]
    watch: bool,
}

/// Runs the command line of this process.
#[must_use]
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let mut context = Context {
        config: arguments.config.unwrap_or_else(paths::configuration),
        pins: arguments.pins.map_or_else(Pins::from_environment, |root| Pins::at(&root)),
        out: Out::new(),
    };
    match run(&mut context, arguments.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let failure = Failure::of(&error);
            context.out.failure(&failure);
            failure.exit.into()
        }
    }
}

/// Prints help, or what is wrong with the command line: an error like others,
/// not the findings that clap's own exit code would stand for.
fn usage(error: &clap::Error) -> ExitCode {
    let _unheard = error.print();
    if error.use_stderr() { Exit::Error.into() } else { Exit::Ok.into() }
}

fn run(context: &mut Context, command: Command) -> Result<Exit> {
    match command {
        Command::Status(arguments) => status::run(context, &arguments),
        Command::Check(arguments) => check::run(context, &arguments),
        Command::Test(arguments) => test::run(context, &arguments),
        Command::Apply(arguments) => apply::run(context, &arguments),
        Command::Confirm(arguments) => confirm::confirm(context, &arguments),
        Command::Rollback(arguments) => confirm::rollback(context, &arguments),
        Command::Boot(arguments) => boot::run(context, &arguments),
        Command::Explain(arguments) => explain::run(context, &arguments),
        Command::ExplainCode(arguments) => code::run(context, &arguments),
        Command::Rules(arguments) => rules::run(context, &arguments),
        Command::Counters(arguments) => counters::run(context, &arguments),
        Command::Rates(arguments) => rates::run(context, &arguments),
        Command::Events(arguments) => events::run(context, &arguments),
        Command::Audit(arguments) => audit::run(context, &arguments),
        Command::Ban(arguments) => ban::run(context, &arguments),
        Command::Open(arguments) => open::run(context, &arguments),
        Command::Show(arguments) => show::run(context, &arguments),
        Command::Import(arguments) => import::run(context, &arguments),
        Command::Attach(arguments) => attach::run(context, &arguments),
        Command::Detach(arguments) => detach::run(context, &arguments),
        Command::Doctor(arguments) => doctor::run(context, &arguments),
        Command::Agent(arguments) => agent::run(context, &arguments),
        Command::Completions(arguments) => completions::run(context, &arguments),
        Command::Man(arguments) => man::run(context, &arguments),
        Command::Version(arguments) => version::run(context, &arguments),
    }
}

/// Shows something once, or every second until interrupted.
fn repeat(
    context: &Context,
    (watch, Json { json }): (Watch, Json),
    mut show: impl FnMut() -> Result<()>,
) -> Result<()> {
    if !watch.watch {
        return show();
    }
    let mut first = true;
    loop {
        let start = Instant::now();
        // A document stands by itself, one on each line.
        if json {
            show()?;
        } else {
            context.out.fresh(first)?;
            show()?;
            context.out.settle()?;
        }
        if context.out.is_unheard() {
            return Ok(());
        }
        first = false;
        std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
    }
}

/// The whole grammar, for completions and manual pages.
fn grammar() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in grammar().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.ends_with('.'), "{}", command.get_name());
        }
    }

    #[test]
    fn help_fits_a_terminal() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&grammar());
    }

    #[test]
    fn every_command_that_shows_something_shows_it_as_json() {
        let without = ["agent", "completions", "man", "help"];
        for command in grammar().get_subcommands() {
            let name = command.get_name();
            let has = |command: &clap::Command| {
                command.get_arguments().any(|argument| argument.get_id() == "json")
            };
            let everywhere = has(command) || command.get_subcommands().any(has);
            assert!(everywhere || without.contains(&name), "{name}");
        }
    }
}
