//! `firewall ban import` and `firewall ban stats`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::abi::ban::Ban;
use firewall_policy::networks::{self, Network};
use serde::Serialize;

use super::ban::{LONGEST, reason, store};
use super::check::refused;
use super::client::tell_agent;
use super::value;
use super::{Context, Json};
use crate::banning::{Protected, Refused};
use crate::failure::{Exit, Failure, require_root};
use crate::kernel::bans::{self, Added};
use crate::kernel::clock::{after, monotonic_ns};
use crate::report::snapshot::SCHEMA;
use crate::report::units;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall ban import blocklist.txt --for 7d --reason 'weekly list'
  curl -fsS https://lists.example.net/ssh | sudo firewall ban import -
  firewall ban import blocklist.txt --dry-run
  sudo firewall ban import blocklist.txt --for 7d --replace

One address or network a line; `#` or `;` begins a comment. All of them are
banned at once, or none: a line that cannot be read, a network that must not be
banned, or too little room changes nothing. Importing again renews: no ban is
there twice. --replace lifts every ban that the list does not name, at the same
moment.

Exit codes: 0 banned; 1 refused, nothing changed; 2 with --dry-run, there is
something to ban; 4 not permitted.")]
pub(super) struct Import {
    /// File of networks, `-` for standard input
    file: PathBuf,
    /// For how long; 30d at most
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = value::duration)]
    time: Duration,
    /// Why; 40 bytes are kept
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Leave out what must not be banned, instead of refusing the file
    #[arg(long)]
    skip_protected: bool,
    /// Lift every ban that is not in the list, whoever made it
    #[arg(long)]
    replace: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall ban stats
  firewall ban stats --json")]
pub(super) struct Stats {
    #[command(flatten)]
    json: Json,
}

/// Bytes of a file: a million lines of 64.
const MAX_BYTES: u64 = 64 << 20;

/// Refusals shown of one file.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct Imported {
    schema: u32,
    networks: usize,
    new: usize,
    renewed: usize,
    lifted: usize,
    skipped: usize,
}

impl Imported {
    fn words(&self, arguments: &Import) -> String {
        let verb = if arguments.dry_run { "would ban" } else { "banned" };
        let (time, networks) =
            (units::age(arguments.time), units::plural(self.networks, "network"));
        let [new, renewed, lifted, skipped] = [self.new, self.renewed, self.lifted, self.skipped]
            .map(|part| units::count(part as u64));
        let lifted = if arguments.replace { format!(", {lifted} lifted") } else { String::new() };
        let left = if self.skipped == 0 { String::new() } else { format!(", {skipped} left out") };
        format!("{verb} {networks} for {time}: {new} new, {renewed} renewed{lifted}{left}")
    }
}

pub(super) fn import(context: &Context, arguments: &Import) -> Result<Exit> {
    if arguments.time > LONGEST {
        return Err(Failure::new("a ban lasts 30 days at most")
            .help("what stays belongs into the policy, as a group that `deny:` names")
            .into());
    }
    if !arguments.dry_run {
        require_root("only root may change what is dropped")?;
    }
    let (name, bytes) = contents(&arguments.file)?;
    if bytes.last().is_some_and(|last| *last != b'\n') {
        // What fetches a list may have been cut off.
        context.out.note(&format!("warning: the last line of {name} has no end: is it whole?"));
    }
    let networks = networks::read(&name, bytes)
        .map_err(|report| refused(context, &report, &name, arguments.json))?;
    let store = store(context)?;
    let (wanted, skipped) = admissible(arguments, &name, networks, &Protected::of(&store)?)?;
    if wanted.is_empty() && (skipped == 0 || arguments.replace) {
        return Err(Failure::new(format!("{name} has no network to ban"))
            .detail("nothing was changed")
            .help("what wrote the list may have failed: look at it")
            .into());
    }
    let now = monotonic_ns();
    let until_ns = after(now, arguments.time);
    let ban = Ban { until_ns, since_ns: now, hits: 0, reason: reason(&arguments.reason) };
    let batch: Vec<_> = wanted.iter().map(|one| bans::key(one.address, one.length)).collect();
    let mut table = store.bans()?;
    let Added { new, renewed, lifted } = match (arguments.dry_run, arguments.replace) {
        (true, is_all) => table.would_add(&batch, &ban, is_all)?,
        (false, true) => table.replace_all(&batch, &ban)?,
        (false, false) => table.insert_all(&batch, &ban)?,
    };
    let imported =
        Imported { schema: SCHEMA, networks: batch.len(), new, renewed, lifted, skipped };
    let text = imported.words(arguments);
    let printed =
        if arguments.json.json { context.out.json(&imported) } else { context.out.line(&text) };
    context.out.told(printed, (!arguments.dry_run).then_some(text))?;
    if arguments.dry_run {
        return Ok(if batch.is_empty() { Exit::Ok } else { Exit::Findings });
    }
    tell_agent(context, false);
    Ok(Exit::Ok)
}

/// Name and content of a file, or of standard input.
fn contents(path: &Path) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let (name, read) = if path == Path::new("-") {
        ("stdin".to_owned(), std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes))
    } else {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).with_context(|| format!("could not read {name}"))?;
        (name, file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("could not read {name}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::new(format!("{name} has more than 64 MiB"))
            .help("split -n l/2 FILE, and import the parts")
            .into());
    }
    Ok((name, bytes))
}

/// The networks that may be banned, and how many were left out.
fn admissible(
    arguments: &Import,
    name: &str,
    mut networks: Vec<Network>,
    protected: &Protected,
) -> Result<(Vec<Network>, usize)> {
    let sieve = protected.sieve();
    let mut found = Vec::new();
    networks.retain(|one| match sieve.refusal(protected, one.address, one.length) {
        None => true,
        Some(Refused { why, .. }) => {
            found.push((one.line, why));
            false
        }
    });
    if found.is_empty() || arguments.skip_protected {
        return Ok((networks, found.len()));
    }
    let refused = units::plural(found.len(), "network");
    let mut failure = Failure::refusal(format!("{name} has {refused} that must not be banned"));
    for (line, why) in found.iter().take(SHOWN) {
        failure = failure.detail(format!("{name}:{line}: {why}"));
    }
    if found.len() > SHOWN {
        failure = failure.detail(format!("and {} more", found.len() - SHOWN));
    }
    Err(failure.help("add --skip-protected to ban the others").into())
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    bans: u64,
    ending_soon: u64,
    room: u32,
    capacity: u32,
    bytes: u64,
}

pub(super) fn stats(context: &Context, arguments: &Stats) -> Result<Exit> {
    let mut table = store(context)?.bans()?;
    let usage = table.usage()?;
    let now = monotonic_ns();
    let (bans, ending_soon) = table.count(now, now.saturating_add(600_000_000_000))?;
    let document = Document {
        schema: SCHEMA,
        bans,
        ending_soon,
        room: usage.room,
        capacity: usage.capacity,
        bytes: usage.bytes,
    };
    if arguments.json.json {
        context.out.json(&document)?;
        return Ok(Exit::Ok);
    }
    let count = |number: u32| units::count(number.into());
    context.out.line(&format!(
        "bans in force   {} ({} end within 10 min)",
        units::count(bans),
        units::count(ending_soon)
    ))?;
    context.out.line(&format!(
        "room            {} before the table grows, {} at most",
        count(usage.room),
        count(usage.capacity)
    ))?;
    context.out.line(&format!("memory          {}", units::memory(usage.bytes)))?;
    Ok(Exit::Ok)
}
