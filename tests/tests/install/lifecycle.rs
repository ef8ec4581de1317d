//! On one host: first, again, another version, off.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::site::{Server, Site, Version, on};

#[test]
fn a_host_is_installed_upgraded_and_left_as_it_was() -> Result<()> {
    let site = Site::new("install", 1)?;
    let server: &Server = &site.servers[0];
    let host = [server.login()];
    let bare = server.state()?;

    let said = site.run(&mut site.install(Version::One, &host, &["--dry-run"])?, 2)?;
    for wanted in [
        "+ /usr/local/sbin/firewall",
        "+ /etc/firewall/host.yaml",
        "no policy → ",
        "would attach eth0",
        "you stay connected",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(server.state()?, bare, "a dry run has changed something");

    let said = on(server, site.run(&mut site.install(Version::One, &host, &[])?, 0))?;
    eprintln!("{said}");
    for wanted in [
        "installed 0.1.0 → applied generation 1, policy ",
        " → new ssh ok → GET 127.0.0.1:9477/metrics ok → confirmed (",
        "1 changed, 0 as wanted before, 0 put back, 0 not touched",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(site.open(server)?, [true, false]);
    for file in [
        "/usr/local/share/man/man1/firewall-apply.1",
        "/usr/local/share/bash-completion/completions/firewall",
        "/etc/firewall/rules/web.yaml",
    ] {
        assert!(server.has(file), "{file}");
    }
    let one = server.state()?;

    let said = site.run(&mut site.install(Version::One, &host, &[])?, 0)?;
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(server.state()?, one, "the second time has changed something");

    let said = on(server, site.run(&mut site.install(Version::Two, &host, &[])?, 0))?;
    assert!(said.contains("~ /etc/firewall/rules/web.yaml"), "{said}");
    assert_eq!(site.open(server)?, [true, true]);
    let two = server.state()?;
    assert_ne!(two, one);

    let said = site.run(&mut site.xtask(&["uninstall", "--host", &host[0], "--dry-run"])?, 2)?;
    assert!(said.contains("would be OPEN"), "{said}");
    assert_eq!(server.state()?, two);
    let said = site.run(&mut site.xtask(&["uninstall", "--host", &host[0]])?, 0)?;
    assert!(said.contains("this host is OPEN"), "{said}");
    assert_eq!(server.state()?, bare, "something is left");
    assert!(!server.has("/run/firewall") && !server.has("/run/firewall-install"));
    assert!(server.has("/usr/local/sbin"), "a directory of the host's own is gone");
    let said = site.run(&mut site.xtask(&["uninstall", "--host", &host[0]])?, 0)?;
    assert!(said.contains("nothing to do"), "{said}");
    Ok(())
}

#[test]
fn an_upgrade_keeps_the_policy_and_never_pauses() -> Result<()> {
    let site = Site::new("upgrade", 1)?;
    let server = &site.servers[0];
    let host = [server.login()];
    let said = site.run(&mut site.upgrade(Version::One, &host)?, 1)?;
    assert!(said.contains("not installed here: cargo xtask install"), "{said}");
    on(server, site.run(&mut site.install(Version::One, &host, &[])?, 0))?;
    // Edited and not applied: an upgrade is no reason to take it.
    server.host.write("/etc/firewall/rules/web.yaml", "nonsense: true\n")?;

    let mut upgrade = site.upgrade(Version::Two, &host)?;
    let running = site.spawn(&mut upgrade)?;
    let mut asked = 0;
    while running.ended()?.is_none() {
        assert_eq!(site.open(server)?, [true, false], "after {asked} probes");
        asked += 1;
    }
    let said = running.log();
    assert!(running.ended()?.is_some_and(|status| status.success()), "{said}");
    assert!(said.contains("applied generation 2") && said.contains("confirmed ("), "{said}");
    assert!(asked >= 5, "only {asked} probes");
    let state = server.state()?;
    assert!(state.contains("agent /usr/local/sbin/firewall\n"), "the old agent runs: {state}");
    let said = site.run(&mut site.upgrade(Version::Two, &host)?, 0)?;
    assert!(said.contains("nothing to do"), "{said}");
    Ok(())
}

#[test]
fn metrics_are_asked_for_where_the_host_file_has_them() -> Result<()> {
    let site = Site::new("metrics", 1)?;
    let server = &site.servers[0];
    let file = site.admin.directory().join("host.yaml");
    for (listen, asked) in
        [("'127.0.0.1:9500'", "127.0.0.1:9500"), ("\"0.0.0.0:9501\"", "127.0.0.1:9501")]
    {
        std::fs::write(
            &file,
            format!(
                "version: 1\nroles: [web]\ndescription: 'we listen: to you'\n\
                 outputs: {{ prometheus: {{ listen: {listen} }} }}\n"
            ),
        )?;
        let mut install = site.with_host_file(Version::One, &server.login(), &file)?;
        let said = on(server, site.run(&mut install, 0))?;
        assert!(said.contains(&format!("GET {asked}/metrics ok")), "{said}");
    }
    Ok(())
}

#[test]
fn this_machine_is_installed_without_ssh() -> Result<()> {
    let site = Site::new("here", 1)?;
    let server = &site.servers[0];
    let bare = server.state()?;
    let run = |command: &mut Command, code: i32| -> Result<String> {
        let output = server.host.run(command.env_remove("SSH_CONNECTION"))?;
        let said = output.stdout + &output.stderr;
        ensure!(output.status.code() == Some(code), "{said}\n{}", server.log());
        Ok(said)
    };
    let refused = run(&mut site.here("install", Version::One, &["--role", "web"])?, 1)?;
    assert!(refused.contains("no systemd runs here"), "{refused}");
    assert_eq!(server.state()?, bare);

    let words = ["--role", "web", "--iface", "eth0", "--without-systemd"];
    let said = run(&mut site.here("install", Version::One, &words)?, 0)?;
    assert!(said.contains("here  installed 0.1.0 → applied generation 1, policy "), "{said}");
    assert!(said.contains(" → GET 127.0.0.1:9477/metrics ok → confirmed ("), "{said}");
    assert_eq!(site.open(server)?, [true, false]);
    assert!(run(&mut site.here("install", Version::One, &words)?, 0)?.contains("nothing to do"));
    let said = run(&mut site.here("upgrade", Version::Two, &["--without-systemd"])?, 0)?;
    assert!(said.contains(" stays") && said.contains("~ /usr/local/sbin/firewall"), "{said}");
    assert_eq!(site.open(server)?, [true, false]);
    run(&mut site.xtask(&["uninstall"])?, 0)?;
    assert_eq!(server.state()?, bare);
    Ok(())
}
