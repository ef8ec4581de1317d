//! `cargo xtask demo`: the whole site of www.foobar.com behind the firewall.
//!
//! The story, in order; each part notes its checks in the `book`:
//!
//! 1. `topology` and `site` bring up the networks and every program, and
//!    `attempts` shows that without the firewall everything is open;
//! 2. `start` puts an agent on every server, under traffic;
//! 3. `works` checks what must work;
//! 4. `attempts`, `forged` and `scans` check what must not, and which
//!    counter says so;
//! 5. `numbers` loads the site and compares counts with the servers' own;
//! 6. `failure` stops a web server, and kills every agent;
//! 7. `findings` holds what `firewall audit` says against what is weak about it;
//! 8. `report` says what came of it; `timeline` has asked the agents meanwhile.

mod agents;
mod attempts;
mod book;
mod failure;
mod findings;
mod forged;
mod keep;
mod numbers;
mod options;
mod plan;
mod progress;
pub(crate) mod report;
mod scans;
mod site;
mod start;
mod timeline;
mod topology;
mod visitor;
mod works;

use anyhow::Result;
use clap::Parser as _;

use agents::Agents;
use book::{Book, Part};
use options::Options;
use progress::Progress;
use report::Results;
use site::Site;
use timeline::{FIREWALL_ON, Timeline};
use topology::Network;

/// Attempts that are made again while every agent is dead.
const WITHOUT_AGENTS: usize = 6;

/// Runs the demo as the command line of this process asks for; whether every
/// check passed.
///
/// # Errors
///
/// If the site cannot be brought up, or a part cannot be carried out.
pub fn run() -> Result<bool> {
    let options = Options::parse();
    let progress = Progress::start();
    if options.stop {
        progress.say(&format!("{} hosts ended", crate::lab::stop_kept()?));
        return Ok(true);
    }
    eprintln!(
        "The site of www.foobar.com in network namespaces: real servers, a firewall on each.\n\
         It takes a minute or two. Ctrl-C ends it at any time, and nothing is left behind.\n"
    );
    let mut book = Book::new(options.only, progress);
    progress.say("17 hosts, 5 switches, IPv4 and IPv6, a hop of 1,400 bytes");
    let network = Network::build()?;
    let timeline = Timeline::start(&network, progress);
    progress.say("HAProxy, 2 nginx, 2 applications, 2 MariaDB, Prometheus, 9 sshd");
    let mut site = Site::start(network)?;

    let attempts = attempts::all();
    progress.say(&format!("without the firewall: {} attempts, a port scan", attempts.len()));
    timeline.mark("no firewall");
    attempts::before(&site, &mut book, &attempts)?;
    scans::before(&site, &mut book)?;

    progress.say("the firewall comes on, on 9 servers, while the site is visited");
    timeline.mark(FIREWALL_ON);
    let agents = Agents::install(&site.network)?;
    start::check(&site, &agents, &mut book)?;

    progress.say("what must work: pages, writes, ssh, DNS, NTP, scrapes, path MTU, bans");
    timeline.mark("must work");
    works::check(&site, &agents, &mut book);

    progress.say("what must not: the same attempts, forged packets, 6 port scans");
    timeline.mark("must not");
    attempts::blocked(&site, &agents, &mut book, Part::Blocked, &attempts)?;
    forged::check(&site, &agents, &mut book)?;
    scans::check(&site, &agents, &mut book)?;

    progress.say(&format!("{} s of load, and counts beside the servers' own", options.load));
    timeline.mark("load");
    let numbers = numbers::measure(&site, &agents, &mut book, options.load())?;

    progress.say("web1 stops; every agent is killed, and comes back");
    timeline.mark("web1 stops");
    failure::web(&mut site, &mut book)?;
    timeline.mark("agents killed");
    failure::agents(&site, &agents, &mut book, &attempts[..WITHOUT_AGENTS])?;

    progress.say("what the firewall says about the site");
    let warnings = findings::check(&site, &agents, &mut book);

    let totals = agents.read()?;
    let record = timeline.end();
    let seconds = progress.elapsed().as_secs_f64();
    let results = Results {
        book: &book,
        numbers: &numbers,
        totals: &totals,
        record: &record,
        warnings: &warnings,
        seconds,
    };
    let page = results.write_page()?;
    if options.json {
        report::print_json(&results);
    } else {
        report::print_text(&results);
    }
    eprintln!("report: {}", page.display());
    if options.keep {
        eprint!("{}", keep::keep(&site)?);
    }
    Ok(book.passed())
}
