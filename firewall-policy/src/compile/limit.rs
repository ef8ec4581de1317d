//! What memory a policy may take, and what is done about it.

use firewall_common::abi::counter::{METRICS, RuleCounter};
use firewall_common::abi::flow::{places, table_bytes};

use super::by_line::Plan;
use super::cells::{Form, Need, Sparse};
use super::combined::Combined;
use super::error::CompileError;
use super::judge::Judge;
use super::layout::{Layout, Parts};
use super::memory::{Memory, TABLE_BYTES_MAX};
use super::slots::{SlotTable, rule_counters};

use super::{Budget, Environment};
use crate::ir::{Chain, Direction, Policy, Rule};

/// Bytes up to which lines are taken before other forms are tried to the utmost: those
/// cost a packet less where they fit at all.
const LINES_BYTES: u64 = 256 << 20;

/// Bytes of which little is far from the CPU.
const SMALL_BYTES: u64 = 8 << 20;

/// What memory a policy may take.
pub(super) struct Limit {
    seed: u32,
    budget: Budget,
    memory_max: Option<u64>,
    /// What generations share.
    shared: Memory,
}

impl Limit {
    pub(super) fn of(policy: &Policy, environment: &Environment, slots: &SlotTable) -> Self {
        // What was counted before counters grew is kept: twice as much at most.
        let counters = |slots: u32, width: usize| {
            2 * u64::from(slots) * width as u64 * u64::from(environment.cpus)
        };
        let shared = Memory {
            rule_counters: counters(rule_counters(slots.rules()), size_of::<RuleCounter>()),
            request_counters: counters(slots.requests().next_power_of_two(), 8 * METRICS as usize),
            flows: table_bytes(places(environment.flows.unwrap_or(policy.state.flows))),
            metadata: [&policy.ingress, &policy.egress]
                .into_iter()
                .flat_map(Chain::rules)
                .map(metadata_bytes)
                .sum(),
            ..Memory::default()
        };
        Self {
            seed: environment.seed,
            budget: environment.budget,
            memory_max: policy.memory_max,
            shared,
        }
    }

    /// Chooses the form of a chain's cells, and works out all but the dense one.
    pub(super) fn choose(
        &self,
        judge: &Judge<'_>,
        direction: Direction,
    ) -> Result<Form, CompileError> {
        if Need::of(judge).dense_bytes <= self.budget.dense_bytes {
            return Ok(Form::Dense);
        }
        let bytes_max = TABLE_BYTES_MAX.min(self.memory_max.unwrap_or(u64::MAX));
        let sparse = |most: u64| Sparse::new(judge, self.seed, most.min(bytes_max));
        let shared_bytes = self.budget.shared_bytes;
        if judge.sides.locals() == 1
            && let Ok(sparse) = sparse(shared_bytes)
        {
            return Ok(Form::Sparse(sparse));
        }
        let by_line = Plan::new(judge, self.budget.row_bytes);
        // Of a policy that is replaced, both generations' tables are in memory.
        let by_line = by_line.filter(|plan| plan.bytes(judge) <= bytes_max / 2);
        let [combined_max, sparse_max] = match &by_line {
            // Two look-ups instead of nine are worth some memory.
            Some(plan) if plan.is_of_rows() => {
                [shared_bytes.min(SMALL_BYTES.max(2 * plan.bytes(judge))); 2]
            }
            Some(plan) if plan.bytes(judge) <= LINES_BYTES => [shared_bytes; 2],
            _ => [2 * shared_bytes, bytes_max],
        };
        if let Some(combined) = Combined::new(judge, self.seed, combined_max.min(bytes_max / 2)) {
            return Ok(Form::Combined(combined));
        }
        match (sparse(sparse_max), by_line) {
            (Ok(sparse), _) => Ok(Form::Sparse(sparse)),
            (Err(_), Some(plan)) => Ok(Form::Lines(plan.write(judge))),
            (Err(bytes), None) => {
                let mut memory = self.shared.clone();
                match direction {
                    Direction::Ingress => memory.cells_ingress = bytes,
                    Direction::Egress => memory.cells_egress = bytes,
                }
                Err(self.refuse(memory, cause(judge)))
            }
        }
    }

    /// Checks the whole, before any of it is taken.
    pub(super) fn check(&self, layout: &Layout, parts: &Parts<'_>) -> Result<Memory, CompileError> {
        let mut memory = Memory {
            services: layout.services.iter().map(|section| section.bytes()).sum(),
            roots: layout.root_v4.bytes() + layout.root_v6.bytes(),
            blocks: layout.blocks.bytes(),
            compares: layout.compares.bytes(),
            filter: layout.bitmap.bytes() + layout.filter.bytes(),
            hosts: layout.hosts.iter().map(|section| section.bytes()).sum(),
            cells_ingress: layout.cell_bytes(0),
            cells_egress: layout.cell_bytes(1),
            ..self.shared.clone()
        };
        memory.small = layout.bytes() - memory.table_bytes();
        let fits = memory.table_bytes() <= TABLE_BYTES_MAX
            && self.memory_max.is_none_or(|most| memory.total_bytes() <= most);
        if fits {
            return Ok(memory);
        }
        let [(ingress, _), (egress, _)] = &parts.chains;
        let largest = memory.largest().0;
        let cause = match largest {
            "ingress cells" => cause(ingress),
            "egress cells" => cause(egress),
            "lone addresses" => format!("{} addresses", parts.addresses.lone()),
            _ if largest.starts_with("address") => {
                format!("{} networks", parts.addresses.v4.len() + parts.addresses.v6.len())
            }
            _ => match ingress.rules() + egress.rules() {
                1 => "1 rule".to_owned(),
                rules => format!("{rules} rules"),
            },
        };
        Err(self.refuse(memory, cause))
    }

    fn refuse(&self, memory: Memory, cause: String) -> CompileError {
        let setting = self.memory_max.filter(|_| memory.table_bytes() <= TABLE_BYTES_MAX);
        CompileError::Memory {
            memory: Box::new(memory),
            bytes_max: setting.unwrap_or(TABLE_BYTES_MAX),
            cause,
            is_setting: setting.is_some(),
        }
    }
}

/// Bytes that tell people of a rule: its words, its name once more beside its counter, numbers.
fn metadata_bytes(rule: &Rule) -> u64 {
    const NUMBERS: usize = 48;
    let Rule { name, role, span, remote_text, service_text, .. } = rule;
    let words = [name, name, role, role, &span.source.name, remote_text, service_text];
    (NUMBERS + words.map(String::len).into_iter().sum::<usize>()) as u64
}

/// Where the cells of a chain come from.
fn cause(judge: &Judge<'_>) -> String {
    let [rows, columns] = judge.classes();
    let sides = match judge.sides.count() {
        1 => String::new(),
        sides => format!(" by {sides} combinations of local end, interface, VLAN and flags"),
    };
    format!("{rows} address classes by {columns} service classes{sides}")
}
