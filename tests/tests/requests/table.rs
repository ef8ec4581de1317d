//! More connections in one bucket of the table than it has places: losing an entry loses
//! no request.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::flow::FlowKey;
use firewall_common::flow::table;
use firewall_common::packet::Address;
use firewall_common::request::{BUCKETS, WAYS};
use firewall_common::service::proto;
use firewall_tests::host::Host;
use firewall_tests::pair::{self, CLIENT};
use firewall_userspace::kernel::flows;
use firewall_userspace::kernel::maps::Maps;
use firewall_userspace::kernel::pins::Pins;

use crate::hostile::{connect_from, hear};
use crate::site::Web;

#[test]
fn connections_that_share_a_bucket_are_counted_exactly() -> Result<()> {
    let (web, firewall) = Web::guarded("one-bucket")?;
    let seed = seed(&web.pair.server)?;
    for to in pair::server(80) {
        let ports = of_one_bucket(seed, to)?;
        let turns = 5;
        let requests =
            web.exact(&format!("{} of one bucket, {to}", ports.len()), &firewall, || {
                let mut streams = Vec::new();
                for port in &ports {
                    streams.push(connect_from(&web.pair.client, *port, to)?);
                }
                for _ in 0..turns {
                    for stream in &mut streams {
                        stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")?;
                        hear(stream, b"says hello\n")?;
                    }
                }
                Ok(())
            })?;
        assert_eq!(requests, turns * ports.len() as u64);
    }
    Ok(())
}

/// The seed of hashes on a host.
fn seed(host: &Host) -> Result<u32> {
    host.enter(|| {
        let pins = Pins::at(Pins::DEFAULT_ROOT.as_ref());
        let maps = Maps::open(|name| pins.map(name))?.context("nothing is pinned")?;
        let (_, seed) = flows::settings(maps.fd("FLOWS")?)?;
        Ok(seed)
    })?
}

/// The client's ports from which connections come into one bucket: the one that most do.
fn of_one_bucket(seed: u32, to: SocketAddr) -> Result<Vec<u16>> {
    let from = CLIENT.into_iter().find(|from| from.is_ipv4() == to.is_ipv4());
    let (from, family) = Address::of(from.context("no address")?);
    let (local, _) = Address::of(to.ip());
    let mut buckets = BTreeMap::<u64, Vec<u16>>::new();
    for port in 1_024..u16::MAX {
        let key = FlowKey {
            local: [local.hi, local.lo],
            remote: [from.hi, from.lo],
            local_port: to.port(),
            remote_port: port,
            protocol: proto::TCP,
            family: family as u8,
            reserved: 0,
        };
        let bucket = table::hash(seed, key.words()) % u64::from(BUCKETS);
        buckets.entry(bucket).or_default().push(port);
    }
    let most = buckets.into_values().max_by_key(Vec::len).unwrap_or_default();
    ensure!(most.len() > WAYS as usize, "no bucket has more than {} ports", most.len());
    Ok(most)
}
