//! What a verdict costs: every row and a bare `XDP_DROP`, in one interleaved run.
//!
//! Absolute nanoseconds are those of one machine at one moment; the ratio to the
//! bare program of the same run is what holds. Each batch is timed from outside
//! by the thread's CPU clock: the kernel's own figure has whole nanoseconds.

mod bare;
mod rows;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::gate;
use rows::Row;

/// Runs of a program in one batch.
const REPEAT: u32 = 200_000;

/// Batches of each row, one of each in turn.
const BATCHES: usize = 15;

/// Measures and prints.
///
/// # Errors
/// Without root, or if the kernel refuses a program.
pub fn run(as_json: bool) -> Result<()> {
    gate::root()?;
    let mut rows = rows::rows()?;
    for row in &mut rows {
        row.check()?;
    }
    let mut times = vec![Vec::with_capacity(BATCHES); rows.len()];
    for batch in 0..=BATCHES {
        for (row, times) in rows.iter_mut().zip(&mut times) {
            let nanos = time(row)?;
            // The first batch warms caches and is not counted.
            if batch > 0 {
                times.push(nanos);
            }
        }
    }
    let times: Vec<Spread> = times.into_iter().map(Spread::of).collect();
    let bare = times.first().context("no rows")?.median;
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .zip(&times)
            .map(|(row, time)| {
                json!({
                    "row": row.name, "ns": time.median, "deviation_ns": time.deviation,
                    "ratio": time.median / bare,
                })
            })
            .collect();
        print(&json!({ "schema": 1, "rows": rows, "programs": rows::programs()? }).to_string());
        return Ok(());
    }
    print(&format!("{:<44} {:>8} {:>7} {:>7}", "one packet again and again", "ns", "±", "x bare"));
    for (row, time) in rows.iter().zip(&times) {
        let Spread { median, deviation } = time;
        print(&format!("{:<44} {median:>8.2} {deviation:>7.2} {:>7.2}", row.name, median / bare));
    }
    for facts in rows::programs()? {
        print(&facts);
    }
    Ok(())
}

/// Nanoseconds of CPU per run.
fn time(row: &mut Row) -> Result<f64> {
    let start = thread_cpu_ns();
    row.run(REPEAT)?;
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52 ns")]
    let spent = (thread_cpu_ns() - start) as f64;
    Ok(spent / f64::from(REPEAT))
}

fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Median and median absolute deviation.
struct Spread {
    median: f64,
    deviation: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        let median = median(&mut values);
        let mut distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        Self { median, deviation: self::median(&mut distances) }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "the result of the program")]
fn print(line: &str) {
    println!("{line}");
}
