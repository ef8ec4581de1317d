//! The firewall comes on, everywhere, while the site is in use.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::agents::Agents;
use super::book::{Book, Part};
use super::plan::{BASTION, SERVERS, Tier, WEB1};
use super::site::Site;
use super::visitor::Seen;
use crate::process::Process;

/// Longest time for the visitor's next page.
const LIMIT: Duration = Duration::from_secs(20);

/// Starts every agent under traffic: nothing that was open is cut, no page fails.
pub(crate) fn check(site: &Site, agents: &Agents, book: &mut Book) -> Result<()> {
    let session = session(site)?;
    let connections = site.replica.sql("SHOW GLOBAL STATUS LIKE 'Slave_connections'")?;
    let seen = Seen::default();
    let start = Instant::now();
    thread::scope(|scope| {
        let visit = seen.visit(scope, site);
        visit.wait_for(2, LIMIT)?;
        agents.start()?;
        let took = start.elapsed().as_secs_f64();
        book.note(Part::Start, "every server enforces its role", {
            Ok(format!("{} servers, XDP and TC on every interface, {took:.1} s", SERVERS.len()))
        });
        visit.wait_for(4, LIMIT)?;
        book.note(Part::Start, "no page failed meanwhile", {
            visit.end().map(|pages| format!("{pages} pages over both families"))
        });
        Ok::<_, anyhow::Error>(())
    })?;
    book.check(
        Part::Start,
        &[Tier::Web, Tier::Management],
        "an ssh session that was open stays",
        || {
            let before = session.log().len();
            thread::sleep(Duration::from_millis(500));
            ensure!(session.ended()?.is_none() && session.log().len() > before, "it stands still");
            Ok(format!("{} to {}", BASTION.name, WEB1.name))
        },
    );
    book.check(Part::Start, &[Tier::Database], "replication was not cut", || {
        let again = site.replica.sql("SHOW GLOBAL STATUS LIKE 'Slave_connections'")?;
        ensure!(connections == again, "{} became {}", connections.trim(), again.trim());
        Ok("the connection of before".to_owned())
    });
    Ok(())
}

/// A session from the bastion to a web server that prints a line now and then.
fn session(site: &Site) -> Result<Process> {
    let sshd = &site.sshd[WEB1.name];
    let script = "while echo still here; do sleep 0.1; done";
    let mut command: Command = sshd.client(&WEB1.at.v4.to_string(), script);
    let session = site.host(BASTION.name).spawn("session", &mut command)?;
    session.wait_until("printing", LIMIT, || !session.log().is_empty())?;
    Ok(session)
}
