//! A table of requests that is smaller than the connections: losing an entry
//! loses no request.

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_userspace::kernel::maps::{self, Capacity};
use firewall_userspace::kernel::pins::Pins;

use crate::site::{POLICY, URLS, Web, wrk};

/// Entries of the table; there will be more connections.
const ENTRIES: u32 = 64;
const CONNECTIONS: u32 = 300;

#[test]
fn a_table_smaller_than_the_connections_counts_exactly() -> Result<()> {
    let web = Web::new("small-table")?;
    let firewall = Firewall::on(&web.pair.server)?;
    // No setting says how large the table is: one that is pinned already stays.
    web.pair.server.enter(|| -> Result<()> {
        let pins = Pins::at(Pins::DEFAULT_ROOT.as_ref());
        std::fs::create_dir_all(pins.directory().join("maps"))?;
        let capacity = Capacity { request_flows: ENTRIES, ..Capacity::new(1024, 1, 1)? };
        let shape = maps::shape("REQUEST_FLOWS", &capacity)?;
        maps::create("REQUEST_FLOWS", &shape, &pins.map("REQUEST_FLOWS"))?;
        Ok(())
    })??;
    firewall.enforce(POLICY)?;
    let client = &web.pair.client;
    web.exact(&format!("wrk, {CONNECTIONS} connections, {ENTRIES} entries"), &firewall, || {
        client.check(&mut wrk(client, URLS[0], CONNECTIONS, 2)?).map(drop)
    })?;
    Ok(())
}
