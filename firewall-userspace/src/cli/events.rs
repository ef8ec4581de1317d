//! `firewall events`.

use std::time::Duration;

use anyhow::Result;
use firewall_common::verdict::Reason;
use serde::Serialize;

use super::client::{Client, Numbers, open_store, unexpected};
use super::{Context, value};
use crate::agent::name_event;
use crate::agent::protocol::{Request, Response};
use crate::collect::Known;
use crate::failure::{Exit, Failure};
use crate::host::clock::{Local, unix_ms};
use crate::report::aggregate::Aggregator;
use crate::report::event::{Filter, Line, text};
use crate::report::snapshot::{Action, SCHEMA, Way};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall events -f                          what is dropped, as it happens
  firewall events --since 10m --port 3306
  firewall events -f --from 192.0.2.0/24 -o json

Events are samples: of a flood from one source one packet a second and CPU is
told, of one from many 64, and how many more there were. Counters are the
truth. A process name is looked up afterwards and may be wrong, hence the
question mark.")]
pub(super) struct Arguments {
    /// Go on with those to come
    #[arg(long, short)]
    follow: bool,
    /// How many of the past to show
    #[arg(long, short = 'n', default_value_t = 100)]
    lines: usize,
    /// Only one verdict
    #[arg(long, value_parser = ["drop", "allow"])]
    verdict: Option<String>,
    /// Only what a rule, a built-in or a reason decided
    #[arg(long)]
    rule: Option<String>,
    /// Only from an address or a network
    #[arg(long, value_name = "CIDR", value_parser = value::network)]
    from: Option<value::Network>,
    /// Only from or to a port
    #[arg(long)]
    port: Option<u16>,
    /// Only what is not older
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    since: Option<Duration>,
    /// How to print
    #[arg(long, short, value_parser = ["text", "json"], default_value = "text")]
    output: String,
    /// The same as `-o json`: one document per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    #[serde(flatten)]
    line: &'a Line,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let since = arguments.since.map_or(0, |since| {
        unix_ms().saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    });
    let filter = Filter {
        verdict: arguments.verdict.as_deref().map(|verdict| match verdict {
            "allow" => Action::Allow,
            _ => Action::Drop,
        }),
        rule: arguments.rule.clone(),
        from: arguments.from.map(|network| (network.address, network.length)),
        port: arguments.port,
        since_ms: since,
    };
    let json = arguments.json || arguments.output == "json";
    let show = |line: &Line| -> Result<()> {
        if !filter.wants(line) {
            return Ok(());
        }
        if json {
            let document = Document { schema: SCHEMA, line };
            return context.out.line(&serde_json::to_string(&document)?);
        }
        context.out.line(&text(line, |ms| Local::of(ms).time_of_day()))
    };
    if let Some(rule) = &arguments.rule {
        note_unknown(context, rule)?;
    }
    match Client::connect()? {
        Some(client) => from_agent(context, client, arguments, &filter, show),
        None => from_ring(context, arguments.follow, show),
    }?;
    Ok(Exit::Ok)
}

/// A name that nothing in force has may be a slip: waiting for it takes long.
fn note_unknown(context: &Context, rule: &str) -> Result<()> {
    let snapshot = Numbers::open(context)?.snapshot(context)?;
    let is_rule = |name: &str| name == rule || name.rsplit('/').next() == Some(rule);
    let is_known = Way::BOTH.iter().any(|way| way.default_name() == rule)
        || Reason::ALL.iter().any(|reason| reason.name() == rule)
        || snapshot.rules.iter().any(|one| is_rule(&one.name));
    if !is_known {
        context.out.note(&format!(
            "note: no rule, built-in or reason is called `{rule}` now (firewall rules, firewall counters)"
        ));
    }
    Ok(())
}

fn from_agent(
    context: &Context,
    mut client: Client,
    arguments: &Arguments,
    filter: &Filter,
    show: impl Fn(&Line) -> Result<()>,
) -> Result<()> {
    // What a filter takes away does not count as shown.
    let all = Filter { since_ms: filter.since_ms, ..Filter::default() };
    let last = if *filter == all { arguments.lines } else { usize::MAX };
    client.send(&Request::Events { last, follow: arguments.follow })?;
    if arguments.follow {
        client.wait_forever()?;
    }
    let mut past = Vec::new();
    while let Some(response) = client.next()? {
        let Response::Event { line } = response else { return Err(unexpected(&response)) };
        if arguments.follow {
            show(&line)?;
            if context.out.is_unheard() {
                return Ok(());
            }
        } else if filter.wants(&line) {
            past.push(*line);
        }
    }
    if arguments.follow {
        return Err(Failure::new("the agent has gone: no more events come")
            .help("again, once it runs: systemctl status firewall")
            .into());
    }
    let skip = past.len().saturating_sub(arguments.lines);
    past.iter().skip(skip).try_for_each(show)
}

/// Without an agent the ring is read here: what is read is gone from it.
fn from_ring(context: &Context, follow: bool, show: impl Fn(&Line) -> Result<()>) -> Result<()> {
    let Some(store) = open_store(context)? else {
        return Err(Failure::new("nothing is pinned: there are no events").into());
    };
    context
        .out
        .note("note: no agent runs; reading the kernel's ring, which keeps the last few only");
    let known = store.meta()?.map(Known::new);
    let mut events = store.events()?;
    let mut aggregator = Aggregator::default();
    let mut before = store.sampled()?;
    loop {
        while let Some(raw) = events.next_event() {
            if let Some(line) = aggregator.push(name_event(&raw, known.as_ref())) {
                show(&line)?;
            }
        }
        let sampled = store.sampled()?;
        let (suppressed, lost) =
            (sampled.suppressed - before.suppressed, sampled.lost - before.lost);
        before = sampled;
        for line in aggregator.close(unix_ms(), suppressed, lost) {
            show(&line)?;
        }
        if !follow || context.out.is_unheard() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
