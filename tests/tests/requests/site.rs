//! The server of most files here: nginx behind the firewall, and load from the
//! client.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::firewall::{Counters, Firewall};
use firewall_tests::gate;
use firewall_tests::host::Host;
use firewall_tests::pair::Pair;
use firewall_tests::servers::{Nginx, Site};

/// The server of the pair, by both families.
pub(crate) const URLS: [&str; 2] = ["http://192.0.2.10/", "http://[2001:db8:1::10]/"];

/// A line that a body says again and again; as it has a prime number of bytes, it
/// begins segments of any size sooner or later.
pub(crate) const HOSTILE: &[u8; 31] = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n";

/// A policy that counts the requests of every service.
pub(crate) const POLICY: &str = "\
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups: { admin: [198.51.100.5, \"2001:db8:2::5\"] }
services:
  ssh: { tcp: 22 }
  http: { tcp: 80, count: http1 }
failsafe: { ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ] }
ingress: { allow: [ { name: http, from: any, service: http } ] }
egress: { allow: [] }
";

/// nginx on the server of a pair.
pub(crate) struct Web {
    /// How long the log must stand still before it is complete.
    pub(crate) quiet: Duration,
    pub(crate) nginx: Nginx,
    pub(crate) pair: Pair,
}

impl Web {
    /// Starts it; `/post` reads the whole body before it answers.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::on(Pair::new(name)?)
    }

    /// The same on a pair that is there.
    pub(crate) fn on(pair: Pair) -> Result<Self> {
        let site = Site {
            // A server of its own, by way of the loopback, which nobody counts:
            // nginx itself would answer before it has read the body.
            http: "server { listen 127.0.0.1:8081; access_log off; return 200 \"read\\n\"; }"
                .into(),
            server: "client_max_body_size 64m;\n\
                     client_body_buffer_size 256k;\n\
                     location /post { proxy_pass http://127.0.0.1:8081; }"
                .into(),
            ..Site::default()
        };
        Ok(Self {
            quiet: Duration::from_millis(120),
            nginx: Nginx::start(&pair.server, &site)?,
            pair,
        })
    }

    /// As [`Web::new`], with the firewall in front.
    pub(crate) fn guarded(name: &str) -> Result<(Self, Firewall)> {
        let web = Self::new(name)?;
        let firewall = Firewall::with_policy(&web.pair.server, POLICY)?;
        Ok((web, firewall))
    }

    /// Runs a load, and compares what was counted with the access log; the
    /// difference must be 0. Returns how many requests that were.
    pub(crate) fn exact(
        &self,
        what: &str,
        firewall: &Firewall,
        load: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        let start = Instant::now();
        let (before, logged) = (firewall.counters()?, self.nginx.requests()?);
        load()?;
        let requests = self.settled()? - logged;
        let since = firewall.counters()?.since(&before);
        report(what, &since, "ingress", requests, start.elapsed());
        ensure!(counted(&since, "ingress") == requests, "{what}: counted {since:?}");
        ensure!(requests > 0, "{what}: no load");
        Ok(requests)
    }

    /// Lines of the access log once no more are coming.
    pub(crate) fn settled(&self) -> Result<u64> {
        let mut lines = self.nginx.requests()?;
        loop {
            sleep(self.quiet);
            let now = self.nginx.requests()?;
            if now == lines {
                return Ok(now);
            }
            lines = now;
        }
    }
}

/// Requests that the rule `http` has counted.
pub(crate) fn counted(since: &Counters, way: &'static str) -> u64 {
    since.rule(way, "http").requests["requests"]
}

/// Prints both numbers and their difference.
pub(crate) fn report(
    what: &str,
    since: &Counters,
    way: &'static str,
    requests: u64,
    time: Duration,
) {
    let rule = since.rule(way, "http");
    let counted = counted(since, way);
    eprintln!(
        "{what}: {requests} requests in the log, {counted} counted, difference {}; {} suspect, {} \
         packets, {time:.1?}",
        i128::from(counted) - i128::from(requests),
        rule.requests["suspects"],
        rule.packets,
    );
}

/// `wrk` with kept connections, for a while.
pub(crate) fn wrk(client: &Host, url: &str, connections: u32, seconds: u32) -> Result<Command> {
    let program = gate::tool("wrk", "wrk")?;
    let mut command = Command::new(program);
    command.args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), url]);
    command.current_dir(client.directory());
    Ok(command)
}

/// `ab`: so many requests, so many at once; without `keep`, a connection for each.
pub(crate) fn ab(url: &str, requests: u32, at_once: u32, keep: bool) -> Result<Command> {
    let mut command = Command::new(gate::tool("ab", "apache2-utils")?);
    command.args(["-q", "-l", "-s", "20", "-n", &requests.to_string(), "-c", &at_once.to_string()]);
    if keep {
        command.arg("-k");
    }
    command.arg(url);
    Ok(command)
}

/// `ab` that posts a file.
pub(crate) fn post(url: &str, file: &PathBuf, requests: u32) -> Result<Command> {
    let mut command = ab(&format!("{url}post"), requests, 4, true)?;
    let options = ["-T".into(), "text/plain".into(), "-p".into(), file.as_os_str().to_owned()];
    let url = command.get_args().last().map(ToOwned::to_owned).context("no URL")?;
    let mut all: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    all.pop();
    all.extend(options);
    all.push(url);
    command = Command::new(command.get_program());
    command.args(all);
    Ok(command)
}

/// A body of 100 KB that says the same line again and again, written to a host's
/// directory.
pub(crate) fn body(host: &Host, name: &str, line: &[u8]) -> Result<PathBuf> {
    let path = host.directory().join(name);
    let body: Vec<u8> = line.iter().copied().cycle().take(100_000).collect();
    std::fs::write(&path, body)?;
    Ok(path)
}
