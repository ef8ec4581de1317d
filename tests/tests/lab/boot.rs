//! After a reboot nothing is pinned: what is enforced then, and when it is not.
//!
//! A reboot is played by removing the pins and `/run`; `cargo xtask test systemd`
//! does it for real.

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::connects;
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, wait_until};

const WEB: &str = "name: web, from: any, service: web";
const MORE: &str = "name: more, from: any, service: alternative";

fn power_cycle(server: &Host) -> Result<()> {
    server.sh("rm -rf /sys/fs/bpf/firewall /run/firewall")?;
    Ok(())
}

/// A server with an open and a closed port, whose policy has been applied.
struct Fixture {
    pair: Pair,
    firewall: Firewall,
    _servers: (Echo, Echo),
}

impl Fixture {
    fn new(name: &str) -> Result<Self> {
        let pair = Pair::new(name)?;
        let servers = (Echo::tcp(&pair.server, 80)?, Echo::tcp(&pair.server, 8080)?);
        let firewall = Firewall::with_policy(&pair.server, &policy(&[WEB], &[]))?;
        Ok(Self { pair, firewall, _servers: servers })
    }

    /// Plays a reboot; the host is open in between.
    fn reboot(&self) -> Result<String> {
        power_cycle(&self.pair.server)?;
        wait_until("it is open without the pins", PATIENCE, || self.is_open())?;
        let output = self.firewall.run(&["boot"])?;
        Ok(format!("{}{}{}", output.status, output.stdout, output.stderr))
    }

    fn is_open(&self) -> Result<bool> {
        connects(&self.pair.client, None, pair::server(8080)[0], REFUSAL)
    }

    fn serves(&self) -> Result<bool> {
        connects(&self.pair.client, None, pair::server(80)[0], PATIENCE)
    }
}

#[test]
fn a_boot_enforces_what_was_confirmed_whatever_became_of_the_files() -> Result<()> {
    let host = Fixture::new("boot")?;
    let server = &host.pair.server;
    let files: [(&str, &dyn Fn() -> Result<()>); 4] = [
        ("as they were", &|| Ok(())),
        ("edited, not applied", &|| host.firewall.write(&policy(&[WEB, MORE], &[]))),
        ("broken", &|| host.firewall.write("nonsense: true\n")),
        ("gone", &|| server.sh("rm -r /etc/firewall").map(|_| ())),
    ];
    for (state, make) in files {
        make()?;
        let said = host.reboot()?;
        assert!(said.contains("exit status: 0"), "{state}: {said}");
        assert!(!host.is_open()? && host.serves()?, "{state}: {said}");
        assert!(host.firewall.run(&["boot"])?.stderr.contains("nothing to do"), "{state}");
    }
    Ok(())
}

#[test]
fn a_trial_does_not_survive_a_reboot() -> Result<()> {
    let host = Fixture::new("boot-trial")?;
    host.firewall.write(&policy(&[WEB, MORE], &[]))?;
    host.firewall.refused(&["apply", "--confirm-within", "1m"], 3)?;
    assert!(host.is_open()?);
    host.reboot()?;
    assert!(!host.is_open()?, "an unconfirmed policy was booted");
    // Confirmed, it does, even where the files were changed in between.
    host.firewall.refused(&["apply", "--confirm-within", "1m"], 3)?;
    host.firewall.write(&policy(&[WEB], &[]))?;
    host.firewall.check(&["confirm"])?;
    host.reboot()?;
    assert!(host.is_open()?, "what was confirmed was not booted");
    Ok(())
}

#[test]
fn a_copy_that_cannot_be_used_gives_way_to_the_files() -> Result<()> {
    let host = Fixture::new("boot-copy")?;
    let server = &host.pair.server;
    let copy = "/var/lib/firewall/confirmed";
    for (state, script) in [
        ("broken", format!("echo nonsense > {copy}/rules/lab.yaml")),
        ("cut short", format!("rm {copy}/subject")),
        ("dangling", format!("rm -r $(readlink -f {copy})")),
        ("gone", "rm -r /var/lib/firewall".to_owned()),
    ] {
        server.sh(&script)?;
        let said = host.reboot()?;
        assert!(said.contains("exit status: 0"), "{state}: {said}");
        assert!(said.contains("taking the files in /etc/firewall"), "{state}: {said}");
        assert!(!host.is_open()? && host.serves()?, "{state}: {said}");
        // It has left a good copy again.
        host.firewall.write("nonsense: true\n")?;
        host.reboot()?;
        assert!(!host.is_open()?, "{state}: no new copy was made");
        host.firewall.write(&policy(&[WEB], &[]))?;
    }
    // With neither, the host is open, and the exit code says so.
    server.sh("rm -r /var/lib/firewall /etc/firewall/host.yaml")?;
    let said = host.reboot()?;
    assert!(said.contains("exit status: 1") && said.contains("host.yaml"), "{said}");
    assert!(host.is_open()?);
    Ok(())
}

#[test]
fn what_did_not_fit_on_the_disk_is_not_booted() -> Result<()> {
    let host = Fixture::new("boot-full")?;
    let server = &host.pair.server;
    server.sh("mount -t tmpfs -o size=64k tmpfs /var/lib/firewall")?;
    host.firewall.check(&["apply"])?;
    let long = format!("# {}\n", "much ".repeat(12)).repeat(2_000);
    host.firewall.write(&(policy(&[WEB, MORE], &[]) + &long))?;
    let said = host.firewall.refused(&["apply", "--confirm-within", "1m"], 1)?;
    assert!(said.contains("No space left on device"), "{said}");
    let said = host.firewall.refused(&["confirm"], 1)?;
    assert!(said.contains("the next boot enforces what was kept before"), "{said}");
    assert!(host.is_open()?, "the new policy is not in force");
    let left = server.sh("ls /var/lib/firewall")?;
    assert_eq!(left.lines().count(), 2, "{left}");
    let said = host.reboot()?;
    assert!(said.contains("exit status: 0"), "{said}");
    assert!(!host.is_open()? && host.serves()?, "{said}");
    Ok(())
}

#[test]
fn a_boot_needs_no_address_and_no_interface() -> Result<()> {
    let Pair { server, client, lab } = Pair::new("boot-early")?;
    let _closed = Echo::tcp(&server, 8080)?;
    let own = "name: self, from: any, to: self, service: web";
    let firewall = Firewall::with_policy(&server, &policy(&[own], &[]))?;
    let rules = firewall.check(&["status"])?;
    // The network card comes after the boot, as it may on a real machine.
    server.ip(&["link", "del", "eth0"])?;
    power_cycle(&server)?;
    let said = firewall.run(&["boot"])?;
    assert!(said.status.success(), "{rules}{}{}", said.stdout, said.stderr);
    assert!(said.stderr.contains("no interface of this host matches"), "{}", said.stderr);
    let _agent = firewall.agent()?;
    lab.connect(
        &server.port("eth0").address("192.0.2.10/24"),
        &client.port("eth0").address("192.0.2.20/24"),
    )?;
    wait_until("the card is attached", PATIENCE, || {
        Ok(server.sh("ip link show dev eth0")?.contains("xdp"))
    })?;
    let _web = Echo::tcp(&server, 80)?;
    let at = firewall_tests::traffic::at;
    assert!(connects(&client, None, at("192.0.2.10:80"), PATIENCE)?, "`self` was empty at boot");
    assert!(!connects(&client, None, at("192.0.2.10:8080"), REFUSAL)?);
    Ok(())
}

#[test]
fn one_file_or_role_that_was_applied_is_booted_as_such() -> Result<()> {
    let host = Fixture::new("boot-file")?;
    let role = |rules: &[&str]| format!("version: 1\nrole: other\n{}", policy(rules, &[]));
    host.pair.server.write("/etc/firewall/rules/other.yaml", role(&[WEB, MORE]))?;
    for arguments in
        [vec!["apply", "/etc/firewall/rules/other.yaml"], vec!["apply", "--role", "other"]]
    {
        host.firewall.check(&arguments)?;
        let said = host.reboot()?;
        assert!(host.is_open()?, "{arguments:?}: {said}");
        assert!(host.firewall.check(&["status"])?.contains("role other"), "{arguments:?}");
        host.firewall.check(&["apply"])?;
        assert!(!host.is_open()?);
    }
    Ok(())
}
