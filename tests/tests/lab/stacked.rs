//! Interfaces that cannot be filtered, or that are judged twice. VLANs and bonds,
//! for which a kernel needs modules, are tried on a whole machine (`systemd`).

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::Pair;

use crate::support::policy;

const RULES: [&str; 1] = ["name: echo, from: any, service: echo"];

fn matching(entries: &str) -> String {
    policy(&RULES, &[]).replace("{ match: [\"eth*\"] }", &format!("{{ {entries} }}"))
}

fn attached(firewall: &Firewall) -> Result<String> {
    let status = firewall.json(&["status"])?;
    let names = status["interfaces"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(|one| one["name"].as_str()).collect();
    Ok(names.join(" "))
}

#[test]
fn what_cannot_be_filtered_is_refused_before_anything_changes() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("unfit")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&matching("match: [\"eth*\", lo]"))?;
    let said = firewall.refused(&["apply"], 1)?;
    assert!(said.contains("error[E0604]: `lo` is never filtered"), "{said}");
    assert!(said.contains("warning[W0133]") && said.contains("nothing was changed"), "{said}");

    server.ip(&["tuntap", "add", "dev", "eth7", "mode", "tun"])?;
    firewall.write(&policy(&RULES, &[]))?;
    let said = firewall.refused(&["apply"], 1)?;
    assert!(said.contains("error[E0605]: `eth7` has no Ethernet header"), "{said}");
    server.ip(&["link", "delete", "eth7"])?;

    // Somebody else's XDP program: another firewall's, with pins of its own.
    let mut other = firewall.command(&["apply"]);
    other.env("FIREWALL_PINS", "/sys/fs/bpf/other").env("FIREWALL_RUN", "/run/other");
    server.check(other.env("FIREWALL_STATE", "/var/lib/other"))?;
    let said = firewall.refused(&["apply"], 1)?;
    assert!(said.contains("error[E0605]: another XDP program sits on `eth0`: id "), "{said}");
    assert!(said.contains("help: interfaces: { ingress-hook: tc }   or remove it"), "{said}");
    assert_eq!(attached(&firewall)?, "");
    firewall.enforce(&matching("match: [\"eth*\"], ingress-hook: tc"))?;
    assert_eq!(attached(&firewall)?, "eth0");
    Ok(())
}

#[test]
fn what_is_judged_twice_in_part_is_warned_about() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("macvlan")?;
    server.ip(&["link", "add", "link", "eth0", "name", "eth9", "type", "macvlan"])?;
    server.ip(&["link", "set", "eth9", "up"])?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&RULES, &[]))?;
    let said = firewall.run(&["apply"])?;
    let wanted =
        "warning: eth9 stands on eth0 and both match: packets are judged and counted twice";
    assert!(said.stderr.contains(wanted), "{said:?}");
    Ok(())
}
