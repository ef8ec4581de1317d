//! What a packet costs in a loaded program: sections `run` and `egress`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use firewall_common::abi::flow::Flow as Entry;
use firewall_common::service::proto;

use super::Bench;
use super::bpf::Kind;
use super::instruments::{self, Fields, Records};
use super::ours::Ours;
use super::peers;
use super::policy::{self, FIRST_PORT, OPEN_PORTS};
use super::range::{FEW, FEW_FLOWS, MANY, MANY_FLOWS, Range, Verdict};
use super::synthetic;
use super::traffic::{Flow, Flow6, Local, Random};
use crate::packet::{SERVER4, flags};
use crate::pair::Pair;

/// Numbers of rules that are measured.
const RULES: [(u32, &str); 4] =
    [(10, "10"), (1_000, "1,000"), (10_000, "10,000"), (100_000, "100,000")];

/// Section `run`.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let range = Range::new(bench.options, RUN, Kind::Xdp)?;
    let hot = Flow::to(FIRST_PORT + 5).frame();
    let mut rows = Rows { bench, range, hot, kept: Vec::new() };
    rows.by_port()?;
    for (count, words) in RULES {
        rows.by_rules(count, &format!("{words} rules"))?;
    }
    rows.hits()?;
    rows.v6()?;
    rows.with_set()?;
    let Rows { bench, range, kept, .. } = rows;
    range.measure(bench)?;
    // Programs stay in the root's array only as long as they are pinned.
    drop(kept);
    Ok(())
}

const RUN: &str = "run";

/// Rows of [`run`] in the making.
struct Rows<'r, 'a> {
    bench: &'r mut Bench<'a>,
    range: Range<'a>,
    /// The frame of the column "hot".
    hot: Vec<u8>,
    kept: Vec<Ours>,
}

impl Rows<'_, '_> {
    fn wants(&self, row: &str) -> bool {
        self.bench.wants(RUN, row)
    }

    /// A program on the hot frame and on varied ones.
    fn add(
        &mut self,
        row: &str,
        program: &OwnedFd,
        columns: &[(&'static str, Records)],
        verdict: Verdict,
    ) -> Result<()> {
        self.range.all(row, program, &self.hot, columns, verdict)
    }

    fn by_port(&mut self) -> Result<()> {
        let columns = [(FEW, port_flows(FEW_FLOWS)?), (MANY, port_flows(MANY_FLOWS)?)];
        let dropped = self.range.drop();
        let parse = instruments::parse_and_count(Kind::Xdp, proto::TCP, Kind::Xdp.drop())?;
        self.add("parse + count", &parse, &columns, dropped)?;
        if self.wants("port decides") {
            let ours = Ours::new(self.bench.pair, "ports", &policy::ports())?;
            self.add("port decides", &ours.judge("judge_xdp")?, &columns, dropped)?;
            self.add("port decides, root", &ours.root("root_xdp")?, &columns, dropped)?;
            self.kept.push(ours);
        }
        if self.wants("xdp-filter") {
            for (row, filter) in peers::xdp_filters(self.bench, RUN) {
                self.add(row, &filter, &columns, Verdict::Differs)?;
            }
        }
        Ok(())
    }

    fn by_rules(&mut self, count: u32, row: &str) -> Result<()> {
        if !self.wants(row) {
            return Ok(());
        }
        self.bench.book.say(&format!("{RUN}: loading {row}"));
        let ours = of_rules(self.bench.pair, &format!("rules-{count}"), count, false)?;
        let (columns, dropped) = (rule_columns(count)?, self.range.drop());
        self.add(row, &ours.judge("judge_xdp")?, &columns, dropped)?;
        if count == 1_000 || count == 100_000 {
            self.add(&format!("{row}, root"), &ours.root("root_xdp")?, &columns, dropped)?;
        }
        self.kept.push(ours);
        Ok(())
    }

    /// Packets that a rule admits.
    fn hits(&mut self) -> Result<()> {
        const ROW: &str = "1,000 rules, hit";
        if !self.wants(ROW) {
            return Ok(());
        }
        let ours = Ours::new(self.bench.pair, "hit", &policy::rules(1_000, false))?;
        let hit =
            |rule| Flow { source: policy::network(rule) | 0x14, ..Flow::to(policy::port(rule)) };
        let mut random = Random::new(11);
        let mut any = || hit(random.below(1_000));
        let columns = [(FEW, flows(FEW_FLOWS, &mut any)?), (MANY, flows(MANY_FLOWS, any)?)];
        let (program, pass) = (ours.judge("judge_xdp")?, self.range.pass());
        self.range.all(ROW, &program, &hit(5).frame(), &columns, pass)?;
        self.kept.push(ours);
        Ok(())
    }

    fn v6(&mut self) -> Result<()> {
        if !self.wants("IPv6") {
            return Ok(());
        }
        let ours = Ours::new(self.bench.pair, "v6", &policy::rules6(1_000))?;
        let mut other = strangers6(1_000);
        let frame = other().frame();
        let columns = [(FEW, flows6(FEW_FLOWS, &mut other)?), (MANY, flows6(MANY_FLOWS, other)?)];
        let dropped = self.range.drop();
        for (row, program) in [
            ("IPv6, 1,000 rules", ours.judge("judge_xdp")?),
            ("IPv6, 1,000 rules, root", ours.root("root_xdp")?),
        ] {
            self.range.all(row, &program, &frame, &columns, dropped)?;
        }
        self.kept.push(ours);
        Ok(())
    }

    fn with_set(&mut self) -> Result<()> {
        const ROW: &str = "1,000 rules + 1M set";
        const SET: u32 = 1_000_000;
        if !self.wants(ROW) {
            return Ok(());
        }
        self.bench.book.say(&format!("{RUN}: loading {ROW}"));
        let policy = synthetic::rules_and_set(1_000, SET)?;
        match synthetic::install(self.bench.pair, "set", &policy) {
            Ok(ours) => {
                let (program, dropped) = (ours.judge("judge_xdp")?, self.range.drop());
                self.add(ROW, &program, &rule_columns(1_000)?, dropped)?;
                // What the set denies is dropped by it, whatever rule its port has.
                let crowd: Vec<u32> = synthetic::crowd(SET).collect();
                let mut random = Random::new(12);
                let mut any = || {
                    let source = crowd.get(random.below(SET) as usize).copied();
                    Flow { source: source.unwrap_or_default(), ..Flow::to(policy::port(5)) }
                };
                let (frame, few) = (any().frame(), flows(FEW_FLOWS, &mut any)?);
                let columns = [(FEW, few), (MANY, flows(MANY_FLOWS, any)?)];
                self.range.all("1,000 rules + 1M set, hit", &program, &frame, &columns, dropped)?;
                self.kept.push(ours);
            }
            Err(error) => self.bench.book.skip(RUN, ROW, &error),
        }
        Ok(())
    }
}

/// Rules in the kernel, from YAML as far as that is quickly read.
pub(super) fn of_rules(pair: &Pair, name: &str, count: u32, egress: bool) -> Result<Ours> {
    if count <= 1_000 {
        return Ours::new(pair, name, &policy::rules(count, egress));
    }
    synthetic::install(pair, name, &synthetic::rules(count, egress)?)
}

/// Flows to the ports of [`policy::ports`].
pub(super) fn port_flows(count: usize) -> Result<Records> {
    let mut random = Random::new(1);
    flows(count, || Flow {
        source: random.address(),
        source_port: random.port(1024, 64_000),
        ..Flow::to(random.port(FIRST_PORT, OPEN_PORTS))
    })
}

/// Flows to the ports of `rules` rules; next to none of their sources is a rule's.
pub(super) fn rule_flows(rules: u32, count: usize) -> Result<Records> {
    let mut random = Random::new(2);
    flows(count, || Flow {
        source: random.address(),
        source_port: random.port(1024, 64_000),
        ..Flow::to(policy::port(random.below(rules)))
    })
}

/// Columns of [`rule_flows`].
fn rule_columns(rules: u32) -> Result<[(&'static str, Records); 2]> {
    Ok([(FEW, rule_flows(rules, FEW_FLOWS)?), (MANY, rule_flows(rules, MANY_FLOWS)?)])
}

/// Packets over IPv6 to the ports of `rules` rules, from nobody that they name.
pub(super) fn strangers6(rules: u32) -> impl FnMut() -> Flow6 {
    let mut random = Random::new(6);
    move || Flow6 {
        network: policy::network6(random.next()) ^ 1 << 60,
        port: policy::port(random.below(rules)),
    }
}

/// Records of packets over IPv6 made one by one.
pub(super) fn flows6(count: usize, mut one: impl FnMut() -> Flow6) -> Result<Records> {
    let records: Vec<_> = (0..count).map(|_| one().record()).collect();
    Records::new(Fields::V6, &records)
}

/// Records of flows made one by one.
pub(super) fn flows(count: usize, mut one: impl FnMut() -> Flow) -> Result<Records> {
    let records: Vec<_> = (0..count).map(|_| one().record()).collect();
    Records::new(Fields::V4, &records)
}

/// Section `egress`.
pub(super) fn egress(bench: &mut Bench<'_>) -> Result<()> {
    let mut range = Range::new(bench.options, "egress", Kind::Tc)?;
    let out = |destination, port| Flow { source: SERVER4.into(), destination, ..Flow::to(port) };
    let (pass, dropped) = (range.pass(), range.drop());
    let parse = instruments::parse_and_count(Kind::Tc, proto::TCP, Kind::Tc.drop())?;
    let stranger = out(0xc633_6414, FIRST_PORT + 5).frame();
    let mut kept = Vec::new();
    range.hot("parse + count", &parse, &stranger, dropped)?;
    for (count, words) in RULES.into_iter().take(3) {
        let row = format!("{words} rules");
        if !bench.wants("egress", &row) {
            continue;
        }
        let ours = of_rules(bench.pair, &format!("egress-{count}"), count, true)?;
        let mut random = Random::new(9);
        let records =
            flows(FEW_FLOWS, || out(random.address(), policy::port(random.below(count))))?;
        let (program, root) = (ours.judge("judge_egress")?, ours.root("root_egress")?);
        range.hot(&row, &program, &stranger, dropped)?;
        range.hot(&format!("{row}, root"), &root, &stranger, dropped)?;
        range.vary((&row, FEW), &program, (&records, &stranger), dropped)?;
        let first = out(policy::network(5) | 0x14, policy::port(5));
        let next = Flow { flags: flags::ACK, ..first };
        // The bench looks at every verdict before it times: this opens the flow.
        range.hot(&format!("{row}, hit, SYN again"), &program, &first.frame(), pass)?;
        let known = format!("{row}, hit, flow known");
        range.hot(&known, &program, &next.frame(), pass)?;
        // More flows than a CPU remembers.
        let mut others = (30_000..).map(|source_port| Flow { source_port, ..next });
        let mut table = ours.store()?.flows()?;
        for flow in others.clone().take(FEW_FLOWS) {
            table.write(&flow.key(Local::Sender), Entry::REPLIED, 0, Duration::ZERO)?;
        }
        let records = flows(FEW_FLOWS, || others.next().unwrap_or(next))?;
        range.vary((&known, FEW), &program, (&records, &next.frame()), pass)?;
        kept.push(ours);
    }
    range.measure(bench)?;
    // Programs stay in the root's array only as long as they are pinned.
    drop(kept);
    Ok(())
}
