//! Section `veth`: rows of real frames, ours and those of peers.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Result, ensure};
use firewall_common::service::proto;

use super::Bench;
use super::banned;
use super::bpf::{self, Kind};
use super::instruments::{self, Records};
use super::ours::Ours;
use super::packets::{flows, flows6, of_rules, port_flows, rule_flows, strangers6};
use super::peers;
use super::policy;
use super::range::{FEW, FEW_FLOWS, MANY, MANY_FLOWS};
use super::state::{self, Connection};
use super::wire::{BARE, Receiver, Row, Sender, measure_rows};

const SECTION: &str = "veth";

/// What rows of IPv6 are held against, whose frames are longer.
const BARE6: &str = "bare drop, IPv6 frames";
/// What admitted frames are held against.
const PASS: &str = "bare pass";
/// Columns of frames that are let in, and dropped behind.
const LET_IN: &str = "1M flows, let in";
const STREAM: &str = "one connection, let in";

/// Section `veth`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let traffic = of(|count| rule_flows(1_000, count))?;
    let mut rows = Rows { bench, found: Vec::new(), kept: Vec::new() };
    let parse = instruments::parse_and_count(Kind::Xdp, proto::TCP, Kind::Xdp.drop())?;
    rows.dropped(BARE, &instruments::bare(Kind::Xdp)?, &traffic, BARE)?;
    rows.dropped("parse + count", &parse, &traffic, BARE)?;
    for (column, records) in &traffic {
        let sender = Sender::new(rows.bench.pair, records, true)?;
        rows.push("sender only", column, BARE, Receiver::Nobody, sender);
    }
    rows.rules()?;
    rows.v6()?;
    rows.flows()?;
    rows.bans()?;
    let connection = rows.requests()?;
    let [_, (_, many)] = &traffic;
    rows.peers(many)?;
    let Rows { bench, found, kept } = rows;
    measure_rows(bench, SECTION, found)?;
    drop((kept, connection));
    Ok(())
}

/// Records of the columns of flows.
fn of(records: impl Fn(usize) -> Result<Records>) -> Result<[(&'static str, Records); 2]> {
    Ok([(FEW, records(FEW_FLOWS)?), (MANY, records(MANY_FLOWS)?)])
}

/// Rows in the making.
struct Rows<'r, 'a> {
    bench: &'r mut Bench<'a>,
    found: Vec<Row>,
    kept: Vec<Ours>,
}

impl Rows<'_, '_> {
    fn wants(&self, row: &str) -> bool {
        self.bench.wants(SECTION, row)
    }

    fn ours(&self, name: &str) -> Result<Ours> {
        Ours::new(self.bench.pair, &format!("veth-{name}"), &policy::ports())
    }

    fn push(
        &mut self,
        name: &str,
        column: &'static str,
        bare: &'static str,
        receiver: Receiver,
        sender: Sender,
    ) {
        self.found.push(Row { name: name.to_owned(), column, bare, receiver, sender });
    }

    /// A program that drops all of it.
    fn dropped(
        &mut self,
        name: &str,
        program: &OwnedFd,
        traffic: &[(&'static str, Records)],
        bare: &'static str,
    ) -> Result<()> {
        for (column, records) in traffic {
            let sender = Sender::new(self.bench.pair, records, false)?;
            self.push(name, column, bare, Receiver::Xdp(bpf::duplicate(program)?), sender);
        }
        Ok(())
    }

    /// A program that lets all of it in, such as this frame, to a bare drop at TC; and what it is
    /// held against, once for each column.
    fn let_in(
        &mut self,
        name: &str,
        program: &OwnedFd,
        (column, records, frame): (&'static str, &Records, &[u8]),
    ) -> Result<()> {
        let pass = Kind::Xdp.pass();
        let found = bpf::run(program.as_fd(), frame, 1)?;
        ensure!(found == pass, "{name}: returned {found}, must return {pass}");
        let has_floor = self.found.iter().any(|row| (&*row.name, row.column) == (PASS, column));
        let floor = (PASS, instruments::idle(Kind::Xdp, pass)?);
        let row = (name, bpf::duplicate(program)?);
        let rows = [(!has_floor).then_some(floor), Some(row)];
        for (name, program) in rows.into_iter().flatten() {
            let sender = Sender::new(self.bench.pair, records, false)?.with(frame);
            let behind = instruments::bare(Kind::Tc)?;
            self.push(name, column, PASS, Receiver::Behind { program, behind }, sender);
        }
        Ok(())
    }

    fn rules(&mut self) -> Result<()> {
        if self.wants("port decides") {
            let ours = self.ours("ports")?;
            self.dropped("port decides", &ours.judge("judge_xdp")?, &of(port_flows)?, BARE)?;
            self.kept.push(ours);
        }
        let counts = [
            (10, "10 rules"),
            (1_000, "1,000 rules"),
            (10_000, "10,000 rules"),
            (100_000, "100,000 rules"),
        ];
        for (count, words) in counts {
            if !self.wants(words) {
                continue;
            }
            let ours = of_rules(self.bench.pair, &format!("veth-{count}"), count, false)?;
            let traffic = of(|flows| rule_flows(count, flows))?;
            self.dropped(words, &ours.judge("judge_xdp")?, &traffic, BARE)?;
            if count == 1_000 || count == 100_000 {
                self.dropped(&format!("{words}, root"), &ours.root("root_xdp")?, &traffic, BARE)?;
            }
            self.kept.push(ours);
        }
        Ok(())
    }

    fn v6(&mut self) -> Result<()> {
        if !self.wants("IPv6") {
            return Ok(());
        }
        let ours = Ours::new(self.bench.pair, "veth-v6", &policy::rules6(1_000))?;
        let traffic = of(|count| flows6(count, strangers6(1_000)))?;
        self.dropped(BARE6, &instruments::bare(Kind::Xdp)?, &traffic, BARE6)?;
        self.dropped("IPv6, 1,000 rules", &ours.judge("judge_xdp")?, &traffic, BARE6)?;
        self.kept.push(ours);
        Ok(())
    }

    fn flows(&mut self) -> Result<()> {
        const ROW: &str = "established flow";
        if !self.wants(ROW) {
            return Ok(());
        }
        let ours = self.ours("flows")?;
        state::write_flows(&ours)?;
        let mut known = state::known();
        let (frame, records) = (known().frame(), flows(MANY_FLOWS, known)?);
        self.let_in(ROW, &ours.judge("judge_xdp")?, (LET_IN, &records, &frame))?;
        self.kept.push(ours);
        Ok(())
    }

    fn bans(&mut self) -> Result<()> {
        if !self.wants("full of bans") {
            return Ok(());
        }
        let ours = self.ours("bans")?;
        let hosts = banned::hosts(&ours)?;
        let program = ours.judge("judge_xdp")?;
        let hits = of(|count| flows(count, banned::from(&hosts)))?;
        self.dropped("full of bans, hit", &program, &hits, BARE)?;
        let mut miss = banned::not_from(&hosts);
        let (frame, records) = (miss().frame(), flows(MANY_FLOWS, miss)?);
        self.let_in("full of bans, miss", &program, (LET_IN, &records, &frame))?;
        self.kept.push(ours);
        Ok(())
    }

    /// A connection that exists, in whose name requests are sent: its server hears of none.
    fn requests(&mut self) -> Result<Option<Connection>> {
        const ROW: &str = "counted port, GET each";
        if !self.wants(ROW) {
            return Ok(None);
        }
        let ours = self.ours("requests")?;
        let connection = Connection::open(self.bench.pair)?;
        let (frame, records) = connection.requests()?;
        self.let_in(ROW, &ours.judge("judge_xdp")?, (STREAM, &records, &frame))?;
        self.kept.push(ours);
        Ok(Some(connection))
    }

    fn peers(&mut self, records: &Records) -> Result<()> {
        if self.wants("xdp-filter") {
            for (name, program) in peers::xdp_filters(self.bench, SECTION) {
                // It passes what it is told and drops the rest: nothing here is told.
                let sender = Sender::new(self.bench.pair, records, false)?;
                self.push(name, MANY, BARE, Receiver::Xdp(program), sender);
            }
        }
        for peer in peers::netfilter(self.bench)? {
            let sender = Sender::new(self.bench.pair, records, false)?;
            let name = peer.row.clone();
            self.push(&name, MANY, BARE, Receiver::Peer(peer), sender);
        }
        Ok(())
    }
}
