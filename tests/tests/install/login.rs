//! Who may install what: a user who is not root, and the role of another host.

use anyhow::Result;
use firewall_tests::gate;

use crate::site::{Site, Version, on};

/// A user of the host who may do as root whatever he likes, or nothing. The host cannot
/// resolve its own name, as happens: sudo says so each time, before anything else.
const USER: &str = "\
    echo 'hosts: files' >/etc/nsswitch.conf && \
    useradd --create-home --home-dir /var/installer --shell /bin/sh installer && \
    sed -i 's/^installer:[^:]*:/installer:*:/' /etc/shadow";
const SUDOERS: &str = "\
    mkdir -p /etc/sudoers.d && echo 'installer ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/installer && \
    chmod 440 /etc/sudoers.d/installer";

#[test]
fn who_is_not_root_installs_by_sudo_and_is_refused_without_it() -> Result<()> {
    gate::tool("sudo", "sudo")?;
    let site = Site::new("sudo", 1)?;
    let [server] = site.servers.as_slice() else { unreachable!() };
    server.host.sh(USER)?;
    let (login, bare) = (format!("installer@{}", server.address), server.state()?);
    // Whom ssh does not let in is told, and nothing waits.
    let said = site.run(&mut site.install(Version::One, std::slice::from_ref(&login), &[])?, 1)?;
    let wanted = format!("cannot reach {login}");
    assert!(said.contains(&wanted) && said.contains("Permission denied"), "{said}");
    // The key of root lies where only root may read it.
    let key = server.sshd.key().with_extension("pub");
    server.host.write("/var/installer/.ssh/authorized_keys", std::fs::read(key)?)?;
    let said = site.run(&mut site.install(Version::One, std::slice::from_ref(&login), &[])?, 1)?;
    assert!(said.contains(&format!("{login}  REFUSED: sudo: unable to resolve host")), "{said}");
    assert!(said.contains("sudo: a password is required"), "{said}");
    assert_eq!(server.state()?, bare, "something was changed");

    server.host.sh(SUDOERS)?;
    let said = on(
        server,
        site.run(&mut site.install(Version::One, std::slice::from_ref(&login), &[])?, 0),
    )?;
    assert!(said.contains("new ssh ok → GET 127.0.0.1:9477/metrics ok → confirmed"), "{said}");
    assert_eq!(site.open(server)?, [true, false]);
    let said = on(
        server,
        site.run(&mut site.install(Version::One, std::slice::from_ref(&login), &[])?, 0),
    )?;
    assert!(said.contains("nothing to do"), "{said}");
    on(server, site.run(&mut site.upgrade(Version::Two, std::slice::from_ref(&login))?, 0))?;
    let mut uninstall = site.xtask(&["uninstall", "--host", &login])?;
    let said = on(server, site.run(&mut uninstall, 0))?;
    assert!(said.contains("this host is OPEN"), "{said}");
    assert_eq!(site.open(server)?, [true, true]);
    Ok(())
}

#[test]
fn the_role_of_another_host_is_installed_by_force_only() -> Result<()> {
    let site = Site::new("force", 1)?;
    let [server] = site.servers.as_slice() else { unreachable!() };
    let bare = server.state()?;
    site.name_group(Version::One, "192.0.2.99")?;
    let hosts = [server.login()];
    let said = site.run(&mut site.install(Version::One, &hosts, &[])?, 1)?;
    for wanted in [
        "warning[W0610]: this host is not one of `webs`, the group of role `web`",
        "this host has 192.0.2.11",
        "error: the role of another host? nothing was changed",
        "1 of 1 refused; no host was touched",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(server.state()?, bare, "something was changed");
    let said = on(server, site.run(&mut site.install(Version::One, &hosts, &["--force"])?, 0))?;
    assert!(said.contains("→ confirmed"), "{said}");
    assert_eq!(site.open(server)?, [true, false]);
    // It is what was confirmed now: an upgrade asks no more.
    on(server, site.run(&mut site.upgrade(Version::Two, &hosts)?, 0))?;
    Ok(())
}
