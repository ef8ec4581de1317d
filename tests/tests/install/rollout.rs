//! Several hosts: one first, none after a failure, and what failed is put back.

use anyhow::Result;
use firewall_tests::traffic::PATIENCE;

use crate::site::{Server, Site, Version, on};

#[test]
fn a_role_that_would_cut_ssh_is_refused_before_any_host_is_touched() -> Result<()> {
    let site = Site::new("refused", 3)?;
    let bare: Vec<String> = site.servers.iter().map(Server::state).collect::<Result<_>>()?;
    let hosts = hosts(&site);
    let said = site.run(&mut site.install(Version::One, &hosts, &["--jobs", "3"])?, 1)?;
    eprintln!("{said}");
    for wanted in [
        "root@192.0.2.12  REFUSED:",
        "you would be CUT",
        "default-in",
        "1 of 3 refused; no host was touched",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    for (server, bare) in site.servers.iter().zip(bare) {
        assert_eq!(server.state()?, bare, "{}", server.address);
    }
    Ok(())
}

#[test]
fn a_host_that_lets_nobody_in_is_put_back_and_the_rollout_stops() -> Result<()> {
    let site = Site::new("rollout", 3)?;
    let [first, second, third] = site.servers.as_slice() else { unreachable!() };
    // The second host has run the firewall before, with the policy that is good for it.
    on(second, site.run(&mut site.install(Version::One, &[second.login()], &[])?, 0))?;
    let (before, bare) = (second.state()?, third.state()?);

    // Insisted on, it is tried: and nobody gets in any more.
    let more = ["--i-have-console", "--confirm-within", "30"];
    let said = site.run(&mut site.install(Version::Two, &hosts(&site), &more)?, 3)?;
    eprintln!("{said}");
    for wanted in [
        "root@192.0.2.11  installed 0.1.0 → applied generation 1",
        "root@192.0.2.12  PUT BACK: installed 0.1.0",
        "1 changed, 0 as wanted before, 1 put back, 1 not touched",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // Whichever the administrator notices first: the old connection, or no new one.
    let why = ["the SSH connection was cut", "no new SSH connection: "];
    assert!(why.iter().any(|why| said.contains(why)), "{said}");
    assert!(second.log().contains("undone"), "{}", second.log());
    assert_eq!(site.open(first)?, [true, true]);
    assert_eq!(second.state()?, before, "the second host is not as it was");
    assert_eq!(site.open(second)?, [true, false]);
    site.run(&mut second.sshd.client(&second.address, "true"), 0)?;
    assert_eq!(third.state()?, bare, "the third host was touched");
    Ok(())
}

#[test]
fn a_host_that_takes_no_new_connection_is_put_back() -> Result<()> {
    let site = Site::new("no-new-ssh", 1)?;
    let server = &site.servers[0];
    let bare = server.state()?;
    let mut install = site.install(Version::One, &[server.login()], &[])?;
    let installer = site.spawn(&mut install)?;
    // The connection that installs lives on; nobody listens for another one.
    installer.wait_until("on trial", PATIENCE * 4, || {
        server.has("/var/lib/firewall/install/transaction/token")
    })?;
    server.sshd.process().signal(libc::SIGTERM)?;
    let ended = installer.wait(PATIENCE * 4)?;
    let said = installer_log(&site);
    assert_eq!(ended.code(), Some(3), "{said}");
    assert!(said.contains("PUT BACK") && said.contains("no new SSH connection: "), "{said}");
    assert_eq!(server.state()?, bare);
    Ok(())
}

fn installer_log(site: &Site) -> String {
    std::fs::read_to_string(site.admin.directory().join("xtask.log")).unwrap_or_default()
}

#[test]
fn an_agent_that_cannot_serve_is_put_back() -> Result<()> {
    let site = Site::new("no-metrics", 1)?;
    let server = &site.servers[0];
    let bare = server.state()?;
    // Somebody else has the port.
    let _taken = server.host.spawn(
        "taken",
        std::process::Command::new("python3").args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "9477",
        ]),
    )?;
    let said = site.run(&mut site.install(Version::One, &[server.login()], &[])?, 3)?;
    assert!(said.contains("PUT BACK") && said.contains("GET 127.0.0.1:9477/metrics"), "{said}");
    assert_eq!(server.state()?, bare);
    Ok(())
}

/// All three; the second one with a role that admits no SSH.
fn hosts(site: &Site) -> Vec<String> {
    let mut hosts: Vec<String> = site.servers.iter().map(Server::login).collect();
    hosts[1] += "=cut";
    hosts
}
