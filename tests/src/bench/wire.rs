//! Real frames over a veth pair: how they are sent and timed, and section `cores`.
//!
//! A sender program gives each frame another flow and redirects it into the
//! client's end; it arrives in the server's NAPI on the same CPU. What is timed is
//! the CPU of both: the sending thread, in whose system call the receiver runs,
//! and ksoftirqd.

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use firewall_policy::ir::Direction;
use firewall_userspace::kernel::store::interface_index;

use super::Bench;
use super::book::is_ours;
use super::bpf::{self, Kind};
use super::instruments::{self, Fields, Records};
use super::machine::Outside;
use super::measure::{self, Batch, Batches, Trial};
use super::ours::Ours;
use super::packets::rule_flows;
use super::peers::Peer;
use super::policy;
use super::range::MANY_FLOWS;
use super::traffic::{Flow, Flow6};
use crate::host::Host;
use crate::pair::Pair;

/// Interface of both ends.
pub(super) const INTERFACE: &str = "eth0";

/// Frames of one trial of a native XDP program.
const FRAMES: u32 = 200_000;
/// Frames before each trial, not timed.
const WARM_UP: u32 = 2_000;
/// Fewer packets that reach a protocol may be the machine's own.
const STRAYS: u64 = 100;
/// Time of a trial of a slow receiver, ns.
const SLOW_TRIAL: f64 = 40e6;

/// A sender and what it sends.
pub(super) struct Sender {
    client: Host,
    program: OwnedFd,
    frame: Vec<u8>,
}

impl Sender {
    /// Sends these records from the client; with `alone`, drops them there.
    pub(super) fn new(pair: &Pair, records: &Records, alone: bool) -> Result<Self> {
        let ifindex = pair.client.enter(|| interface_index(INTERFACE))??;
        let program = instruments::sender(records, (!alone).then_some(ifindex))?;
        // The product parses TCP; a frame of another protocol takes another path.
        let port = policy::FIRST_PORT;
        let frame = match records.fields() {
            Fields::V6 => Flow6 { network: policy::network6(0), port }.frame(),
            Fields::V4 | Fields::Sequence => Flow::to(port).frame(),
        };
        Ok(Self { client: pair.client.clone(), program, frame })
    }

    /// The same with frames like this one, of which records are written over.
    pub(super) fn with(self, frame: &[u8]) -> Self {
        Self { frame: frame.to_vec(), ..self }
    }

    /// Sends frames on a CPU; the CPU time is that of all that handled them, of which
    /// `ksoftirqd` disturbs nobody.
    pub(super) fn send(&self, outside: &Outside, cpu: usize, frames: u32) -> Result<Batch> {
        let work = || {
            measure::pin(cpu)?;
            let before = outside.softirq(cpu)?;
            let thread = measure::cpu_time(frames, || {
                bpf::send(self.program.as_fd(), &self.frame, frames)
                    .context("could not send frames")
            })?;
            let after = outside.softirq(cpu)?;
            Ok(Batch {
                ns: thread.ns + measure::as_f64(after.0 - before.0) / f64::from(frames),
                lost_cpu: thread.lost_cpu.saturating_sub(after.1 - before.1),
                ..thread
            })
        };
        self.client.enter(work)?
    }
}

/// Frames that the server's end has received so far.
pub(super) fn received() -> Result<u64> {
    let path = format!("/sys/class/net/{INTERFACE}/statistics/rx_packets");
    let text = std::fs::read_to_string(&path).with_context(|| format!("no {path}"))?;
    Ok(text.trim().parse()?)
}

/// Who receives.
pub(super) enum Receiver {
    /// Nobody: frames are dropped before they leave.
    Nobody,
    /// A native XDP program.
    Xdp(OwnedFd),
    /// One that lets frames in, and behind it a program at TC that drops them.
    Behind { program: OwnedFd, behind: OwnedFd },
    /// Netfilter.
    Peer(Peer),
}

/// A row and its sender.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) column: &'static str,
    /// The row of this column that it is held against.
    pub(super) bare: &'static str,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
}

/// The row that most others of its column are held against.
pub(super) const BARE: &str = "bare drop";

/// Times rows in turn, each against its own of its column.
pub(super) fn measure_rows(
    bench: &mut Bench<'_>,
    section: &'static str,
    rows: Vec<Row>,
) -> Result<()> {
    let (outside, cpu, options) = (bench.outside, bench.cpu, bench.options);
    let ifindex = interface_index(INTERFACE)?;
    let (bare, mut rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.name == row.bare);
    rows.retain(|row| options.asks(section, &row.name));
    let is_needed = |bare: &Row| rows.iter().any(|row| row.place() == bare.place());
    let bare: Vec<Row> = bare.into_iter().filter(is_needed).collect();
    let mut able = Vec::new();
    for row in bare.into_iter().chain(rows) {
        let before = outside.delivered()?;
        let mut trial = row.trial(outside, cpu, ifindex).map(drop);
        let passed = outside.delivered()? - before;
        if passed >= STRAYS && trial.is_ok() {
            trial = Err(anyhow!("{passed} frames were let through"));
            if is_ours(section, &row.name) {
                bench
                    .book
                    .must_be_none(&format!("{section}/{}", row.name), &[(passed, "let through")]);
            }
        }
        match trial {
            Ok(()) => able.push(row),
            Err(error) => bench.book.skip(section, &row.name, &error),
        }
    }
    bench.settle(section);
    let mut trials: Vec<Trial<'_>> = able
        .iter()
        .map(|row| -> Trial<'_> { Box::new(move || row.trial(outside, cpu, ifindex)) })
        .collect();
    let spreads = measure::interleave(&mut trials, bench.options.trials())?;
    drop(trials);
    let bare = |of: &Row| {
        let place = able.iter().position(|row| row.name == row.bare && row.place() == of.place());
        place.and_then(|place| spreads.get(place))
    };
    for (row, spread) in able.iter().zip(&spreads) {
        bench.book.measured(section, (&row.name, row.column), *spread, bare(row));
    }
    Ok(())
}

impl Row {
    /// What has it in common with the row that it is held against.
    fn place(&self) -> (&'static str, &'static str) {
        (self.bare, self.column)
    }

    /// Sets the receiver up, sends, takes it down.
    fn trial(&self, outside: &Outside, cpu: usize, ifindex: u32) -> Result<Batch> {
        let warm = || self.sender.send(outside, cpu, WARM_UP);
        match &self.receiver {
            Receiver::Nobody => {
                warm()?;
                measure::undisturbed(|| self.sender.send(outside, cpu, FRAMES))
            }
            Receiver::Xdp(program) => {
                let _link = bpf::attach(program.as_fd(), ifindex)?;
                warm()?;
                measure::undisturbed(|| self.all_received(outside, cpu, FRAMES))
            }
            Receiver::Behind { program, behind } => {
                let _behind = bpf::attach_tc(behind.as_fd(), ifindex, Direction::Ingress)?;
                let _link = bpf::attach(program.as_fd(), ifindex)?;
                warm()?;
                measure::undisturbed(|| self.all_received(outside, cpu, FRAMES))
            }
            Receiver::Peer(peer) => {
                let _up = peer.up()?;
                let one = warm()?.ns;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to a small positive range"
                )]
                let frames = (SLOW_TRIAL / one).clamp(f64::from(WARM_UP), f64::from(FRAMES)) as u32;
                let before = outside.delivered()?;
                let batch = measure::undisturbed(|| self.all_received(outside, cpu, frames))?;
                let delivered = outside.delivered()? - before;
                ensure!(delivered < STRAYS, "{delivered} of {frames} frames were let through");
                Ok(batch)
            }
        }
    }

    fn all_received(&self, outside: &Outside, cpu: usize, frames: u32) -> Result<Batch> {
        let before = received()?;
        let batch = self.sender.send(outside, cpu, frames)?;
        let received = received()? - before;
        ensure!(received >= u64::from(frames), "{received} of {frames} frames were received");
        Ok(batch)
    }
}

/// Rows of rule sets over veth, for other sections: each with its own traffic.
pub(super) fn measure_sets(
    bench: &mut Bench<'_>,
    section: &'static str,
    sets: &[(String, &Ours, Records)],
) -> Result<()> {
    let bare = instruments::bare(Kind::Xdp)?;
    let mut rows = Vec::new();
    for (name, ours, records) in sets {
        if rows.is_empty() {
            let sender = Sender::new(bench.pair, records, false)?;
            let receiver = Receiver::Xdp(bpf::duplicate(&bare)?);
            rows.push(Row { name: BARE.into(), column: VETH, bare: BARE, receiver, sender });
        }
        for (name, program) in [
            (name.clone(), ours.judge("judge_xdp")?),
            (format!("{name}, root"), ours.root("root_xdp")?),
        ] {
            let sender = Sender::new(bench.pair, records, false)?;
            let receiver = Receiver::Xdp(program);
            rows.push(Row { name, column: VETH, bare: BARE, receiver, sender });
        }
    }
    measure_rows(bench, section, rows)
}

/// Column of [`measure_sets`].
const VETH: &str = "veth";

/// Section `cores`: frames per second of one CPU, and of two at once.
pub(super) fn cores(bench: &mut Bench<'_>) -> Result<()> {
    const SECTION: &str = "cores";
    let cpus = measure::cpus();
    ensure!(cpus >= 2, "this machine has one CPU");
    let pair = bench.pair;
    two_queues(pair)?;
    let ours = Ours::new(pair, "cores", &policy::rules(1_000, false))?;
    let bare = instruments::bare(Kind::Xdp)?;
    let ifindex = interface_index(INTERFACE)?;
    // Records of their own: a shared number of the next one would be contended.
    let senders: Vec<Sender> = (0..2)
        .map(|_| Sender::new(pair, &rule_flows(1_000, MANY_FLOWS)?, false))
        .collect::<Result<_>>()?;
    bench.settle(SECTION);
    for (row, program) in [("bare drop", bare), ("1,000 rules, root", ours.root("root_xdp")?)] {
        let _link = bpf::attach(program.as_fd(), ifindex)?;
        let (mut one, mut two) = (Batches::default(), Batches::default());
        let first = senders.first().context("no sender")?;
        for _ in 0..bench.options.trials() {
            one.add(measure::undisturbed(|| first.send(bench.outside, cpus - 1, FRAMES))?);
            two.add(measure::undisturbed(|| together(&senders, bench.outside, cpus))?);
        }
        let (one, two) = (one.spread()?, two.spread()?);
        bench.book.measured(SECTION, (row, "one core"), one, None);
        bench.book.measured(SECTION, (row, "each of two"), two, None);
        bench.book.fact(SECTION, row, "speed-up", (2.0 * one.low / two.low, "x"));
    }
    Ok(())
}

/// Sends on the last CPUs at once: the mean of them.
fn together(senders: &[Sender], outside: &Outside, cpus: usize) -> Result<Batch> {
    let barrier = Barrier::new(senders.len());
    let batches: Vec<Batch> = thread::scope(|scope| {
        let threads: Vec<_> = senders
            .iter()
            .enumerate()
            .map(|(number, sender)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    sender.send(outside, cpus - 1 - number, FRAMES)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<_>>()
    })?;
    let ns: f64 = batches.iter().map(|batch| batch.ns).sum();
    Ok(Batch {
        ns: ns / measure::as_f64(batches.len() as u64),
        lost_cpu: batches.iter().map(|batch| batch.lost_cpu).sum(),
        redone: 0,
    })
}

/// Gives both ends two queues, so that each CPU has one.
fn two_queues(pair: &Pair) -> Result<()> {
    for host in [&pair.server, &pair.client] {
        host.check(Command::new("ethtool").args(["-L", INTERFACE, "rx", "2", "tx", "2"]))?;
    }
    Ok(())
}
