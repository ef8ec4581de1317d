//! Connections that the kernel knows late: a request may come before there is a
//! socket for it.

use anyhow::Result;
use firewall_tests::gate;

use crate::loss::AGAIN;
use crate::site::{URLS, Web, ab};

/// With cookies the kernel keeps nothing of a SYN: the connection begins with the
/// client's first segment behind it, which may well be the request.
#[test]
fn requests_that_complete_a_handshake_by_cookie_are_counted_exactly() -> Result<()> {
    gate::tool("nft", "nftables")?;
    let (mut web, firewall) = Web::guarded("cookies")?;
    web.quiet = AGAIN;
    web.pair.server.sysctl("net.ipv4.tcp_syncookies", "2")?;
    for lost in [0, 50] {
        web.pair.client.sh(&format!(
            "nft flush ruleset; nft add table inet lossy; \
             nft add chain inet lossy output '{{ type filter hook output priority 0; }}'; \
             nft add rule inet lossy output tcp dport 80 \
             'tcp flags & (syn | ack | psh | fin | rst) == ack' \
             numgen random mod 100 '<' {lost} drop"
        ))?;
        for url in URLS {
            let what = format!("ab, cookies, {lost} % of bare ACKs lost, {url}");
            let requests = web.exact(&what, &firewall, || {
                web.pair.client.check(&mut ab(url, 1000, 16, false)?).map(drop)
            })?;
            assert_eq!(requests, 1000);
        }
    }
    Ok(())
}
