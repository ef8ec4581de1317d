//! Tables that contradict themselves: the chain's default holds, under a name that
//! says so.
//!
//! The compiler makes none such. A section is moved past the end by hand, as if
//! the bytes had been cut off.

use anyhow::{Result, ensure};
use firewall_common::abi::tables::Setting;
use firewall_common::verdict::Reason;
use firewall_policy::compile::{Budget, Generation};
use firewall_tests::packet::{Tcp, flags};

use crate::common::policy;
use crate::ends::{Ends, twins};
use crate::ledger::{Case, EGRESS, Expect, INGRESS, drop, pass};
use crate::shared::Shared;

const RULES: &str = "services: { http: { tcp: 80 } }
ingress: { allow: [{ name: web, from: [198.51.100.0/24, \"2001:db8:2::/64\"], service: http }] }
egress:  { allow: [{ name: out, to: [198.51.100.0/24, \"2001:db8:2::/64\"], service: http }] }
";

/// The generation of these rules with sections of its tables lost.
fn lost(defaults: &str, sections: &[Setting]) -> Result<Generation> {
    let policy = policy::read(&format!("default: {defaults}\n{RULES}"))?;
    let mut generation = policy::compiled(&policy, Budget::USUAL)?;
    let end = generation.settings[Setting::TableWords as usize];
    for section in sections {
        generation.settings[*section as usize] = end;
    }
    Ok(generation)
}

fn cases(ends: Ends, expect: impl Fn() -> Expect) -> Vec<Case> {
    let answer = Tcp { flags: flags::ACK, ..Tcp::between(80, 40_000) };
    vec![
        Case::new("in", INGRESS, ends.arrives().tcp(Tcp::between(40_000, 80)), expect()),
        Case::new("out", EGRESS, ends.leaves().tcp(Tcp::between(40_000, 80)), expect()),
        Case::new(
            "an answer of a known flow",
            INGRESS,
            ends.arrives().tcp(Tcp::between(40_000, 80)),
            expect(),
        )
        .flow(ends.flow(6, 80, 40_000)),
        Case::new("a ban", INGRESS, ends.arrives().tcp(answer), expect())
            .ban("198.51.100.20/32")
            .ban("2001:db8:2::20/128"),
    ]
}

#[test]
fn lost_cells_give_the_default() -> Result<()> {
    const CELLS: &[Setting] = &[Setting::CellsIngress, Setting::CellsEgress];
    static CLOSED: Shared = Shared::built(|| lost("{ ingress: drop, egress: drop }", CELLS));
    static OPEN: Shared = Shared::built(|| lost("{ ingress: allow, egress: allow }", CELLS));
    // The last one's port is a client's: its word decides at once.
    let some = |expect: fn() -> Expect| {
        twins(move |ends| {
            let mut cases = cases(ends, expect);
            cases.truncate(3);
            cases
        })
    };
    CLOSED.table(some(|| drop(Reason::InternalErrorDrop)))?;
    OPEN.table(some(|| pass(Reason::InternalErrorPass)))
}

/// What decides by port asks no bounds, because the kernel knows them.
#[test]
fn the_kernel_refuses_a_lost_service_table() -> Result<()> {
    const SERVICES: &[Setting] = &[Setting::ServicesIngress, Setting::ServicesEgress];
    static LOST: Shared = Shared::built(|| lost("{ ingress: drop, egress: drop }", SERVICES));
    let refusal = LOST.table(twins(|ends| cases(ends, || drop(Reason::DefaultDrop)))).unwrap_err();
    let refusal = format!("{refusal:#}");
    ensure!(refusal.contains("the kernel refuses judge_xdp"), "{refusal}");
    ensure!(refusal.contains("the kernel refuses judge_egress"), "{refusal}");
    Ok(())
}
