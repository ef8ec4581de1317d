//! `apply` killed at any moment: the host has the old policy or the new one, whole,
//! and the next `apply` puts everything right.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use firewall_tests::firewall::{Firewall, settle};
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::PATIENCE;
use firewall_tests::traffic::conversation::Conversation;
use firewall_tests::traffic::echo::Echo;

use crate::support::{policy, store, wait_until};

/// A moment at which an `apply` is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start.
    After(u64),
    /// As soon as a file of the new generation, or a shared one, is pinned.
    Pinned(&'static str),
    /// As soon as a file of the generation that gives way is not pinned any more, or another is.
    Unpinned(&'static str),
    /// As soon as the new policy is in force, before it could say so.
    Switched,
}

#[test]
fn an_apply_killed_midway_leaves_the_old_policy_or_the_new() -> Result<()> {
    midway(false)
}

#[test]
fn so_does_one_where_judges_are_attached() -> Result<()> {
    midway(true)
}

fn midway(judges_attached: bool) -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("midway")?;
    let _servers = (Echo::udp(&server, 7)?, Echo::udp(&server, 53)?);
    let (firewall, policies) = (Firewall::on(&server)?, policies());
    firewall.enforce(&policies[0])?;
    let moments = [
        Moment::After(5),
        Moment::Pinned("TABLES"),
        Moment::Pinned("judge_xdp"),
        Moment::Pinned("judge_egress"),
        Moment::Switched,
        Moment::Switched,
        // Programs that are there are kept, and tables written over.
        Moment::Unpinned("META"),
        Moment::Switched,
        Moment::Pinned("META"),
        Moment::Switched,
        Moment::Switched,
    ];
    let mut in_force = 0;
    let mut new = 0;
    for moment in moments {
        let next = 1 - in_force;
        let before = firewall.counters()?;
        if matches!(moment, Moment::Pinned(name) if name != "META") {
            // What says that the programs there could be kept.
            server.sh("rmdir /sys/fs/bpf/firewall/v6/gen-?/of-* || true")?;
        }
        if judges_attached {
            store(&firewall, settle)?;
        }
        killed(&firewall, &policies[next], moment)?;
        let open = open(&client)?;
        assert!(open == [true, false] || open == [false, true], "{moment:?}: {open:?}");
        assert!(open[next] || !matches!(moment, Moment::Switched), "{moment:?}: {open:?}");
        if open[next] {
            (in_force, new) = (next, new + 1);
        }
        assert!(firewall.counters()?.shrunk(&before).is_empty(), "counters went back");
        assert!(firewall.check(&["status"])?.starts_with("enforcing"));
    }
    eprintln!("killed {} times: the new policy was in force after {new}", moments.len());
    assert!((2..moments.len()).contains(&new), "{new} of {}", moments.len());
    // What was left half made is no hindrance.
    firewall.enforce(&policies[1 - in_force])?;
    assert_eq!(open(&client)?, [in_force == 1, in_force == 0]);
    Ok(())
}

#[test]
fn a_first_apply_killed_midway_can_be_completed() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("halfway")?;
    let _servers = (Echo::udp(&server, 7)?, Echo::udp(&server, 53)?);
    let (firewall, [policy, _]) = (Firewall::on(&server)?, policies());
    let moments = [
        Moment::Pinned("maps/CONTROL"),
        // All shared maps are there, and the control word says nothing yet.
        Moment::Pinned("maps/SCRATCH"),
        Moment::Pinned("maps/BAN_TABLE_0"),
        Moment::Pinned("roots/root_egress"),
        Moment::Pinned("judge_xdp"),
        Moment::Pinned("links/xdp-native-2"),
        Moment::Pinned("links/tcx-egress-2"),
    ];
    for moment in moments {
        killed(&firewall, &policy, moment)?;
        let half = open(&client)?;
        assert!(half == [true, true] || half == [true, false], "{moment:?}: {half:?}");
        firewall.enforce(&policy)?;
        assert_eq!(open(&client)?, [true, false], "completed after {moment:?}");
        assert!(firewall.check(&["status"])?.starts_with("enforcing"), "after {moment:?}");
        server.sh("rm -r /sys/fs/bpf/firewall")?;
        // The kernel lets go of links when it finds the time.
        wait_until("without pins all is open", PATIENCE, || Ok(open(&client)? == [true, true]))?;
    }
    Ok(())
}

/// One policy admits echo, the other one DNS.
fn policies() -> [String; 2] {
    let echo = "name: echo, from: any, service: echo";
    let dns = "name: dns, from: any, service: dns";
    [policy(&[echo], &[]), policy(&[dns], &[])]
}

/// Starts an `apply` and kills it at its moment.
fn killed(firewall: &Firewall, policy: &str, moment: Moment) -> Result<()> {
    firewall.write(policy)?;
    let host = firewall.host();
    let place = match moment {
        Moment::Pinned(name) | Moment::Unpinned(name) => Some(Place::of(host, name)),
        _ => None,
    };
    let word = || store(firewall, |store| Ok(store.word()));
    let before = if matches!(moment, Moment::Switched) { Some(word()?) } else { None };
    let apply = host.spawn("killed", &mut firewall.command(&["apply"]))?;
    let start = Instant::now();
    let patience = || ensure_soon(start, moment);
    match moment {
        Moment::After(milliseconds) => sleep(Duration::from_millis(milliseconds)),
        Moment::Pinned(_) => {
            while place.as_ref().is_some_and(Place::is_as_before) {
                patience()?;
                yield_now();
            }
        }
        Moment::Unpinned(_) => {
            while place.as_ref().is_some_and(|it| it.is_complete() && it.is_as_before()) {
                patience()?;
                yield_now();
            }
        }
        Moment::Switched => store(firewall, |store| {
            while Some(store.word()) == before {
                patience()?;
                yield_now();
            }
            Ok(())
        })?,
    }
    apply.kill()?;
    Ok(())
}

fn ensure_soon(start: Instant, moment: Moment) -> Result<()> {
    ensure!(start.elapsed() < 4 * PATIENCE, "{moment:?} has not come");
    Ok(())
}

/// Pins of one name, watched from outside of the host.
struct Place {
    paths: Vec<PathBuf>,
    before: Vec<Option<u64>>,
}

impl Place {
    fn of(host: &Host, name: &str) -> Self {
        let pins = host.path("/sys/fs/bpf/firewall/v6");
        let paths = match name.contains('/') {
            true => vec![pins.join(name)],
            false => ["gen-0", "gen-1"].map(|slot| pins.join(slot).join(name)).into(),
        };
        let before = paths.iter().map(inode).collect();
        Self { paths, before }
    }

    /// Whether everything of that name is still pinned.
    fn is_complete(&self) -> bool {
        self.paths.iter().all(|path| inode(path).is_some())
    }

    /// Whether nothing of that name was pinned anew. One that is unpinned is on
    /// its way.
    fn is_as_before(&self) -> bool {
        let mut all = self.paths.iter().map(inode).zip(&self.before);
        all.all(|(now, before)| now.is_none() || now == *before)
    }
}

fn inode(path: &PathBuf) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.ino())
}

/// Whether echo and DNS answer: waits for one of them, and then a little longer for
/// the other one.
fn open(client: &Host) -> Result<[bool; 2]> {
    let mut asked = [7, 53].map(|port| {
        let to = (pair::server(port)[0].ip(), port).into();
        Conversation::udp(client, None, to)
    });
    let mut open = [false; 2];
    let start = Instant::now();
    while open == [false; 2] && start.elapsed() < PATIENCE {
        for (asked, open) in asked.iter_mut().zip(&mut open) {
            let Ok(asked) = asked else { continue };
            *open = asked.asks_within(8, Duration::from_millis(60));
        }
    }
    Ok(open)
}
