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

use crate::support::wait_until;

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
