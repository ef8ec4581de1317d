//! What is measured.

use anyhow::{Result, anyhow, ensure};
use firewall_common::verdict::Verdict;
use firewall_policy::compile::{Environment, SlotTable, compile};
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Options, Subject, load};
use firewall_userspace::kernel::program::Facts;
use firewall_userspace::kernel::sandbox::{Hook, Sandbox};

use super::bare::Bare;
use crate::packet::{Frame, Ipv4, Ipv6, Tcp, flags};

/// A small web server's policy: one port for all, one by source.
const POLICY: &str = "\
version: 1
role: bench
groups: { clients: [198.51.100.0/24, \"2001:db8:2::/48\"] }
services:
  open:   { tcp: 8081 }
  web:    { tcp: 80, count: http1 }
  closed: { tcp: 8082 }
  limited: { tcp: 8080 }
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
ingress:
  deny:
    - { name: closed, from: any, service: closed }
  allow:
    - { name: open, from: any, service: open }
    - { name: web, from: any, service: web }
    - { name: limited, from: clients, service: limited }
";

/// One row: a program and a frame.
pub(super) struct Row {
    pub(super) name: &'static str,
    program: Program,
    frame: Vec<u8>,
    expect: Verdict,
}

enum Program {
    Bare(Bare),
    Ours(Box<Sandbox>, Hook),
}

impl Row {
    fn ours(name: &'static str, hook: Hook, frame: &Frame, expect: Verdict) -> Result<Self> {
        let program = Program::Ours(Box::new(sandbox()?), hook);
        Ok(Self { name, program, frame: frame.bytes(), expect })
    }

    /// Refuses a row whose verdict is not the one it is named for.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Program::Ours(sandbox, hook) = &mut self.program {
            let verdict = sandbox.run(*hook, &self.frame, 1)?;
            ensure!(verdict == self.expect, "{}: the verdict is {verdict:?}", self.name);
        }
        Ok(())
    }

    pub(super) fn run(&mut self, repeat: u32) -> Result<()> {
        match &mut self.program {
            Program::Bare(bare) => bare.run(&self.frame, repeat),
            Program::Ours(sandbox, hook) => sandbox.run(*hook, &self.frame, repeat).map(drop),
        }
    }
}

/// Every row, the bare program first.
pub(super) fn rows() -> Result<Vec<Row>> {
    let v4 = |port, tcp_flags| {
        let tcp = Tcp { flags: tcp_flags, ..Tcp::between(40_000, port) };
        Frame::ethernet().ipv4(Ipv4::default()).tcp(tcp)
    };
    let v6 = |port| Frame::ethernet().ipv6(Ipv6::default()).tcp(Tcp::between(40_000, port));
    let (ack, data) = (flags::ACK, flags::ACK | flags::PSH);
    let request = v4(80, data).payload(b"GET / HTTP/1.1\r\nHost: www\r\n\r\n");
    let bare = Row {
        name: "bare XDP_DROP",
        program: Program::Bare(Bare::load()?),
        frame: v4(8081, ack).bytes(),
        expect: Verdict::Drop,
    };
    let (pass, dropped) = (Verdict::Pass, Verdict::Drop);
    Ok(vec![
        bare,
        Row::ours("accept, decided by port", Hook::Xdp, &v4(8081, ack), pass)?,
        Row::ours("drop, decided by port", Hook::Xdp, &v4(8082, ack), dropped)?,
        Row::ours("accept, source x port", Hook::Xdp, &v4(8080, ack), pass)?,
        Row::ours("accept, source x port, IPv6", Hook::Xdp, &v6(8080), pass)?,
        Row::ours("drop by default, a SYN", Hook::Xdp, &v4(9999, flags::SYN), dropped)?,
        Row::ours("drop by default, flow looked up", Hook::Xdp, &v4(9999, ack), dropped)?,
        Row::ours("accept on a counted port, no request", Hook::Xdp, &v4(80, ack), pass)?,
        Row::ours("accept on a counted port, GET", Hook::Xdp, &request, pass)?,
    ])
}

fn sandbox() -> Result<Sandbox> {
    let files = MemoryFiles::new().with("rules/bench.yaml", POLICY);
    let subject = Subject::File("rules/bench.yaml".to_owned());
    let loaded = load(&files, &subject, &Options::default())
        .map_err(|report| anyhow!("the policy of the bench is refused: {report:?}"))?;
    let environment = Environment {
        interfaces: Vec::new(),
        cpus: 1,
        generation_slot: 0,
        seed: 1,
        budget_bytes: Environment::BUDGET_BYTES,
    };
    let generation = compile(&loaded.policy, &environment, &mut SlotTable::default())?;
    Sandbox::new(&generation)
}

/// A line per program: what it took the verifier, and its machine code.
pub(super) fn programs() -> Result<Vec<String>> {
    let mut sandbox = sandbox()?;
    let programs = sandbox.programs()?;
    let load = sandbox.timings().load;
    let facts = programs.into_iter().map(|(name, Facts { verified, code_bytes })| {
        format!("{name}: {verified} instructions verified, {code_bytes} bytes of code")
    });
    Ok(facts.chain([format!("all three loaded in {} ms", load.as_millis())]).collect())
}
