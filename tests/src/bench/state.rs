//! Section `state`: what a packet costs where it meets flows, bans or requests.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::abi::flow::Flow as Entry;

use super::Bench;
use super::banned;
use super::bpf::Kind;
use super::instruments::{Fields, Records};
use super::ours::Ours;
use super::packets::{flows, flows6};
use super::policy;
use super::range::{FEW, FEW_FLOWS, MANY_FLOWS, Range, Verdict};
use super::traffic::{Echo, Flow, Local, Random};
use crate::packet::{CLIENT4, SERVER4, flags};
use crate::pair::Pair;

/// Section `state`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let mut range = Range::new(bench.options, "state", Kind::Xdp)?;
    // Its table has twice the places: one takes flows of one moment up to nine tenths.
    let ours = Ours::new(bench.pair, "state", &policy::ports())?;
    established(bench, &mut range, &ours)?;
    let connection = requests(bench, &mut range, &ours)?;
    // Whatever takes the long way needs the pins, which hold arrays of programs.
    let unrated = Ours::new(bench.pair, "unrated", &policy::pings("off"))?;
    let rated = Ours::new(bench.pair, "rated", &policy::pings("1000000/s"))?;
    rated_and_not(bench, &mut range, [&unrated, &rated])?;
    let banned = banned_and_not(bench, &mut range)?;
    range.measure(bench)?;
    drop((connection, banned));
    Ok(())
}

/// Flows in the table of flows.
const FLOWS: u32 = 262_144;

/// Flow `number` as this host opened it, seen from the other end.
fn answer(number: u32) -> Flow {
    Flow {
        source: Random::new(u64::from(number) + 1).address(),
        source_port: 443,
        flags: flags::ACK,
        ..Flow::to(33_000 + u16::try_from(number % 20_000).unwrap_or_default())
    }
}

fn established(bench: &Bench<'_>, range: &mut Range<'_>, ours: &Ours) -> Result<()> {
    let (hit, miss) = ("established flow", "no such flow");
    if ![hit, miss, NO_FLOW].iter().any(|row| bench.wants("state", row)) {
        return Ok(());
    }
    write_flows(ours)?;
    let mut random = Random::new(5);
    let known = columns(known())?;
    let unknown = columns(|| answer(FLOWS + random.next() % (1 << 30)))?;
    let (pass, drop) = (range.pass(), range.drop());
    let (judge, root) = (ours.judge("judge_xdp")?, ours.root("root_xdp")?);
    for (row, program) in [(hit, &judge), ("established flow, root", &root)] {
        range.all(row, program, &answer(7).frame(), &known, pass)?;
    }
    let none = Flow { port: 20_000, ..answer(7) }.frame();
    range.hot(NO_FLOW, &judge, &none, drop)?;
    range.all(miss, &judge, &answer(FLOWS + 7).frame(), &unknown, drop)
}

/// Enters the flows of [`known`].
pub(super) fn write_flows(ours: &Ours) -> Result<()> {
    let mut table = ours.store()?.flows()?;
    for number in 0..FLOWS {
        table.write(&answer(number).key(Local::Receiver), Entry::REPLIED, 0, Duration::ZERO)?;
    }
    Ok(())
}

/// Packets of flows that are in the table.
pub(super) fn known() -> impl FnMut() -> Flow {
    let mut random = Random::new(4);
    move || answer(random.below(FLOWS))
}

/// Packets that fit the caches, and that draw from all there are.
fn columns(mut one: impl FnMut() -> Flow) -> Result<[(&'static str, Records); 2]> {
    Ok([(FEW, flows(FEW_FLOWS, &mut one)?), (RANDOM, flows(MANY_FLOWS, one)?)])
}

/// Row of packets to a port that no flow has.
const NO_FLOW: &str = "no flow of that port";
/// Column of packets drawn from a whole table, or from all that are not in it.
const RANDOM: &str = "random";

/// A counted port on a connection that exists, without and with a request.
fn requests(bench: &Bench<'_>, range: &mut Range<'_>, ours: &Ours) -> Result<Option<Connection>> {
    if !bench.wants("state", "counted port") {
        return Ok(None);
    }
    let connection = Connection::open(bench.pair)?;
    let (asking, records) = connection.requests()?;
    let (pass, program) = (range.pass(), ours.judge("judge_xdp")?);
    range.hot("counted port, no request", &program, &connection.quiet(), pass)?;
    range.hot("counted port, of a body", &program, &connection.saying(BODY)?, pass)?;
    range.vary(("counted port, GET each", STREAM), &program, (&records, &asking), pass)?;
    Ok(Some(connection))
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www\r\n\r\n";
/// Of the same length, and no beginning of anything.
const BODY: &[u8] = b"name=value&other=another one..";

/// A connection to a counted port. The accepted end is closed: the kernel keeps the client's.
pub(super) struct Connection {
    _listener: TcpListener,
    _client: TcpStream,
    port: u16,
}

impl Connection {
    pub(super) fn open(pair: &Pair) -> Result<Self> {
        let listener = TcpListener::bind((SERVER4, 80)).context("no server on port 80")?;
        let client = pair.client.enter(|| TcpStream::connect((SERVER4, 80)))??;
        let port = client.local_addr()?.port();
        let (_server, _) = listener.accept()?;
        Ok(Self { _listener: listener, _client: client, port })
    }

    /// A packet of it with nothing in it.
    fn quiet(&self) -> Vec<u8> {
        Flow { source_port: self.port, flags: flags::ACK, ..Flow::to(80) }.frame()
    }

    /// A packet of it with that in it.
    fn saying(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let mut frame = self.quiet()[..54].to_vec();
        frame.extend(payload);
        let length = u16::try_from(frame.len() - 14)?;
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    /// A packet with a request, and what makes others of it.
    pub(super) fn requests(&self) -> Result<(Vec<u8>, Records)> {
        let asking = self.saying(REQUEST)?;
        // Each request lies behind the one before, or it would be a repetition.
        let step = u32::try_from(REQUEST.len())?;
        let records: Vec<_> = (0..u32::try_from(MANY_FLOWS)?)
            .map(|number| [(number * step).to_be(), 0, 0, 0])
            .collect();
        Ok((asking, Records::new(Fields::Sequence, &records)?))
    }
}

/// Column of one connection, each packet behind the one before.
const STREAM: &str = "one connection";

/// Echo requests: within a rate per source, which a spoofed flood is, and by a rule.
fn rated_and_not(bench: &Bench<'_>, range: &mut Range<'_>, policies: [&Ours; 2]) -> Result<()> {
    let rows = ["echo request, by a rule", "echo request, within its rate"];
    if !rows.iter().any(|row| bench.wants("state", row)) {
        return Ok(());
    }
    let mut random = Random::new(0xec40);
    let records: Vec<_> =
        (0..MANY_FLOWS).map(|_| Echo { source: random.address() }.record()).collect();
    let records = Records::new(Fields::V4, &records)?;
    let frame = Echo { source: CLIENT4.into() }.frame();
    for (row, ours) in rows.into_iter().zip(policies) {
        let program = ours.judge("judge_xdp")?;
        // So fast that one source exceeds any rate.
        range.hot(row, &program, &frame, Verdict::Differs)?;
        range.vary((row, RANDOM), &program, (&records, &frame), range.pass())?;
    }
    Ok(())
}

/// Sources that are banned and others, beside a table without bans. Returned: what must stay.
fn banned_and_not(bench: &Bench<'_>, range: &mut Range<'_>) -> Result<Vec<Ours>> {
    let new = |name| Ours::new(bench.pair, name, &policy::ports());
    let wants = |start: &str| bench.wants("state", start);
    let (pass, drop) = (range.pass(), range.drop());
    let frame = Flow::to(8081).frame();
    let mut other6 = banned::from_elsewhere6();
    let frame6 = other6().frame();
    let other6 = [(FEW, flows6(FEW_FLOWS, &mut other6)?), (RANDOM, flows6(MANY_FLOWS, other6)?)];
    let mut kept = Vec::new();
    if wants("no bans") {
        let free = new("no-bans")?;
        let program = free.judge("judge_xdp")?;
        range.all("no bans", &program, &frame, &columns(banned::not_from(&[]))?, pass)?;
        range.all("no bans, IPv6", &program, &frame6, &other6, pass)?;
        kept.push(free);
    }
    if ["hit", "miss"].iter().any(|row| wants(&format!("full of bans, {row}"))) {
        let full = new("bans")?;
        let hosts = banned::hosts(&full)?;
        let (program, mut hit) = (full.judge("judge_xdp")?, banned::from(&hosts));
        let banned = hit().frame();
        range.all("full of bans, hit", &program, &banned, &columns(hit)?, drop)?;
        let miss = columns(banned::not_from(&hosts))?;
        range.all("full of bans, miss", &program, &frame, &miss, pass)?;
        kept.push(full);
    }
    if wants("full of bans, /20") {
        let full = new("bans-lengths")?;
        let mut miss = banned::networks(&full)?;
        let (program, frame) = (full.judge("judge_xdp")?, miss().frame());
        range.all("full of bans, /20 to /32, miss", &program, &frame, &columns(miss)?, pass)?;
        kept.push(full);
    }
    if wants("full of bans, IPv6") {
        let full = new("bans6")?;
        banned::networks6(&full)?;
        let program = full.judge("judge_xdp")?;
        let row = "full of bans, IPv6, /32 to /128, miss";
        range.all(row, &program, &frame6, &other6, pass)?;
        kept.push(full);
    }
    Ok(kept)
}
