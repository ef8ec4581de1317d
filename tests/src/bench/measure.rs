//! Timing: interleaved batches, redone where somebody else had the CPU.
//!
//! Whatever disturbs a batch only ever makes it slower, so a row's figure is the
//! lower quartile of its batches, and its noise their median absolute deviation.

use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

/// Times that a disturbed batch is redone.
const REDO: u32 = 8;

/// One row: runs a batch, until it is [`undisturbed`].
pub(super) type Trial<'a> = Box<dyn FnMut() -> Result<Batch> + 'a>;

/// What a batch took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// CPU time of one packet.
    pub(super) ns: f64,
    /// Times that somebody else had the CPU of the thread that ran it.
    pub(super) lost_cpu: u64,
    /// Times that it was run before.
    pub(super) redone: u32,
}

/// Time after which a batch is not redone: a long one is hardly ever alone.
const LONG: Duration = Duration::from_millis(500);

/// Runs a batch, and again if somebody else had its CPU, [`REDO`] times at most.
pub(super) fn undisturbed(mut batch: impl FnMut() -> Result<Batch>) -> Result<Batch> {
    let (start, mut redone) = (Instant::now(), 0);
    loop {
        let run = batch()?;
        if run.lost_cpu == 0 || redone == REDO || start.elapsed() > LONG {
            return Ok(Batch { redone, ..run });
        }
        redone += 1;
    }
}

/// Batches of one row.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    /// The quickest batch.
    pub(super) min: f64,
    /// Lower quartile: the figure.
    pub(super) low: f64,
    /// Half of them were quicker.
    pub(super) median: f64,
    /// Nine of ten were quicker.
    pub(super) p90: f64,
    /// Median absolute deviation.
    pub(super) deviation: f64,
    /// Batches redone because another thread had the CPU.
    pub(super) redone: u32,
}

impl Spread {
    /// Of measured values.
    pub(super) fn of(mut values: Vec<f64>, redone: u32) -> Result<Self> {
        ensure!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values.get(values.len() * part / 100).copied().unwrap_or(f64::NAN);
        let median = at(50);
        let mut distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        let deviation = distances.get(distances.len() / 2).copied().unwrap_or(f64::NAN);
        Ok(Self { min: at(0), low: at(25), median, p90: at(90), deviation, redone })
    }
}

/// Runs a batch of each row in turn, `batches` times, so that a drift of the
/// machine hits all alike. A first round warms caches and is not counted.
pub(super) fn interleave(trials: &mut [Trial<'_>], batches: usize) -> Result<Vec<Spread>> {
    let mut rows = vec![Batches::default(); trials.len()];
    for round in 0..=batches {
        for (trial, row) in trials.iter_mut().zip(&mut rows) {
            let batch = trial()?;
            if round > 0 {
                row.add(batch);
            }
        }
    }
    rows.into_iter().map(Batches::spread).collect()
}

/// Batches of a row so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Batches {
    values: Vec<f64>,
    redone: u32,
}

impl Batches {
    pub(super) fn add(&mut self, batch: Batch) {
        self.values.push(batch.ns);
        self.redone += batch.redone;
    }

    pub(super) fn spread(self) -> Result<Spread> {
        Spread::of(self.values, self.redone)
    }
}

/// Time of this thread's CPU that `work` took per one of `count`.
pub(super) fn cpu_time(count: u32, work: impl FnOnce() -> Result<()>) -> Result<Batch> {
    let (switches, before) = (involuntary_switches(), thread_cpu_ns());
    work()?;
    let ns = as_f64(thread_cpu_ns() - before) / f64::from(count);
    let lost_cpu = involuntary_switches().saturating_sub(switches);
    Ok(Batch { ns, lost_cpu, redone: 0 })
}

/// CPU time of this thread so far.
pub(super) fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Involuntary context switches of this thread so far.
fn involuntary_switches() -> u64 {
    // SAFETY: all-zero is a valid value of this struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the answer.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    usage.ru_nivcsw.unsigned_abs()
}

/// Keeps this thread, and what it starts, on one CPU.
pub(super) fn pin(cpu: usize) -> Result<()> {
    affinity(cpu..cpu + 1)
}

/// Lets this thread, and what it starts, run anywhere again.
pub(super) fn unpin() -> Result<()> {
    affinity(0..cpus())
}

fn affinity(cpus: std::ops::Range<usize>) -> Result<()> {
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.clone() {
        // SAFETY: `set` is valid; the call checks the number against its size.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: as above; 0 is this thread.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    ensure!(failed == 0, "no CPUs {cpus:?}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Waits until a CPU was less than a fifth busy for 200 ms, at most `limit`;
/// returns how busy it was last, in per cent.
pub(super) fn wait_quiet(cpu: usize, limit: Duration) -> f64 {
    let start = Instant::now();
    loop {
        let before = busy(cpu);
        sleep(Duration::from_millis(200));
        let after = busy(cpu);
        let (all, idle) = (after.0 - before.0, after.1 - before.1);
        let percent = 100.0 * as_f64(all - idle.min(all)) / as_f64(all.max(1));
        if percent < 20.0 || start.elapsed() > limit {
            return percent;
        }
    }
}

/// The CPU that is least busy now; of equals the last one, as interrupts prefer the
/// first.
pub(super) fn quietest() -> usize {
    let before: Vec<_> = (0..cpus()).map(busy).collect();
    sleep(Duration::from_millis(300));
    let work = |cpu: &usize| {
        let (after, before) = (busy(*cpu), before.get(*cpu).copied().unwrap_or_default());
        (after.0 - before.0).saturating_sub(after.1 - before.1)
    };
    (0..cpus()).rev().min_by_key(work).unwrap_or_default()
}

/// Ticks of a CPU so far, and those in which it had nothing to do.
fn busy(cpu: usize) -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{cpu} ")));
    let ticks: Vec<u64> =
        line.unwrap_or_default().split(' ').filter_map(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    (ticks.iter().take(8).sum(), ticks.iter().skip(3).take(2).sum())
}

/// CPUs that are online.
pub(super) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    // Asked once, before any thread is kept on one of them.
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_batch_moves_no_figure() {
        let quiet = Spread::of(vec![10.0, 10.1, 10.2, 10.1, 10.0, 10.1, 10.0, 10.2], 0).unwrap();
        let loud = Spread::of(vec![10.0, 10.1, 90.0, 10.1, 10.0, 70.0, 10.0, 10.2], 0).unwrap();
        assert!((quiet.low - loud.low).abs() < 0.11, "{quiet:?} {loud:?}");
        assert!(loud.p90 > 50.0);
    }

    #[test]
    fn a_batch_that_was_interrupted_is_measured_again() {
        let mut runs = 0;
        let trial: Trial<'_> = Box::new(|| {
            runs += 1;
            Ok(Batch { ns: 1.0, lost_cpu: 0, redone: 2 })
        });
        let spreads = interleave(&mut [trial], 3).unwrap();
        assert_eq!(spreads.iter().map(|spread| spread.redone).sum::<u32>(), 6);
        assert_eq!(runs, 4);
    }

    #[test]
    fn a_batch_is_redone_until_nobody_else_had_its_cpu() {
        let run = |disturbed: u32| {
            let mut runs = 0;
            let batch = undisturbed(|| {
                runs += 1;
                Ok(Batch { ns: 1.0, lost_cpu: u64::from(runs <= disturbed), redone: 0 })
            });
            (batch.unwrap().redone, runs)
        };
        assert_eq!([run(0), run(3), run(100)], [(0, 1), (3, 4), (REDO, REDO + 1)]);
    }
}
