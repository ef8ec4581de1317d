//! What stands in the way: somebody else, or a file system that is full or forbids.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::site::{Site, Version, on};

/// So soon is said what cannot be done.
const AT_ONCE: Duration = Duration::from_secs(20);

#[test]
fn another_installation_is_waited_for_by_nobody() -> Result<()> {
    let site = Site::new("busy", 1)?;
    let server = &site.servers[0];
    let bare = server.state()?;
    server.host.sh("mkdir /run/firewall-install")?;
    let other = server.host.spawn(
        "other",
        Command::new("flock").args(["-F", "/run/firewall-install/lock", "sleep", "600"]),
    )?;
    let start = Instant::now();
    let mut install = site.install(Version::One, &[server.login()], &["--confirm-within", "5"])?;
    let said = site.run(&mut install, 1)?;
    ensure!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    for wanted in [
        "REFUSED: another installation is under way on this host",
        "0 changed, 0 as wanted before, 0 put back, 1 not touched",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(server.state()?, bare);
    let said = site.run(&mut site.xtask(&["uninstall", "--host", &server.login()])?, 1)?;
    assert!(said.contains("another installation is under way"), "{said}");
    other.kill()?;
    on(server, site.run(&mut site.install(Version::One, &[server.login()], &[])?, 0))?;
    Ok(())
}

#[test]
fn who_is_not_root_cannot_hold_an_installation_up() -> Result<()> {
    let site = Site::new("held-up", 1)?;
    let server = &site.servers[0];
    // As an older version has left it.
    server.host.sh("mkdir -m 755 /run/firewall-install && touch /run/firewall-install/lock")?;
    on(server, site.run(&mut site.install(Version::One, &[server.login()], &[])?, 0))?;
    let said = server.host.sh(
        "setpriv --reuid 65534 --clear-groups flock -n /run/firewall-install/lock true 2>&1 || true",
    )?;
    assert!(said.contains("Permission denied"), "{said}");
    Ok(())
}

/// What installers have left in the places where a bundle may be.
const STAGED: &str = "ls -d /var/tmp/firewall-install.* /root/firewall-install.* 2>/dev/null; true";

#[test]
fn a_host_without_room_is_left_as_it_was() -> Result<()> {
    let site = Site::new("no-room", 1)?;
    let server = &site.servers[0];
    server.host.sh("mount -t tmpfs -o size=4m none /var/tmp")?;
    let mut install = site.install(Version::One, &[server.login()], &["--dry-run"])?;
    let said = site.run(&mut install, 1)?;
    let wanted = format!("no room in /var/tmp on {}", server.login());
    assert!(said.contains(&wanted) && !said.contains("cannot reach"), "{said}");
    assert_eq!(server.host.sh("ls /var/tmp")?, "");
    Ok(())
}

#[test]
fn where_no_program_may_run_another_place_is_taken() -> Result<()> {
    let site = Site::new("noexec", 1)?;
    let server = &site.servers[0];
    let login = [server.login()];
    server.host.sh(
        "mount -t tmpfs -o noexec none /var/tmp && mount -t tmpfs -o mode=700 none /root && \
         mkdir /root/firewall-install.killed /root/firewall-install.living && \
         touch -d '3 hours ago' /root/firewall-install.killed",
    )?;
    on(server, site.run(&mut site.install(Version::One, &login, &[])?, 0))?;
    // Only what a killed installer has left is taken away.
    assert_eq!(server.host.sh(STAGED)?, "/root/firewall-install.living\n");
    server.host.sh("mount -o remount,noexec /root")?;
    let said = site.run(&mut site.install(Version::Two, &login, &[])?, 1)?;
    let wanted = "no program may run in /var/tmp or /root, mounted noexec";
    assert!(said.contains(wanted), "{said}");
    assert_eq!(server.host.sh(STAGED)?, "/root/firewall-install.living\n");
    Ok(())
}

#[test]
fn what_fails_before_it_begins_leaves_nothing() -> Result<()> {
    let site = Site::new("no-room-to-begin", 1)?;
    let server = &site.servers[0];
    let state = "/var/lib/firewall";
    server.host.sh(&format!("mkdir {state} && mount -t tmpfs -o size=4m none {state}"))?;
    let said = site.run(&mut site.install(Version::One, &[server.login()], &[])?, 3)?;
    assert!(said.contains("PUT BACK") && said.contains("No space left"), "{said}");
    assert_eq!(server.host.sh(&format!("ls {state}"))?, "");
    Ok(())
}

#[test]
fn an_uninstallation_says_what_it_has_done_and_goes_on_where_it_failed() -> Result<()> {
    let site = Site::new("half-removed", 1)?;
    let server = &site.servers[0];
    let (login, bare) = (server.login(), server.state()?);
    let dry = |host: &str| site.xtask(&["uninstall", "--dry-run", "--host", host]);
    let said = site.run(&mut dry(&login)?, 0)?;
    assert!(said.contains("nothing to do: the firewall is not installed"), "{said}");
    let said = site.run(&mut dry("root@192.0.2.99")?, 1)?;
    assert!(said.contains("192.0.2.99"), "{said}");

    on(server, site.run(&mut site.install(Version::One, std::slice::from_ref(&login), &[])?, 0))?;
    // Somebody was quicker, and something is in use.
    server.host.sh("groupdel firewall && mount --bind /etc/firewall/rules /etc/firewall/rules")?;
    let uninstall = ["uninstall", "--host", &login];
    let said = site.run(&mut site.xtask(&uninstall)?, 1)?;
    assert!(said.contains("this host is OPEN") && said.contains("busy"), "{said}");
    assert_eq!(site.open(server)?, [true, true]);
    let said = site.run(&mut dry(&login)?, 2)?;
    assert!(said.contains("would be OPEN"), "{said}");
    server.host.sh("umount /etc/firewall/rules")?;
    let said = site.run(&mut site.xtask(&uninstall)?, 0)?;
    assert!(said.contains("removed"), "{said}");
    assert_eq!(server.state()?, bare, "something is left");
    Ok(())
}
