//! A range of shots: programs run on frames in memory, interleaved.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Result, bail};

use super::bpf::{self, Kind};
use super::instruments::{self, Fields, Records};
use super::measure::{self, Batch, Spread, Trial};
use super::{Bench, Options};

/// Column of one packet again and again.
pub(super) const HOT: &str = "hot";
/// Column of flows that fit the caches.
pub(super) const FEW: &str = "1,024 flows";
/// Column of a spoofed flood.
pub(super) const MANY: &str = "1M flows";

/// Flows of [`FEW`].
pub(super) const FEW_FLOWS: usize = 1 << 10;
/// Flows of [`MANY`].
pub(super) const MANY_FLOWS: usize = 1 << 20;

/// Time of one batch, ns: short, so that some see no scheduler even on a machine
/// that others use, and long beside the system call.
const BATCH: f64 = 1e7;
/// Runs in a batch, at least and at most.
const REPEATS: (f64, f64) = (2_000.0, 1_000_000.0);
/// Calls from which is found out what one takes.
const CALLS: usize = 31;

/// Part of the records that pass before a batch is timed. Between two batches of a row the
/// others have had the caches; a flood that goes on finds there what it can keep there.
const WARM: u32 = 8;

/// Runs whose verdict is looked at before anything is timed.
const CHECKED: u32 = 64;

/// What a program must return.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// This, for every packet.
    Is(u32),
    /// One thing for one packet, another for the next.
    Differs,
}

/// One program on one kind of traffic.
struct Shot {
    row: String,
    column: &'static str,
    program: OwnedFd,
    /// What `program` needs to stay whole.
    _kept: Option<OwnedFd>,
    frame: Vec<u8>,
    /// Packets that pass before a batch is timed.
    warm: u32,
    /// What it must return.
    verdict: Verdict,
    /// Index of the bare drop it is held against.
    floor: usize,
}

/// Shots of one section that are asked for, with the bare drops they are held against.
pub(super) struct Range<'a> {
    options: &'a Options,
    section: &'static str,
    kind: Kind,
    bare: OwnedFd,
    shots: Vec<Shot>,
    floors: Vec<(&'static str, Option<Fields>, usize)>,
}

impl<'a> Range<'a> {
    /// An empty range.
    pub(super) fn new(options: &'a Options, section: &'static str, kind: Kind) -> Result<Self> {
        let bare = instruments::bare(kind)?;
        Ok(Self { options, section, kind, bare, shots: Vec::new(), floors: Vec::new() })
    }

    /// "Drop" at this hook.
    pub(super) fn drop(&self) -> Verdict {
        Verdict::Is(self.kind.drop())
    }

    /// "Pass" of the product at this hook.
    pub(super) fn pass(&self) -> Verdict {
        Verdict::Is(self.kind.pass())
    }

    /// A program on one frame.
    pub(super) fn hot(
        &mut self,
        row: &str,
        program: &OwnedFd,
        frame: &[u8],
        verdict: Verdict,
    ) -> Result<()> {
        if !self.asks(row, HOT) {
            return Ok(());
        }
        let floor = self.floor(HOT, None, frame)?;
        let program = (bpf::duplicate(program)?, None);
        self.push(row, HOT, program, (frame, None), verdict, floor);
        Ok(())
    }

    /// A program on frames that vary.
    pub(super) fn vary(
        &mut self,
        (row, column): (&str, &'static str),
        target: &OwnedFd,
        (records, frame): (&Records, &[u8]),
        verdict: Verdict,
    ) -> Result<()> {
        if !self.asks(row, column) {
            return Ok(());
        }
        let floor = self.floor(column, Some(records), frame)?;
        let (program, kept) = instruments::varying(self.kind, records, target.as_fd())?;
        self.push(row, column, (program, Some(kept)), (frame, Some(records)), verdict, floor);
        Ok(())
    }

    /// A program on one frame, and on what varies it in other columns.
    pub(super) fn all(
        &mut self,
        row: &str,
        program: &OwnedFd,
        frame: &[u8],
        columns: &[(&'static str, Records)],
        verdict: Verdict,
    ) -> Result<()> {
        self.hot(row, program, frame, verdict)?;
        for (column, records) in columns {
            self.vary((row, column), program, (records, frame), verdict)?;
        }
        Ok(())
    }

    fn asks(&self, row: &str, column: &str) -> bool {
        self.options.asks(self.section, row) && self.options.asks_column(self.section, column)
    }

    /// The bare drop of a column, measured once.
    fn floor(
        &mut self,
        column: &'static str,
        records: Option<&Records>,
        frame: &[u8],
    ) -> Result<usize> {
        let fields = records.map(Records::fields);
        let known = self.floors.iter().find(|floor| (floor.0, floor.1) == (column, fields));
        if let Some(&(_, _, floor)) = known {
            return Ok(floor);
        }
        let program = match records {
            Some(records) => {
                let (program, kept) = instruments::varying(self.kind, records, self.bare.as_fd())?;
                (program, Some(kept))
            }
            None => (bpf::duplicate(&self.bare)?, None),
        };
        let row = match fields {
            Some(Fields::V6) => "bare drop, IPv6 frames",
            Some(Fields::Sequence) => "bare drop, one connection",
            Some(Fields::V4) | None => "bare drop",
        };
        let floor = self.shots.len();
        self.push(row, column, program, (frame, records), self.drop(), floor);
        self.floors.push((column, fields, floor));
        Ok(floor)
    }

    fn push(
        &mut self,
        row: &str,
        column: &'static str,
        (program, kept): (OwnedFd, Option<OwnedFd>),
        (frame, records): (&[u8], Option<&Records>),
        verdict: Verdict,
        floor: usize,
    ) {
        let (row, frame) = (row.to_owned(), frame.to_vec());
        let warm = records.map_or(1, |records| records.count() / WARM);
        self.shots.push(Shot { row, column, program, _kept: kept, frame, warm, verdict, floor });
    }

    /// Checks every verdict, then times all shots in one interleaved run.
    pub(super) fn measure(self, bench: &mut Bench<'_>) -> Result<()> {
        for shot in &self.shots {
            if let Some(found) = shot.wrong_verdict()? {
                let wrong = format!("{}/{}/{}: {found}", self.section, shot.row, shot.column);
                bench.book.wrong.push(wrong.clone());
                bail!(wrong);
            }
        }
        bench.settle(self.section);
        let call = self.call()?;
        let note = format!("{}: {:.0} us of each call taken off", self.section, call / 1e3);
        bench.book.notes.push(note);
        let mut trials: Vec<Trial<'_>> = self.shots.iter().map(|shot| shot.trial(call)).collect();
        let spreads = measure::interleave(&mut trials, bench.options.batches())?;
        drop(trials);
        for (shot, spread) in self.shots.iter().zip(&spreads) {
            let place = (shot.row.as_str(), shot.column);
            bench.book.measured(self.section, place, *spread, spreads.get(shot.floor));
        }
        Ok(())
    }

    /// What a call takes beside the packets, ns. At XDP the kernel writes its dispatcher anew for each
    /// (`bpf_prog_change_xdp` in `net/bpf/test_run.c`), some 0.3 ms: in a batch of one millisecond a bare
    /// drop would look a quarter dearer, and each ratio kinder.
    fn call(&self) -> Result<f64> {
        // For a single packet the dispatcher is left alone.
        let run = || bpf::run(self.bare.as_fd(), &[0; 64], 2);
        let call = || measure::cpu_time(1, || Ok(run().map(drop)?));
        let calls = (0..CALLS).map(|_| Ok(call()?.ns)).collect::<Result<_>>()?;
        Ok(Spread::of(calls, 0)?.median)
    }
}

impl Shot {
    /// A verdict that is not what it must be, in words.
    fn wrong_verdict(&self) -> Result<Option<String>> {
        let Verdict::Is(verdict) = self.verdict else { return Ok(None) };
        for _ in 0..CHECKED {
            let found = bpf::run(self.program.as_fd(), &self.frame, 1)?;
            if found != verdict {
                return Ok(Some(format!("returned {found}, must return {verdict}")));
            }
        }
        Ok(None)
    }

    /// Batches, without what a call takes, ns.
    fn trial(&self, call: f64) -> Trial<'_> {
        let mut repeat = 10_000;
        Box::new(move || {
            let batch = measure::undisturbed(|| {
                bpf::run(self.program.as_fd(), &self.frame, self.warm)?;
                let run = || bpf::run(self.program.as_fd(), &self.frame, repeat);
                let batch = measure::cpu_time(repeat, || Ok(run().map(drop)?))?;
                Ok(Batch { ns: batch.ns - call / f64::from(repeat), ..batch })
            })?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to a small positive range"
            )]
            let fitting = (BATCH / batch.ns).clamp(REPEATS.0, REPEATS.1) as u32;
            repeat = fitting;
            Ok(batch)
        })
    }
}
