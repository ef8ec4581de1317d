//! Rules that ask for TCP flags.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Tcp, flags};

use crate::ends::twins;
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::Shared;

use flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};

#[test]
fn a_rule_asks_for_set_and_for_clear_flags() -> Result<()> {
    static FLAGS: Shared = Shared::new(
        "services: { app: { tcp: 8090 }, http: { tcp: 80 } }
ingress:
  deny:
    - { name: no-urgent, from: any, service: http, tcp-flags: [urg] }
  allow:
    - { name: calls, from: any, service: app, tcp-flags: [syn, \"!ack\"] }
    - { name: web, from: any, service: http }
egress:
  allow:
    - { name: resets, to: any, service: app, tcp-flags: [rst] }
",
    );
    FLAGS.table(twins(|ends| {
        let to = |port, flags| ends.arrives().tcp(Tcp { flags, ..Tcp::between(40_000, port) });
        let out = |flags| ends.leaves().tcp(Tcp { flags, ..Tcp::between(40_000, 8090) });
        let no = || drop(Reason::DefaultDrop);
        [
            Case::new("SYN", INGRESS, to(8090, SYN), allowed("calls").opens()),
            Case::new("SYN with ECN", INGRESS, to(8090, SYN | ECE | CWR), allowed("calls").opens()),
            Case::new("SYN ACK", INGRESS, to(8090, SYN | ACK), no()),
            Case::new("ACK", INGRESS, to(8090, ACK), no()),
            Case::new("FIN ACK", INGRESS, to(8090, FIN | ACK), no()),
            Case::new("SYN to another port", INGRESS, to(8091, SYN), no()),
            Case::new("urgent", INGRESS, to(80, ACK | URG), denied("no-urgent")),
            Case::new("not urgent", INGRESS, to(80, ACK | PSH), allowed("web")),
            Case::new("RST out", EGRESS, out(RST), allowed("resets").opens()),
            Case::new("SYN out", EGRESS, out(SYN), no()),
        ]
    }))?;
    // An answer is not asked for the flags of what it answers.
    FLAGS.table(twins(|ends| {
        let answer = ends.leaves().tcp(Tcp { flags: ACK, ..Tcp::between(8090, 40_000) });
        [Case::new("an answer", EGRESS, answer, pass(Reason::Established))]
    }))
}
