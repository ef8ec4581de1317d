//! `firewall status`.

use anyhow::Result;

use super::client::Numbers;
use super::{Context, Json, Watch, repeat};
use crate::failure::Exit;
use crate::forwarded::Forwarded;
use crate::host::containers::Containers;
use crate::report::Snapshot;
use crate::report::snapshot::{Enforcement, Source};
use crate::report::status;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall status
  firewall status --check && echo enforcing   for monitoring: see --check
  firewall status --json | jq .interfaces")]
pub(super) struct Arguments {
    /// Print the first line only; the exit code tells: 0 enforcing, 1 open, 2 partly or with
    /// warnings, 3 unconfirmed
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    json: Json,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let mut numbers = Numbers::open(context)?;
    // An agent has looked already.
    let containers = match numbers {
        Numbers::Maps(_) => Containers::of_this_host(),
        Numbers::Agent(_) | Numbers::Nothing => Containers::default(),
    };
    let read = |numbers: &mut Numbers| -> Result<Snapshot> {
        let mut snapshot = numbers.snapshot(context)?;
        if snapshot.source == Source::Maps {
            let forwarded = Forwarded::now(&containers, &snapshot);
            snapshot.warnings.extend(forwarded.shut_text());
            snapshot.containers = forwarded.confined_text();
        }
        Ok(snapshot)
    };
    if arguments.check {
        let snapshot = read(&mut numbers)?;
        if arguments.json.json {
            context.out.json(&status::json(&snapshot, None))?;
        } else {
            let text = status::text(&snapshot, None);
            context.out.line(text.lines().next().unwrap_or_default())?;
        }
        return Ok(judged(&snapshot));
    }
    repeat(context, (arguments.watch, arguments.json), || {
        let snapshot = read(&mut numbers)?;
        let you = numbers.you(context);
        if arguments.json.json {
            context.out.json(&status::json(&snapshot, you.as_ref()))
        } else {
            context.out.screen(&status::text(&snapshot, you.as_ref()), arguments.watch)
        }
    })?;
    Ok(Exit::Ok)
}

/// What monitoring wants to know in one number.
fn judged(snapshot: &Snapshot) -> Exit {
    let confirmed = snapshot.policy.as_ref().is_some_and(|policy| policy.confirmed);
    match snapshot.enforcement {
        Enforcement::Detached | Enforcement::NoPolicy => Exit::Error,
        _ if !confirmed => Exit::Unconfirmed,
        Enforcement::Partly => Exit::Findings,
        Enforcement::Enforcing if !snapshot.warnings.is_empty() => Exit::Findings,
        Enforcement::Enforcing => Exit::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn monitoring_is_told_in_one_number() {
        let mut snapshot = sample::snapshot();
        assert_eq!(judged(&snapshot), Exit::Findings);
        snapshot.warnings.clear();
        assert_eq!(judged(&snapshot), Exit::Ok);
        if let Some(policy) = &mut snapshot.policy {
            policy.confirmed = false;
        }
        assert_eq!(judged(&snapshot), Exit::Unconfirmed);
        snapshot.enforcement = Enforcement::Detached;
        assert_eq!(judged(&snapshot), Exit::Error);
    }
}
