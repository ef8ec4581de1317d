//! The same as JSON, `"schema": 1`.

use std::io::Write as _;

use serde_json::{Value, json};

use super::{Results, drops, passes};
use crate::demo::book::Outcome;
use crate::demo::plan::SERVERS;

/// Prints everything; a reader that has gone is no error.
pub(crate) fn print(results: &Results<'_>) {
    let _ = writeln!(std::io::stdout(), "{:#}", value(results));
}

fn value(results: &Results<'_>) -> Value {
    let Results { book, numbers, totals, seconds, .. } = results;
    let servers = SERVERS.iter().filter(|server| book.wants(&[server.tier])).map(|server| {
        let by = |all: Vec<(String, u64)>| -> Value {
            all.into_iter()
                .map(|(name, packets)| (name, packets.into()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "name": server.name, "role": server.role, "tier": server.tier.name(),
            "allowed": by(passes(totals, server.name)), "dropped": by(drops(totals, server.name)),
        })
    });
    let requests = numbers.requests.iter().map(|one| {
        json!({
            "server": one.server, "rule": one.rule, "unit": one.unit, "firewall": one.firewall,
            "truth": one.truth, "source": one.source,
            "difference": i64::try_from(one.difference()).unwrap_or(i64::MAX),
        })
    });
    let traffic = numbers.traffic.iter().map(|one| {
        json!({
            "server": one.server,
            "in": { "firewall": one.arrived, "link": one.link_arrived },
            "out": { "firewall": one.left, "link": one.link_left, "kernel": one.kernel_left },
            "dropped": one.dropped,
        })
    });
    let checks = book.checks().iter().map(|check| {
        let outcome = match check.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
        };
        json!({
            "part": check.part.name(), "what": check.what, "outcome": outcome, "seen": check.seen,
        })
    });
    let warnings = results
        .warnings
        .iter()
        .map(|one| json!({ "server": one.server, "messages": one.messages }));
    json!({
        "schema": 1,
        "passed": book.passed(),
        "verdict": results.verdict(),
        "seconds": seconds,
        "servers": servers.collect::<Vec<_>>(),
        "load": {
            "seconds": numbers.seconds,
            "requests": requests.collect::<Vec<_>>(),
            "packets": traffic.collect::<Vec<_>>(),
        },
        "warnings": warnings.collect::<Vec<_>>(),
        "checks": checks.collect::<Vec<_>>(),
    })
}
