//! Sections `load` and `bans`: what it takes to change what is enforced.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use firewall_common::abi::ban::BanKey;
use firewall_userspace::kernel::bans::{self as table, Bans};

use super::Bench;
use super::banned::BAN;
use super::measure;
use super::ours::{Applied, Ours};
use super::peers;
use super::policy::{self, Files};
use super::traffic::Random;

/// Numbers of rules that are loaded.
const RULES: [(u32, &str); 4] = [
    (10, "10 rules"),
    (1_000, "1,000 rules"),
    (10_000, "10,000 rules"),
    (100_000, "100,000 rules"),
];

/// Section `load`.
pub(super) fn load(bench: &mut Bench<'_>) -> Result<()> {
    measure::unpin()?;
    let small = policy::ports;
    for (count, row) in RULES {
        parts(bench, row, small, || policy::rules(count, false))?;
    }
    let tested = || policy::tested(policy::rules(1_000, false));
    parts(bench, "1,000 rules, with a test", small, tested)?;
    let large = |rules| policy::rules_and_set(rules, 1_000_000);
    parts(bench, "100,000 rules + 1M set", small, || large(100_000))?;
    let row = "100,000 rules + 1M set, one more rule";
    parts(bench, row, || large(100_000), || large(100_001))?;
    others(bench)?;
    measure::pin(bench.cpu)
}

/// How long others take to load as much: the quickest of three, or the first if that is slow.
fn others(bench: &mut Bench<'_>) -> Result<()> {
    const SLOW: Duration = Duration::from_secs(1);
    for peer in peers::large(bench)? {
        bench.settle("load");
        let mut quickest = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let _in_force = peer.up()?;
            quickest = quickest.min(start.elapsed());
            if quickest > SLOW {
                break;
            }
        }
        bench.book.fact("load", peer.row, WHOLE, (quickest.as_secs_f64() * 1e3, "ms"));
    }
    Ok(())
}

/// The column of a command from its start to its end.
const WHOLE: &str = "whole command";

/// Times of one policy behind another, as `firewall apply` tells them: the quickest of three.
fn parts(
    bench: &mut Bench<'_>,
    row: &str,
    before: impl Fn() -> Files,
    files: impl Fn() -> Files,
) -> Result<()> {
    if !bench.options.asks("load", row) {
        return Ok(());
    }
    bench.settle("load");
    let (before, files) = (before(), files());
    let mut quickest: Vec<(&str, f64)> = Vec::new();
    for _ in 0..3 {
        let ours = Ours::new(bench.pair, "load", &before)?;
        // In both slots, as on a host that has been up for a while.
        ours.apply(&before)?;
        let Applied { wall, document } = ours.apply(&files)?;
        let part = |name: &str| document["times_us"][name].as_f64().unwrap_or(f64::NAN) / 1e3;
        let parts = [
            ("read and check", part("read")),
            ("compile", part("compile")),
            ("tests", part("test")),
            ("create and fill", part("tables")),
            ("verify", part("verify")),
            ("switch", document["switch_us"].as_f64().unwrap_or(f64::NAN) / 1e3),
            ("keep", part("keep")),
            (WHOLE, wall.as_secs_f64() * 1e3),
        ];
        if quickest.is_empty() {
            quickest.extend(parts);
        }
        for ((_, least), (_, time)) in quickest.iter_mut().zip(parts) {
            *least = least.min(time);
        }
    }
    for (part, time) in quickest {
        bench.book.fact("load", row, part, (time, "ms"));
    }
    Ok(())
}

/// Bans that are added or lifted one by one.
const SINGLE: u32 = 1_000;

/// Section `bans`.
pub(super) fn bans(bench: &mut Bench<'_>) -> Result<()> {
    let ours = Ours::new(bench.pair, "ban-times", &policy::ports())?;
    let store = ours.store()?;
    let mut bans = store.bans()?;
    let (room, words) = (1_000_000, "1,000,000");
    let (mut random, mut drawn) = (Random::new(0xba4), BTreeSet::new());
    // None is drawn twice: the second time it would be renewed.
    let mut new = |count: u32| -> Vec<BanKey> {
        let mut address = || loop {
            let address = random.address();
            if drawn.insert(address) {
                return address;
            }
        };
        (0..count).map(|_| table::key(Ipv4Addr::from(address()).into(), 32)).collect()
    };
    bench.settle("bans");

    let first = new(SINGLE);
    one_by_one(bench, &mut bans, &first, ["one ban added", "one ban lifted, of 1,000"])?;

    let keys = new(room);
    measure::unpin()?;
    for row in ["added at once", "renewed at once"] {
        let start = Instant::now();
        bans.insert_all(&keys, &BAN)?;
        let time = start.elapsed().as_secs_f64() * 1e3;
        bench.book.fact("bans", format!("{words} bans {row}"), "time", (time, "ms"));
    }
    measure::pin(bench.cpu)?;

    let rows = [format!("one ban added to {words}"), format!("one ban lifted, of {words}")];
    one_by_one(bench, &mut bans, &new(SINGLE), rows.each_ref().map(String::as_str))
}

/// Adds bans that must be new, one by one, and lifts them.
fn one_by_one(
    bench: &mut Bench<'_>,
    bans: &mut Bans,
    keys: &[BanKey],
    [added, lifted]: [&str; 2],
) -> Result<()> {
    let before = bans.usage()?.bans;
    each(bench, added, keys, |key| bans.insert(key, BAN))?;
    let count = bans.usage()?.bans - before;
    ensure!(count as usize == keys.len(), "{count} of {} bans were new", keys.len());
    each(bench, lifted, keys, |key| {
        ensure!(bans.remove(key)?, "a ban that was added is not there");
        Ok(())
    })
}

/// Times each of these: the middle, and the longest, which a table made anew stands out in.
fn each(
    bench: &mut Bench<'_>,
    row: &str,
    keys: &[BanKey],
    mut change: impl FnMut(BanKey) -> Result<()>,
) -> Result<()> {
    let mut times = Vec::with_capacity(keys.len());
    for key in keys {
        let start = Instant::now();
        change(*key)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let micros = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    let (middle, longest) = (micros(times.get(times.len() / 2)), micros(times.last()));
    bench.book.fact("bans", row, "time", (middle, "us"));
    bench.book.fact("bans", row, "longest", (longest, "us"));
    Ok(())
}
