//! Section `veth`: rows of real frames, ours and those of peers.

use anyhow::Result;
use firewall_common::service::proto;

use super::Bench;
use super::bpf::{self, Kind};
use super::instruments;
use super::packets::{of_rules, rule_flows};
use super::peers;
use super::range::{FEW, FEW_FLOWS, MANY, MANY_FLOWS};
use super::wire::{BARE, Receiver, Row, Sender, measure_rows};

/// Section `veth`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    const SECTION: &str = "veth";
    let pair = bench.pair;
    let bare = instruments::bare(Kind::Xdp)?;
    let parse = instruments::parse_and_count(Kind::Xdp, proto::TCP, Kind::Xdp.drop())?;
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    let traffic = [(FEW, rule_flows(1_000, FEW_FLOWS)?), (MANY, rule_flows(1_000, MANY_FLOWS)?)];
    for (column, records) in &traffic {
        let mut row = |name: &str, receiver, alone| {
            let sender = Sender::new(pair, records, alone)?;
            rows.push(Row { name: name.to_owned(), column, receiver, sender });
            anyhow::Ok(())
        };
        row(BARE, Receiver::Xdp(bpf::duplicate(&bare)?), false)?;
        row("sender only", Receiver::Nobody, true)?;
        row("parse + count", Receiver::Xdp(bpf::duplicate(&parse)?), false)?;
    }
    for (count, words) in [(1_000, "1,000 rules"), (100_000, "100,000 rules")] {
        if !bench.wants(SECTION, words) {
            continue;
        }
        let ours = of_rules(pair, &format!("veth-{count}"), count, false)?;
        for (column, flows) in [(FEW, FEW_FLOWS), (MANY, MANY_FLOWS)] {
            let records = rule_flows(count, flows)?;
            for (name, program) in [
                (words.to_owned(), ours.judge("judge_xdp")?),
                (format!("{words}, root"), ours.root("root_xdp")?),
            ] {
                let sender = Sender::new(pair, &records, false)?;
                rows.push(Row { name, column, receiver: Receiver::Xdp(program), sender });
            }
        }
        kept.push(ours);
    }
    if bench.wants(SECTION, "xdp-filter") {
        for (name, program) in peers::xdp_filters(bench, SECTION) {
            // It passes what it is told and drops the rest: nothing here is told.
            let sender = Sender::new(pair, &traffic[1].1, false)?;
            let (name, receiver) = (name.to_owned(), Receiver::Xdp(program));
            rows.push(Row { name, column: MANY, receiver, sender });
        }
    }
    for peer in peers::netfilter(bench)? {
        let sender = Sender::new(pair, &traffic[1].1, false)?;
        let name = peer.row.clone();
        rows.push(Row { name, column: MANY, receiver: Receiver::Peer(peer), sender });
    }
    measure_rows(bench, SECTION, rows)?;
    drop(kept);
    Ok(())
}
