//! The load: everything that visitors, the application and its batch jobs do.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clients::wrk;
use crate::demo::plan::{APP1, NAME, PRIMARY, REPLICA, Server, VIP, WEB1, port};
use crate::demo::site::{APP_PASSWORD, Site};
use crate::gate;

/// Connections of each wrk.
const CONNECTIONS: u32 = 8;
/// Statements of each SQL load.
const STATEMENTS: u32 = 10_000;
/// Redirects, and names that are looked up.
const FEW: u32 = 25;

/// Runs all loads at once, to their ends; says what got through.
pub(super) fn run(site: &Site, length: Duration) -> Result<String> {
    let urls = [format!("https://{}/", VIP.v4), format!("https://[{}]/notes/1", VIP.v6)];
    thread::scope(|scope| {
        let [reads4, reads6] =
            urls.each_ref().map(|url| scope.spawn(move || visits(site, url, length)));
        let writes = scope.spawn(|| writes(site));
        let insert = format!("INSERT INTO notes (body) VALUES ('{}')", "batch ".repeat(20));
        let inserts = scope.spawn(move || statements(site, &PRIMARY, &insert));
        let select = "SELECT COUNT(*) FROM notes WHERE id < 100";
        let selects = scope.spawn(|| statements(site, &REPLICA, select));
        let few = scope.spawn(|| few(site));
        let pages = join(reads4)? + join(reads6)?;
        let posts = join(writes)?;
        join(inserts)?;
        join(selects)?;
        join(few)?;
        Ok(format!("{pages} pages, {posts} writes, {} statements", 2 * STATEMENTS))
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn visits(site: &Site, url: &str, length: Duration) -> Result<u64> {
    let load = wrk(site.host("client"), url, CONNECTIONS, length)?;
    ensure!(load.failed == 0, "{url}: {} of {} pages failed", load.failed, load.requests);
    Ok(load.requests)
}

/// Notes written through the site, one after the other on one connection.
fn writes(site: &Site) -> Result<u32> {
    let (url, last) = (format!("https://{NAME}/notes"), 4 * FEW);
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "--max-time", "30", "--cacert"]).arg(&site.trusted);
    for number in 1..=last {
        // One process, one connection: options are said once for each URL.
        if number > 1 {
            curl.args(["--next", "-sSf", "--cacert"]).arg(&site.trusted);
        }
        curl.args(["-o", "/dev/null", "--data", &format!("note {number}"), &url]);
    }
    site.host("client").check(&mut curl)?;
    Ok(last)
}

/// What a batch job on an application server sends to a database.
fn statements(site: &Site, database: &Server, statement: &str) -> Result<()> {
    let mut slap = Command::new(gate::tool("mariadb-slap", "mariadb-client")?);
    slap.args(["--no-defaults", "--user=app", "--create-schema=site", "--concurrency=4"]);
    slap.arg(format!("--password={APP_PASSWORD}"));
    slap.arg(format!("--host={}", database.at.v6)).arg(format!("--port={}", port::SQL));
    slap.arg(format!("--number-of-queries={STATEMENTS}")).arg(format!("--query={statement}"));
    site.host(APP1.name).check(&mut slap).context("the batch job failed")?;
    Ok(())
}

fn few(site: &Site) -> Result<()> {
    for _ in 0..FEW {
        site.host("client").sh(&format!("curl -sf --max-time 5 -o /dev/null http://{NAME}/"))?;
        site.host(WEB1.name).sh(&format!("getent ahosts {NAME}"))?;
    }
    Ok(())
}
