//! What every agent says once a second, for the plots.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::plan::{SERVERS, Server};
use super::progress::Progress;
use super::topology::Network;
use crate::host::lock;

/// Between two questions.
const STEP: Duration = Duration::from_secs(1);
/// Longest time for an agent's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The mark from which on somebody counts.
pub(crate) const FIREWALL_ON: &str = "firewall on";

/// Totals of a server at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    /// Seconds since the demo started.
    pub(crate) at: f64,
    /// When the agent read its counters, milliseconds since 1970.
    time_ms: u64,
    /// Packets that passed, both ways.
    pub(crate) passed: u64,
    /// Packets that were dropped, both ways.
    pub(crate) dropped: u64,
    /// Requests that it served, or passed on.
    pub(crate) requests: u64,
}

/// What is recorded: the points of each server, in the order of [`SERVERS`], and
/// what happened when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Points of each server.
    pub(crate) points: Vec<Vec<Point>>,
    /// What began when.
    pub(crate) marks: Vec<(f64, &'static str)>,
}

/// Records until it is ended.
#[derive(Debug)]
pub(crate) struct Timeline {
    progress: Progress,
    record: std::sync::Arc<Mutex<Record>>,
    stop: std::sync::Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Timeline {
    /// Starts to ask the agents, as they come and go.
    pub(crate) fn start(network: &Network, progress: Progress) -> Self {
        let points = vec![Vec::new(); SERVERS.len()];
        let record = std::sync::Arc::new(Mutex::new(Record { points, marks: Vec::new() }));
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        // An agent that starts lets others wait: each has somebody of its own to ask it.
        let ask_one = |(number, server): (usize, Server)| {
            let socket = network.host(server.name).path("/run/firewall/firewall.sock");
            let (shared, ended) = (std::sync::Arc::clone(&record), std::sync::Arc::clone(&stop));
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    // No agent, no point: it has not started, or was killed.
                    if let Ok(mut point) = ask(&server, &socket) {
                        point.at = progress.elapsed().as_secs_f64();
                        push(&mut lock(&shared).points[number], point);
                    }
                    thread::sleep(STEP);
                }
            })
        };
        let threads = SERVERS.into_iter().enumerate().map(ask_one).collect();
        Self { progress, record, stop, threads }
    }

    /// Notes that something begins.
    pub(crate) fn mark(&self, what: &'static str) {
        lock(&self.record).marks.push((self.progress.elapsed().as_secs_f64(), what));
    }

    /// Ends, and returns what was recorded.
    pub(crate) fn end(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        lock(&self.record).clone()
    }
}

/// Adds a point, unless it is the agent's last one once more.
fn push(points: &mut Vec<Point>, point: Point) {
    if points.last().is_none_or(|last| last.time_ms < point.time_ms) {
        points.push(point);
    }
}

fn ask(server: &Server, socket: &PathBuf) -> Result<Point> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"{\"request\":\"snapshot\"}\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line)?;
    point_of(server, &answer["snapshot"])
}

fn point_of(server: &Server, snapshot: &Value) -> Result<Point> {
    let list = |key: &str| snapshot[key].as_array().with_context(|| format!("no {key}"));
    let mut point =
        Point { time_ms: snapshot["time_ms"].as_u64().context("no time_ms")?, ..Point::default() };
    for outcome in list("outcomes")? {
        let packets = outcome["packets"].as_u64().unwrap_or_default();
        if outcome["verdict"] == "allow" {
            point.passed += packets;
        } else {
            point.dropped += packets;
        }
    }
    for rule in list("rules")? {
        if !served(server).iter().any(|name| rule["name"] == *name) {
            continue;
        }
        for metric in ["requests", "mysql_query", "mysql_stmt_execute"] {
            point.requests += rule["requests"][metric].as_u64().unwrap_or_default();
        }
    }
    Ok(point)
}

/// Rules that count what a server is there for.
fn served(server: &Server) -> &'static [&'static str] {
    match server.role {
        "load-balancer" => &["to-web"],
        "web" => &["http-from-lb"],
        "app" => &["app-from-web"],
        "db-primary" => &["mysql-from-app"],
        "db-replica" => &["mysql-reads-from-app"],
        _ => &[],
    }
}

/// A rate between two points: when, and how many per second.
pub(crate) fn rates(points: &[Point], of: impl Fn(&Point) -> u64) -> Vec<(f64, Option<f64>)> {
    let mut rates = Vec::new();
    for pair in points.windows(2) {
        let [before, after] = pair else { continue };
        let time = Duration::from_millis(after.time_ms - before.time_ms).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for a plot")]
        let added = of(after).saturating_sub(of(before)) as f64;
        // Nobody was there to say what happened when.
        if time > 3.0 {
            rates.push((before.at, None));
        } else {
            rates.push((after.at, Some(added / time)));
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::WEB1;

    #[test]
    fn a_snapshot_becomes_a_point() {
        let snapshot = serde_json::json!({
            "time_ms": 1000,
            "outcomes": [
                { "verdict": "allow", "packets": 7 }, { "verdict": "drop", "packets": 2 },
            ],
            "rules": [
                { "name": "http-from-lb", "requests": { "requests": 5, "suspects": 1 } },
                { "name": "to-app", "requests": { "requests": 5 } },
            ],
        });
        let point = point_of(&WEB1, &snapshot).unwrap();
        assert_eq!((point.passed, point.dropped, point.requests), (7, 2, 5));
        let mut points = vec![point];
        push(&mut points, point);
        assert_eq!(points.len(), 1);
    }

    #[test]
    fn a_rate_is_per_second_and_a_gap_is_no_rate() {
        let point = |time_ms, passed| Point { time_ms, passed, ..Point::default() };
        let points = [point(0, 0), point(500, 10), point(9000, 20)];
        let rates: Vec<_> =
            rates(&points, |point| point.passed).into_iter().map(|one| one.1).collect();
        assert_eq!(rates, [Some(20.0), None]);
    }
}
