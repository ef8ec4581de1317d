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
//! 7. `report` says what came of it; `timeline` has asked the agents meanwhile.

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
mod report;
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
    let mut book = Book::new(options.only, progress);
    let network = Network::build()?;
    progress.say("networks: 17 hosts, 5 switches, IPv4 and IPv6, a hop of 1,400 bytes");
    let timeline = Timeline::start(&network, progress);
    let mut site = Site::start(network, &progress)?;

    let attempts = attempts::all();
    timeline.mark("no firewall");
    attempts::before(&site, &mut book, &attempts)?;
    scans::before(&site, &mut book)?;
    progress.say("without the firewall: every attempt gets through, every port is seen");

    timeline.mark(FIREWALL_ON);
    let agents = Agents::install(&site.network)?;
    start::check(&site, &agents, &mut book)?;
    progress.say("firewall: 9 servers enforce their roles");

    timeline.mark("must work");
    works::check(&site, &agents, &mut book);
    progress.say("tried: pages, writes, ssh, DNS, NTP, scrapes, path MTU, bans");

    timeline.mark("must not");
    attempts::blocked(&site, &agents, &mut book, Part::Blocked, &attempts)?;
    forged::check(&site, &agents, &mut book)?;
    scans::check(&site, &agents, &mut book)?;
    progress.say("tried: 46 connections, forged packets, 6 port scans");

    timeline.mark("load");
    let numbers = numbers::measure(&site, &agents, &mut book, options.load())?;
    progress.say(&format!("{:.1} s of load: counts compared", numbers.seconds));

    timeline.mark("web1 stops");
    failure::web(&mut site, &mut book)?;
    timeline.mark("agents killed");
    failure::agents(&site, &agents, &mut book, &attempts[..WITHOUT_AGENTS])?;
    let warnings = findings::check(&site, &agents, &mut book);
    progress.say("stopped web1, killed every agent: the site went on");

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
