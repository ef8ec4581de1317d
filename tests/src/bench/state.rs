//! Section `state`: what a packet costs where it meets flows, bans or requests.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::abi::ban::Ban;
use firewall_common::abi::flow::Flow as Entry;
use firewall_userspace::kernel::bans;

use super::Bench;
use super::bpf::Kind;
use super::instruments::{Fields, Records};
use super::ours::Ours;
use super::packets::flows;
use super::policy;
use super::range::{MANY_FLOWS, Range, Verdict};
use super::traffic::{Echo, Flow, Local, Random};
use crate::packet::{CLIENT4, SERVER4, flags};

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
    let banned = Ours::new(bench.pair, "bans", &policy::ports())?;
    banned_and_not(bench, &mut range, &banned)?;
    range.measure(bench)?;
    drop(connection);
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
    let mut table = ours.store()?.flows()?;
    for number in 0..FLOWS {
        table.write(&answer(number).key(Local::Receiver), Entry::REPLIED, 0, Duration::ZERO)?;
    }

    let mut random = Random::new(5);
    let known = flows(MANY_FLOWS, || answer(random.below(FLOWS)))?;
    let unknown = flows(MANY_FLOWS, || answer(FLOWS + random.next() % (1 << 30)))?;
    let (pass, drop) = (range.pass(), range.drop());
    for (row, program) in
        [(hit, ours.judge("judge_xdp")?), ("established flow, root", ours.root("root_xdp")?)]
    {
        range.hot(row, &program, &answer(7).frame(), pass)?;
        range.vary((row, RANDOM), &program, (&known, &answer(7).frame()), pass)?;
    }
    let program = ours.judge("judge_xdp")?;
    let none = Flow { port: 20_000, ..answer(7) }.frame();
    range.hot(NO_FLOW, &program, &none, drop)?;
    range.hot(miss, &program, &answer(FLOWS + 7).frame(), drop)?;
    range.vary((miss, RANDOM), &program, (&unknown, &answer(7).frame()), drop)
}

/// Row of packets to a port that no flow has.
const NO_FLOW: &str = "no flow of that port";
/// Column of packets drawn from a whole table, or from all that are not in it.
const RANDOM: &str = "random";

/// A counted port on a connection that exists, without and with a request.
fn requests(
    bench: &Bench<'_>,
    range: &mut Range<'_>,
    ours: &Ours,
) -> Result<Option<(TcpListener, TcpStream)>> {
    if !bench.wants("state", "counted port") {
        return Ok(None);
    }
    let listener = TcpListener::bind((SERVER4, 80)).context("no server on port 80")?;
    let client = bench.pair.client.enter(|| TcpStream::connect((SERVER4, 80)))??;
    let port = client.local_addr()?.port();
    let (_server, _) = listener.accept()?;
    let quiet = Flow { source_port: port, flags: flags::ACK, ..Flow::to(80) };
    let request = b"GET / HTTP/1.1\r\nHost: www\r\n\r\n";
    let mut asking = quiet.frame()[..54].to_vec();
    asking.extend(request);
    let length = u16::try_from(asking.len() - 14)?;
    asking[16..18].copy_from_slice(&length.to_be_bytes());
    // Each request lies behind the one before, or it would be a repetition.
    let step = u32::try_from(request.len())?;
    let records: Vec<_> =
        (0..u32::try_from(MANY_FLOWS)?).map(|number| [(number * step).to_be(), 0, 0, 0]).collect();
    let records = Records::new(Fields::Sequence, &records)?;
    let (pass, program) = (range.pass(), ours.judge("judge_xdp")?);
    range.hot("counted port, no request", &program, &quiet.frame(), pass)?;
    range.vary(("counted port, GET each", STREAM), &program, (&records, &asking), pass)?;
    // The accepted end may go: the kernel keeps the connection of the client's.
    Ok(Some((listener, client)))
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

fn banned_and_not(bench: &mut Bench<'_>, range: &mut Range<'_>, ours: &Ours) -> Result<()> {
    if !["no bans", "full of bans"].iter().any(|row| bench.wants("state", row)) {
        return Ok(());
    }
    let store = ours.store()?;
    let count = 1_000_000;
    bench.book.say(&format!("state: writing {count} bans"));
    let mut random = Random::new(0xba4);
    let mut table = store.bans()?;
    let ban = Ban { until_ns: u64::MAX, since_ns: 0, hits: 0, reason: [0; 40] };
    let addresses: Vec<u32> = (0..count).map(|_| random.address()).collect();
    let key = |&address: &u32| bans::key(Ipv4Addr::from(address).into(), 32);
    table.insert_all(&addresses.iter().map(key).collect::<Vec<_>>(), &ban)?;
    let pick = |random: &mut Random| addresses[random.below(count) as usize];
    let to = |source| Flow { source, ..Flow::to(8081) };
    let hits = flows(MANY_FLOWS, || to(pick(&mut random)))?;
    let misses = flows(MANY_FLOWS, || to(random.address()))?;
    let (pass, drop, program) = (range.pass(), range.drop(), ours.judge("judge_xdp")?);
    let free = Ours::new(bench.pair, "no-bans", &policy::ports())?;
    range.hot("no bans", &free.judge("judge_xdp")?, &to(pick(&mut random)).frame(), pass)?;
    range.hot("full of bans, hit", &program, &to(pick(&mut random)).frame(), drop)?;
    range.hot("full of bans, miss", &program, &Flow::to(8081).frame(), pass)?;
    let frame = Flow::to(8081).frame();
    range.vary(("no bans", RANDOM), &free.judge("judge_xdp")?, (&misses, &frame), pass)?;
    range.vary(("full of bans, hit", RANDOM), &program, (&hits, &frame), drop)?;
    range.vary(("full of bans, miss", RANDOM), &program, (&misses, &frame), Verdict::Differs)
}
