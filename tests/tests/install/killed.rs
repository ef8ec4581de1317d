//! SIGKILL at any moment leaves a host fully old or fully new, and enforcing.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::traffic::PATIENCE;

use crate::site::{Server, Site, Version, on};

/// Longest time that a host may need to be old or new again.
const SETTLED: Duration = Duration::from_mins(1);
/// Kills, spread over the time that an installation takes.
const KILLS: u32 = 20;
/// So many more, later and later, if none came late enough: a busy machine is slower
/// than it was a moment ago.
const MORE: u32 = 40;

/// A server with either version, and what it looks like with each.
struct Fixture {
    site: Site,
    states: BTreeMap<&'static str, String>,
}

impl Fixture {
    fn new(name: &str) -> Result<(Self, Duration)> {
        let site = Site::new(name, 1)?;
        let mut states = BTreeMap::new();
        let mut took = Duration::ZERO;
        for version in [Version::Two, Version::One] {
            let start = Instant::now();
            let host = [site.servers[0].login()];
            on(&site.servers[0], site.run(&mut site.install(version, &host, &[])?, 0))?;
            took = start.elapsed();
            states.insert(version.name(), site.servers[0].state()?);
        }
        Ok((Self { site, states }, took))
    }

    fn server(&self) -> &Server {
        &self.site.servers[0]
    }

    /// Starts to install a version, and ends the installer at once when `now` says so.
    fn kill(&self, version: Version, mut now: impl FnMut() -> Result<bool>) -> Result<()> {
        let host = [self.server().login()];
        let mut command = self.site.install(version, &host, &["--confirm-within", "10"])?;
        let installer = self.site.spawn(&mut command)?;
        let start = Instant::now();
        while !now()? && installer.ended()?.is_none() && start.elapsed() < SETTLED {
            std::thread::sleep(Duration::from_millis(1));
        }
        installer.kill()?;
        Ok(())
    }

    /// Which version is there, wholly; enforcing, with an agent.
    fn version(&self) -> Result<Version> {
        let state = self.server().state()?;
        let found = [Version::One, Version::Two]
            .into_iter()
            .find(|version| self.states[version.name()] == state);
        let found = found.with_context(|| {
            let differs = |version: &str| {
                let lines: Vec<_> = self.states[version].lines().collect();
                let new = state.lines().filter(|line| !lines.contains(line));
                let gone = lines.iter().filter(|line| !state.contains(**line));
                format!("{:?} and not {:?}", new.collect::<Vec<_>>(), gone.collect::<Vec<_>>())
            };
            format!(
                "neither old nor new:\none, but {}\ntwo, but {}",
                differs("one"),
                differs("two")
            )
        })?;
        let open = self.site.open(self.server())?;
        ensure!(open == [true, found == Version::Two], "{found:?} lets in {open:?}");
        Ok(found)
    }
}

#[test]
fn an_installer_killed_at_any_moment_leaves_the_old_or_the_new() -> Result<()> {
    let (fixture, took) = Fixture::new("killed")?;
    let mut now = Version::One;
    let mut tally = [0, 0];
    for number in 0..KILLS + MORE {
        if number >= KILLS && tally[1] > 0 {
            break;
        }
        // A little beyond the end, too.
        let moment = took * (number + 1) / (KILLS - 2);
        let start = Instant::now();
        fixture.kill(now.other(), || Ok(start.elapsed() >= moment))?;
        let context = || format!("killed after {moment:?} of {took:?}");
        fixture.server().settle(&fixture.site.admin, SETTLED).with_context(context)?;
        let found = on(fixture.server(), fixture.version()).with_context(context)?;
        tally[usize::from(found != now)] += 1;
        now = found;
    }
    let [old, new] = tally;
    eprintln!(
        "{} kills, {KILLS} of them over {took:?}: {old} times old, {new} times new",
        old + new
    );
    assert!(old >= 5 && new >= 1, "the moments are badly chosen: {tally:?}");
    Ok(())
}

#[test]
fn one_of_the_two_processes_on_the_host_is_enough() -> Result<()> {
    let (fixture, _) = Fixture::new("killed-one")?;
    let server = fixture.server();
    let mut now = Version::One;
    for (moment, which) in MOMENTS.iter().flat_map(|moment| [(moment, 0), (moment, 1)]) {
        let mut killed = false;
        let host = [server.login()];
        let mut command = fixture.site.install(now.other(), &host, &["--confirm-within", "10"])?;
        let installer = fixture.site.spawn(&mut command)?;
        let start = Instant::now();
        while installer.ended()?.is_none() && start.elapsed() < SETTLED {
            if !killed && server.has(moment) {
                let guards = guards(server)?;
                if let Some(pid) = guards.get(which) {
                    server.host.run(Command::new("kill").args(["-9", pid]))?;
                    killed = true;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let context = || format!("process {which} killed at {moment}");
        server.settle(&fixture.site.admin, SETTLED).with_context(context)?;
        now = on(server, fixture.version()).with_context(context)?;
    }
    Ok(())
}

#[test]
fn after_a_power_failure_the_next_boot_completes_it() -> Result<()> {
    let (fixture, _) = Fixture::new("power-failure")?;
    let server = fixture.server();
    let mut now = Version::One;
    for moment in MOMENTS {
        fixture.kill(now.other(), || {
            let there = server.has(moment);
            if there {
                // Everything at once: as if the power had gone.
                for pid in server.installers()? {
                    server.host.run(Command::new("kill").args(["-9", &pid]))?;
                }
            }
            Ok(there)
        })?;
        let context = || format!("power failure at {moment}");
        server.host.sh(
            "for p in /proc/[0-9]*; do case $(readlink $p/exe) in /usr/local/sbin/firewall*) kill -9 ${p#/proc/};; esac; done; \
             rm -rf /sys/fs/bpf/firewall /run/firewall /run/firewall-install",
        )?;
        // What the units do.
        server.host.sh(
            "for way in transaction committed; do ! test -d /var/lib/firewall/install/$way || \
             sh /var/lib/firewall/install/$way/setup recover; done; firewall=/usr/local/sbin/firewall; \
             $firewall boot; setsid $firewall agent >/run/agent.log 2>&1 </dev/null & sleep 0.2",
        )
        .with_context(context)?;
        let start = Instant::now();
        while !server.has("/run/firewall/firewall.sock") {
            ensure!(start.elapsed() < PATIENCE, "no agent");
            std::thread::sleep(Duration::from_millis(20));
        }
        server.host.sh("rm -rf /var/lib/firewall/install/next")?;
        let found = fixture.version().with_context(context)?;
        eprintln!("{moment}: {}", if found == now { "old" } else { "new" });
        now = found;
    }
    Ok(())
}

/// Moments by what is there: staging, begun, applied, live, asked to commit, committed.
const MOMENTS: [&str; 5] = [
    "/var/lib/firewall/install/next/old",
    "/var/lib/firewall/install/transaction",
    "/var/lib/firewall/install/transaction/token",
    "/run/firewall-install/commit",
    "/var/lib/firewall/install/committed",
];

/// The guard and the worker, in this order.
fn guards(server: &Server) -> Result<Vec<String>> {
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | \
                  grep -qE '^sh [^ ]*/setup guard' && echo ${p#/proc/}; done | sort -n; true";
    Ok(server.host.sh(script)?.lines().map(str::to_owned).collect())
}
