//! Servers stop and agents crash; the site and its firewall do not.

use std::os::unix::process::ExitStatusExt as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::agents::Agents;
use super::attempts::{self, Attempt};
use super::book::{Book, Part};
use super::plan::{SERVERS, Tier, WEB1};
use super::site::Site;
use super::visitor::Seen;

/// Longest time for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// A web server stops, and comes back.
pub(crate) fn web(site: &mut Site, book: &mut Book) -> Result<()> {
    if !book.wants(&[Tier::LoadBalancer, Tier::Web]) {
        return Ok(());
    }
    let outcome = {
        let (site, seen) = (&*site, Seen::default());
        thread::scope(|scope| {
            let visit = seen.visit(scope, site);
            let stop = || -> Result<()> {
                visit.wait_for(4, LIMIT)?;
                let nginx = site.web[0].process();
                nginx.signal(libc::SIGTERM)?;
                nginx.wait(LIMIT)?;
                until_state(site, "DOWN")?;
                visit.wait_for(6, LIMIT)
            };
            let stopped = stop();
            let pages = visit.end();
            stopped.and(pages)
        })
    };
    book.note(Part::Failure, format!("nginx on {} stops; the site goes on", WEB1.name), {
        outcome.map(|pages| format!("{pages} pages, none failed"))
    });
    site.restart_web(0)?;
    book.note(Part::Failure, format!("nginx on {} comes back into the round", WEB1.name), {
        until_state(site, "UP").map(|took| format!("after {:.1} s", took.as_secs_f64()))
    });
    Ok(())
}

/// Waits until HAProxy says that `web1` is up or down.
fn until_state(site: &Site, wanted: &str) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let state = site.balancer.counters("web", WEB1.name)?;
        let state = state.get("status").map_or("", String::as_str);
        if state == wanted {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < LIMIT, "HAProxy says {state}, not {wanted}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Every agent is killed; enforcement goes on; they come back and adopt.
pub(crate) fn agents(
    site: &Site,
    agents: &Agents,
    book: &mut Book,
    some: &[Attempt],
) -> Result<()> {
    let seen = Seen::default();
    thread::scope(|scope| {
        let visit = seen.visit(scope, site);
        let before = (agents.generations()?, agents.read()?);
        let ended = agents.kill()?;
        let killed = ended.iter().filter(|status| status.signal() == Some(libc::SIGKILL)).count();
        book.note(Part::Failure, "SIGKILL for every agent, all at once", {
            if killed == SERVERS.len() {
                Ok(format!("{killed} agents are dead"))
            } else {
                Err(anyhow::anyhow!("{ended:?}"))
            }
        });
        visit.wait_for(6, LIMIT).context("without agents")?;
        attempts::blocked(site, agents, book, Part::Failure, some)?;
        let without = agents.read()?;
        book.note(Part::Failure, "counters go on without agents, and can be read", {
            let more: u64 = without
                .iter()
                .map(|(name, now)| now.since(&before.1[name]))
                .map(|one| one.passed("ingress") + one.dropped("ingress"))
                .sum();
            if more > 0 { Ok(format!("{more} packets more")) } else { Err(anyhow::anyhow!("none")) }
        });
        agents.start()?;
        book.note(Part::Failure, "the agents come back and adopt what is enforced", {
            adopted(agents, &before)
        });
        visit.wait_for(4, LIMIT).context("with new agents")?;
        book.note(Part::Failure, "no page failed meanwhile", {
            visit.end().map(|pages| format!("{pages} pages, none failed"))
        });
        Ok(())
    })
}

/// The generations are those of before, the logs say so, and no counter was lost.
fn adopted(
    agents: &Agents,
    before: &(std::collections::BTreeMap<&'static str, u64>, super::agents::Readings),
) -> Result<String> {
    let generations = agents.generations()?;
    ensure!(generations == before.0, "generations {:?} became {generations:?}", before.0);
    for (name, log) in agents.logs() {
        ensure!(log.contains("adopting generation"), "{name} did not adopt:\n{log}");
    }
    for (name, now) in agents.read()? {
        let lost = now.shrunk(&before.1[name]);
        ensure!(lost.is_empty(), "{name} lost counts: {}", lost.join("; "));
    }
    Ok(format!("{} generations and every count as before", generations.len()))
}
