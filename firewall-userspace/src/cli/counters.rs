//! `firewall counters`.

use anyhow::Result;
use firewall_common::abi::counter::INTERFACES;
use firewall_common::verdict::{Direction, Reason};
use serde::Serialize;

use super::client::{Numbers, open_store};
use super::{Context, Json, Watch, repeat};
use crate::failure::{Exit, Failure};
use crate::kernel::counters::{Counters, outcome_word};
use crate::report::rules::{self, Selection};
use crate::report::snapshot::SCHEMA;
use crate::report::table::{Align, Table};
use crate::report::units;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall counters --rule http-from-lb
  firewall counters --watch
  firewall counters --per-cpu           is the load spread over the CPUs? (root)

Packets are wire packets: a super-packet counts as what it stands for.
Requests are counted by the `count:` of a service: http1 = requests of
HTTP/1.x in clear, tls = handshakes, mysql = commands in clear (query and
execute), dns = queries.")]
pub(super) struct Arguments {
    /// Only one rule
    #[arg(long)]
    rule: Option<String>,
    /// Packets by CPU, from the pinned maps
    #[arg(long, conflicts_with = "rule")]
    per_cpu: bool,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    json: Json,
}

#[derive(Serialize)]
struct PerCpu {
    schema: u32,
    cpus: Vec<OnCpu>,
}

#[derive(Serialize)]
struct OnCpu {
    cpu: usize,
    ingress_packets: u64,
    egress_packets: u64,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    if arguments.per_cpu {
        return per_cpu(context, arguments);
    }
    let selection = Selection { name: arguments.rule.clone(), ..Selection::default() };
    let mut numbers = Numbers::open(context)?;
    if let Some(name) = &arguments.rule
        && selection.of(&numbers.snapshot(context)?).is_empty()
    {
        return Err(Failure::new(format!("no rule called `{name}` is in force"))
            .help("firewall rules    lists them")
            .into());
    }
    repeat(context, (arguments.watch, arguments.json), || {
        let snapshot = numbers.snapshot(context)?;
        if arguments.json.json {
            context.out.json(&rules::counters_json(&snapshot, &selection))
        } else {
            context.out.screen(&rules::counters_text(&snapshot, &selection), arguments.watch)
        }
    })?;
    Ok(Exit::Ok)
}

fn per_cpu(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let Some(store) = open_store(context)? else {
        return Err(Failure::new("nothing is pinned: nothing is counted").into());
    };
    repeat(context, (arguments.watch, arguments.json), || {
        let counters = store.counters("CPUS", false)?;
        let cpus = (0..counters.cpus()).map(|cpu| of_cpu(&counters, cpu));
        let document = PerCpu { schema: SCHEMA, cpus: cpus.collect() };
        if arguments.json.json {
            return context.out.json(&document);
        }
        let right = Align::Right;
        let mut table = Table::new([("cpu", right), ("packets in", right), ("packets out", right)]);
        for OnCpu { cpu, ingress_packets, egress_packets } in document.cpus {
            let (ingress, egress) = (units::count(ingress_packets), units::count(egress_packets));
            table.row([cpu.to_string(), ingress, egress]);
        }
        context.out.screen(&table.render(), arguments.watch)
    })?;
    Ok(Exit::Ok)
}

fn of_cpu(counters: &Counters, cpu: usize) -> OnCpu {
    let packets = |way| {
        let words = (0..INTERFACES).flat_map(|interface| {
            (0..Reason::COUNT).map(move |reason| outcome_word(interface, way, reason))
        });
        words.fold(0_u64, |sum, word| sum.wrapping_add(counters.at(cpu, word)))
    };
    OnCpu {
        cpu,
        ingress_packets: packets(Direction::Ingress),
        egress_packets: packets(Direction::Egress),
    }
}
