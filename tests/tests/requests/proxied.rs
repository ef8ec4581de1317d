//! The server behind a balancer, which tells it in front of each connection who
//! has called (the PROXY protocol).

use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::pair::Pair;
use firewall_tests::servers::{Haproxy, Nginx, Site};

use crate::site::{HOSTILE, POLICY, Web, ab, body, post, wrk};

/// Ports of the balancer, how it speaks to the server, and on which port.
const FRONTS: [(u16, &str, u16); 3] =
    [(8001, "", 80), (8002, "send-proxy", 8080), (8003, "send-proxy-v2", 8080)];

#[test]
fn requests_behind_a_balancer_are_counted_exactly() -> Result<()> {
    gate::tool("haproxy", "haproxy")?;
    let pair = Pair::new("proxied")?;
    let site = Site {
        server: "listen 8080 proxy_protocol;\n\
                 location /post { proxy_pass http://127.0.0.1:8081; }"
            .into(),
        http: "server { listen 127.0.0.1:8081; access_log off; return 200 \"read\\n\"; }".into(),
        ..Site::default()
    };
    let nginx = Nginx::start(&pair.server, &site)?;
    let web = Web { quiet: Duration::from_millis(120), nginx, pair };
    let text = POLICY.replace("tcp: 80,", "tcp: [80, 8080],");
    let firewall = Firewall::with_policy(&web.pair.server, &text)?;
    let client = &web.pair.client;
    let sections: String = FRONTS
        .iter()
        .map(|(port, option, to)| {
            format!("listen front{port}\n  bind :{port}\n  server web 192.0.2.10:{to} {option}\n")
        })
        .collect();
    let _balancer = Haproxy::start(client, &FRONTS.map(|(port, ..)| port), &sections)?;
    let file = body(client, "hostile", HOSTILE)?;
    for (port, option, _) in FRONTS {
        let url = format!("http://127.0.0.1:{port}/");
        let loads = [
            ("kept", wrk(client, &url, 16, 1)?),
            ("short", ab(&url, 500, 8, false)?),
            ("hostile POST", post(&url, &file, 50)?),
        ];
        for (what, mut command) in loads {
            web.exact(&format!("behind a balancer, {option}: {what}"), &firewall, || {
                client.check(&mut command).map(drop)
            })?;
        }
    }
    let requests = firewall.counters()?.rule("ingress", "http").requests;
    assert_eq!(requests["resyncs"], 0, "the headers stand by themselves: {requests:?}");
    Ok(())
}
