//! `firewall audit`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use firewall_common::packet::Address;
use serde::Serialize;

use super::client::{Numbers, open_store};
use super::{Context, Json};
use crate::audit::{self, Finding, Seen};
use crate::collect::Known;
use crate::failure::Exit;
use crate::host::containers::Containers;
use crate::host::sockets::{self, Sockets};
use crate::host::users;
use crate::report::snapshot::{Level, SCHEMA, Source};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall audit            what is weak about this host, and what to do
  firewall audit --json | jq -r '.findings[] | .id + \": \" + .message'
  firewall audit --json | jq '[.findings[].id] | unique'

Looks at the rules in force and what they have counted, at the sockets of this
host and the flows it has opened; nothing is sent and nothing changed. Works
without the agent. As another user than root it does not see processes, flows
and containers.

Ids: not-enforced, default-allow, open-to-everybody, plaintext-http,
plaintext-mysql, several-roles, single-primary, no-monitoring,
published-but-shut, listens-but-shut, admitted-but-unused.
Exit code 0 if there are none but notes, 2 with findings.")]
pub(super) struct Arguments {
    #[command(flatten)]
    json: Json,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    source: Source,
    host: &'a str,
    time_ms: u64,
    roles: &'a [String],
    findings: &'a [Finding],
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let seen = Seen {
        snapshot: Numbers::open(context)?.snapshot(context)?,
        sockets: Sockets::read(),
        flows: flows(context)?,
        containers: Containers::of_this_host(),
        ephemeral: sockets::first_ephemeral(),
    };
    let findings = audit::findings(&seen);
    if arguments.json.json {
        let snapshot = &seen.snapshot;
        context.out.json(&Document {
            schema: SCHEMA,
            source: snapshot.source,
            host: &snapshot.host,
            time_ms: snapshot.time_ms,
            roles: snapshot.policy.as_ref().map_or(&[], |policy| &policy.roles),
            findings: &findings,
        })?;
    } else {
        context.out.text(&audit::text(&findings))?;
    }
    let worst = findings.iter().map(|one| one.level).max();
    Ok(if worst >= Some(Level::Warn) { Exit::Findings } else { Exit::Ok })
}

/// Flows that were silent for longer are of no interest here.
const LATELY: Duration = Duration::from_hours(1);

/// Other ends of the flows that this host has opened lately, by the rule that let
/// it.
fn flows(context: &Context) -> Result<BTreeMap<String, BTreeSet<IpAddr>>> {
    let mut found: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    if users::effective_uid() != 0 {
        return Ok(found);
    }
    let Some(store) = open_store(context)? else { return Ok(found) };
    let Some(known) = store.meta()?.map(Known::new) else { return Ok(found) };
    let flows = store.flows()?;
    for (key, flow) in flows.iter() {
        let is_recent = flows.silence(&flow) <= LATELY;
        if let Some((name, _)) = known.rule(flow.slot).filter(|_| is_recent) {
            let remote = Address { hi: key.remote[0], lo: key.remote[1] };
            let remote = match key.family {
                4 => IpAddr::V4(remote.v4().into()),
                _ => IpAddr::V6(remote.v6().into()),
            };
            found.entry(name.to_owned()).or_default().insert(remote);
        }
    }
    Ok(found)
}
