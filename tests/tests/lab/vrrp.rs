//! Two load balancers that share an address by VRRP, each behind the shipped role:
//! one of them has it, and the other one takes it over.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::{Firewall, shipped};
use firewall_tests::gate;
use firewall_tests::host::Host;
use firewall_tests::lab::Lab;
use firewall_tests::process::Process;

use crate::support::{policy, wait_until};

const SHARED: [&str; 2] = ["203.0.113.10", "2001:db8:f00::10"];

#[test]
fn one_balancer_has_the_address_and_the_other_takes_over() -> Result<()> {
    let keepalived = gate::tool("keepalived", "keepalived")?;
    let lab = Lab::new("vrrp")?;
    let (first, second) = (lab.host("lb1")?, lab.host("lb2")?);
    let port = |host: &Host, number: u8| {
        host.port("eth0")
            .address(&format!("10.0.1.{number}/24"))
            .address(&format!("fd00:f00:1::{number}/64"))
    };
    lab.connect(&port(&first, 10), &port(&second, 11))?;
    let start = |host: &Host, priority: u8| -> Result<(Firewall, Process)> {
        let firewall = Firewall::on(host)?;
        for file in ["site", "load-balancer"] {
            let rules = std::fs::read_to_string(shipped(file))?;
            host.write(format!("/etc/firewall/rules/{file}.yaml"), rules)?;
        }
        host.write("/etc/firewall/host.yaml", "version: 1\nroles: [load-balancer]\n")?;
        firewall.check(&["apply"])?;
        let balancer = balancer(host, &keepalived, priority)?;
        Ok((firewall, balancer))
    };
    let running = [start(&first, 150)?, start(&second, 100)?];
    let patience = Duration::from_secs(15);
    wait_until("the first one has both", patience, || Ok(held(&first)? == 2))?;
    // A backup that heard nothing would take it within four advertisements.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((held(&first)?, held(&second)?), (2, 0), "split brain");

    let [(speaking, balancer), (hearing, _backup)] = &running;
    balancer.signal(libc::SIGTERM)?;
    wait_until("the second one has both", patience, || Ok(held(&second)? == 2))?;
    assert_eq!(held(&first)?, 0, "the first one has left");
    let said = speaking.counters()?;
    assert!(said.rule("egress", "vrrp-peer-out").packets > 10, "{said:?}");
    let heard = hearing.counters()?;
    assert!(heard.rule("ingress", "vrrp-peer").packets > 10, "{heard:?}");
    assert_eq!(heard.reason("ingress", "default-drop"), 0, "{heard:?}");
    Ok(())
}

/// The rules that keepalived lives by are asked for before anything changes.
#[test]
fn a_policy_that_would_silence_keepalived_is_refused() -> Result<()> {
    let keepalived = gate::tool("keepalived", "keepalived")?;
    let lab = Lab::new("vrrp-refused")?;
    let (host, far) = (lab.host("lb1")?, lab.host("far")?);
    let port = host.port("eth0").address("10.0.1.10/24").address("fd00:f00:1::10/64");
    lab.connect(&port, &far.port("eth0").address("10.0.1.20/24"))?;
    let rules = |heard: &str, said: &str| {
        policy(&[heard], &[said]).replace("services:", "services:\n  vrrp: { ip-proto: 112 }")
    };
    let none = "name: web, from: any, service: web";
    let firewall = Firewall::with_policy(&host, &policy(&[none], &[]))?;
    let running = balancer(&host, &keepalived, 100)?;
    wait_until("keepalived speaks", Duration::from_secs(15), || Ok(held(&host)? == 2))?;
    let v4 = [
        "name: heard, from: 10.0.1.0/24, to: 224.0.0.18, service: vrrp",
        "name: said, to: 224.0.0.18, service: vrrp",
    ];
    let both = [
        "name: heard, from: [10.0.1.0/24, \"fe80::/10\"], to: [224.0.0.18, \"ff02::12\"], service: vrrp",
        "name: said, to: [224.0.0.18, \"ff02::12\"], service: vrrp",
    ];
    for (text, way, group) in [
        (rules(none, both[1]), "ingress", "224.0.0.18"),
        (rules(both[0], "name: dns, to: any, service: dns"), "egress", "224.0.0.18"),
        (rules(v4[0], both[1]), "ingress", "ff02::12"),
        (rules(both[0], v4[1]), "egress", "ff02::12"),
    ] {
        firewall.write(&text)?;
        let said = firewall.refused(&["apply"], 1)?;
        let wanted =
            format!("error[E0608]: no {way} rule admits VRRP to {group}, which keepalived[");
        assert!(said.contains(&wanted) && said.contains("nothing was changed"), "{said}");
        assert_eq!(firewall.generation()?, 1);
    }
    firewall.enforce(&rules(both[0], both[1]))?;
    assert_eq!(firewall.generation()?, 2);
    // Where nobody speaks it, nobody needs it.
    running.signal(libc::SIGTERM)?;
    running.wait(Duration::from_secs(10))?;
    firewall.enforce(&policy(&[none], &[]))?;
    Ok(())
}

/// How many of the shared addresses a host has.
fn held(host: &Host) -> Result<usize> {
    let addresses = host.sh("ip -brief address show dev eth0")?;
    Ok(SHARED.iter().filter(|address| addresses.contains(*address)).count())
}

fn balancer(host: &Host, keepalived: &std::path::Path, priority: u8) -> Result<Process> {
    let instance = |name: &str, number: u8, addresses: &str| {
        format!(
            "vrrp_instance {name} {{ state BACKUP\n interface eth0\n virtual_router_id {number}\n \
             priority {priority}\n advert_int 0.5\n version 3\n \
             virtual_ipaddress {{\n{addresses}\n}} }}\n"
        )
    };
    let configuration = format!(
        "global_defs {{ router_id {} }}\n{}{}",
        host.name(),
        instance("V4", 51, &format!("{}/32", SHARED[0])),
        instance("V6", 52, &format!("fe80::5200\n{}/128", SHARED[1])),
    );
    host.write("/run/keepalived.conf", configuration)?;
    let mut command = Command::new(keepalived);
    command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file=/run/keepalived.conf"]);
    command.args(["--pid=/run/keepalived.pid", "--vrrp_pid=/run/vrrp.pid"]);
    host.spawn("keepalived", &mut command)
}
