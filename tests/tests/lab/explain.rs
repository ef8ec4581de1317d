//! `firewall explain` on a host with interfaces that rules tell apart.

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::Pair;

use crate::support::policy;

#[test]
fn a_packet_is_explained_on_its_interface() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("explain")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    server.sh("ip link add eth7 type veth peer name peer7")?;
    let echo = "name: echo, service: echo, iface: eth7";
    firewall.write(&policy(&[echo, "name: dns, service: dns"], &[]))?;
    let explain = |port: &str, rest: &[&str]| {
        let packet =
            ["explain", "in", "--from", "198.51.100.20", "--to", "192.0.2.10", "--udp", port];
        firewall.check(&[&packet, rest].concat())
    };
    let by_route = explain("7", &[])?;
    assert!(by_route.starts_with("DROP   default-in"), "{by_route}");
    let differs = "\n  by interface: eth0 DROP by default-in; eth7 ALLOW by echo\n";
    assert!(by_route.contains(" udp; on eth0; ran ") && by_route.contains(differs), "{by_route}");
    assert!(explain("7", &["--iface", "eth7"])?.starts_with("ALLOW  echo"));
    assert!(explain("7", &["--iface", "eth0"])?.starts_with("DROP   default-in"));
    let same = explain("53", &[])?;
    assert!(same.starts_with("ALLOW  dns") && !same.contains("interface:"), "{same}");
    let packet = ["explain", "in", "--from", "198.51.100.20", "--to", "192.0.2.10", "--udp", "7"];
    let refused = firewall.refused(&[&packet[..], &["--iface", "lo"]].concat(), 1)?;
    assert!(refused.contains("no packet is judged on lo"), "{refused}");
    Ok(())
}
