//! `firewall ban`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use firewall_common::abi::ban::Ban;
use serde::Serialize;

use super::ban_import::{self, Import, Stats};
use super::client::{Client, open_store, tell_agent, unexpected};
use super::value::{self, Network};
use super::{Context, Json};
use crate::agent::protocol::{Request, Response};
use crate::banning::{Protected, Refused, written};
use crate::collect::bans::{Banned, in_force};
use crate::failure::{Exit, Failure, require_root};
use crate::host::clock::unix_ms;
use crate::kernel::bans;
use crate::kernel::clock::{after, monotonic_ns};
use crate::kernel::store::Store;
use crate::report::snapshot::SCHEMA;
use crate::report::table::{Align, Table};
use crate::report::units;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall ban add 203.0.113.7 --for 1h --reason 'login attempts'
  sudo firewall ban add 2001:db8:bad::/64 --for 10m
  sudo firewall ban import blocklist.txt --for 7d
  firewall ban list
  firewall ban stats
  sudo firewall ban del 203.0.113.7

A ban drops everything that an address sends, established connections
included, and nothing that this host sends. It always ends: rules that stay
belong into the policy, under `deny:`.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Ban an address or a network
    Add(Add),
    /// Lift a ban
    Del(Del),
    /// Ban all networks of a file, or none
    Import(Import),
    /// Bans in force, as the kernel has them
    List(ListArguments),
    /// How many bans there are, and room for how many
    Stats(Stats),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall ban add 203.0.113.7 --for 1h --reason 'login attempts'
  sudo firewall ban add 2001:db8:bad::/64 --for 10m

Refused: failsafe sources, this host, its gateway and resolvers, anything wider
than /8. The far end of your own session needs --even-me.")]
struct Add {
    /// Address or network
    #[arg(value_parser = value::network)]
    network: Network,
    /// For how long; 30d at most
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = value::duration)]
    time: Duration,
    /// Why; 40 bytes are kept
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Even if it is the far end of your own session
    #[arg(long)]
    even_me: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
struct Del {
    /// Address or network, as it was banned
    #[arg(value_parser = value::network)]
    network: Network,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    #[command(flatten)]
    json: Json,
}

/// Longest ban.
pub(super) const LONGEST: Duration = Duration::from_hours(30 * 24);

#[derive(Serialize)]
struct Document {
    schema: u32,
    bans: Vec<Banned>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    match &arguments.action {
        Action::Add(arguments) => add(context, arguments),
        Action::Del(arguments) => del(context, arguments),
        Action::Import(arguments) => ban_import::import(context, arguments),
        Action::List(arguments) => list(context, arguments),
        Action::Stats(arguments) => ban_import::stats(context, arguments),
    }
}

/// The pins of this host.
pub(super) fn store(context: &Context) -> Result<Store> {
    open_store(context)?.ok_or_else(nothing_pinned)
}

fn nothing_pinned() -> anyhow::Error {
    Failure::new("nothing is pinned: no policy has been applied on this host")
        .help("sudo firewall apply")
        .into()
}

fn add(context: &Context, arguments: &Add) -> Result<Exit> {
    let Network { address, length } = arguments.network;
    if arguments.time > LONGEST {
        return Err(Failure::new("a ban lasts 30 days at most")
            .help("what stays belongs into the policy, under `deny:`")
            .into());
    }
    if !arguments.dry_run {
        require_root("only root may change what is dropped")?;
    }
    let store = store(context)?;
    let protected = Protected::of(&store)?;
    match protected.refusal(address, length) {
        Some(Refused { only_me: true, .. }) if arguments.even_me => {}
        Some(Refused { why, only_me }) => {
            let refused = Failure::refusal(why);
            return Err(
                if only_me { refused.help("add --even-me to insist") } else { refused }.into()
            );
        }
        None => {}
    }
    let now = monotonic_ns();
    let until_ns = after(now, arguments.time);
    let key = bans::key(address, length);
    let ban = Ban { until_ns, since_ns: now, hits: 0, reason: reason(&arguments.reason) };
    if !arguments.dry_run {
        let mut table = store.bans()?;
        table.insert(key, ban)?;
        table.get(&key)?.context("the kernel does not have the ban that it has just taken")?;
    }
    let banned = Banned::of(&key, &ban);
    let verb = if arguments.dry_run { "would ban" } else { "banned" };
    let time = units::age(arguments.time);
    let text = format!("{verb} {} for {time}: everything from there is dropped", banned.network);
    tell(context, (arguments.json, arguments.dry_run), text, banned)?;
    if !arguments.dry_run {
        tell_agent(context, false);
    }
    Ok(if arguments.dry_run { Exit::Findings } else { Exit::Ok })
}

fn del(context: &Context, arguments: &Del) -> Result<Exit> {
    let Network { address, length } = arguments.network;
    if !arguments.dry_run {
        require_root("only root may change what is dropped")?;
    }
    let store = store(context)?;
    let mut table = store.bans()?;
    let key = bans::key(address, length);
    let Some(ban) = table.get(&key)? else {
        let network = written(address, length);
        for wider in (0..length).rev().map(|length| bans::key(address, length)) {
            if let Some(ban) = table.get(&wider)?.filter(|ban| ban.until_ns > monotonic_ns()) {
                let ban = Banned::of(&wider, &ban).network;
                return Err(Failure::new(format!("{network} is not banned by itself"))
                    .detail(format!("the ban of {ban} covers it"))
                    .help(format!("sudo firewall ban del {ban}"))
                    .into());
            }
        }
        return Err(Failure::new(format!("{network} is not banned"))
            .help("firewall ban list    names what is")
            .into());
    };
    if !arguments.dry_run {
        table.remove(key)?;
    }
    let banned = Banned::of(&key, &ban);
    let verb = if arguments.dry_run { "would lift" } else { "lifted" };
    let hits = units::count(banned.hits);
    let text = format!("{verb} the ban of {}   {hits} hits", banned.network);
    tell(context, (arguments.json, arguments.dry_run), text, banned)?;
    if !arguments.dry_run {
        tell_agent(context, false);
    }
    Ok(if arguments.dry_run { Exit::Findings } else { Exit::Ok })
}

/// Prints what becomes of a ban.
fn tell(
    context: &Context,
    (Json { json }, dry_run): (Json, bool),
    text: String,
    ban: Banned,
) -> Result<()> {
    let printed = if json {
        context.out.json(&Document { schema: SCHEMA, bans: vec![ban] })
    } else {
        context.out.line(&text)
    };
    context.out.told(printed, (!dry_run).then_some(text))
}

fn list(context: &Context, arguments: &ListArguments) -> Result<Exit> {
    let bans = match open_store(context) {
        Ok(Some(store)) => in_force(&store)?,
        Ok(None) => return Err(nothing_pinned()),
        // Those who may not read the map may ask who reads it.
        Err(error) => from_agent(error)?,
    };
    if arguments.json.json {
        context.out.json(&Document { schema: SCHEMA, bans })?;
        return Ok(Exit::Ok);
    }
    if bans.is_empty() {
        context.out.line("no bans")?;
        return Ok(Exit::Ok);
    }
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("banned", left),
        ("ends in", right),
        ("since", right),
        ("hits", right),
        ("reason", left),
    ]);
    for ban in bans {
        let since = units::age(Duration::from_millis(unix_ms().saturating_sub(ban.since_ms)));
        let ends = units::age(Duration::from_secs(ban.seconds_left));
        table.row([ban.network, ends, format!("{since} ago"), units::count(ban.hits), ban.reason]);
    }
    context.out.text(&table.render())?;
    Ok(Exit::Ok)
}

/// The bans as the agent reads them; `error` is why this process does not.
fn from_agent(error: anyhow::Error) -> Result<Vec<Banned>> {
    let Some(mut client) = Client::connect()? else { return Err(error) };
    match client.ask(&Request::Bans)? {
        Response::Bans { bans } => Ok(bans),
        other => Err(unexpected(&other)),
    }
}

/// The first bytes of a text, cut between characters.
pub(super) fn reason(text: &str) -> [u8; 40] {
    let mut bytes = [0; 40];
    let mut end = text.len().min(bytes.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in bytes.iter_mut().zip(text.bytes().take(end)) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_reasons_survive_the_map() {
        for (address, length) in [("203.0.113.0", 24), ("2001:db8::", 64), ("192.0.2.7", 32)] {
            let key = bans::key(address.parse().unwrap(), length);
            let ban = Ban {
                until_ns: u64::MAX,
                since_ns: 0,
                hits: 3,
                reason: reason("scan of näive ports"),
            };
            let shown = Banned::of(&key, &ban);
            assert_eq!(shown.network, written(address.parse().unwrap(), length));
            assert_eq!(shown.reason, "scan of näive ports");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let cut = reason(&"ä".repeat(30));
        assert_eq!(std::str::from_utf8(&cut[..40]).unwrap(), "ä".repeat(20));
        let cut = reason(&format!("x{}", "ä".repeat(30)));
        assert_eq!(cut[39], 0);
    }
}
