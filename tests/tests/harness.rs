//! The lab itself, without a firewall: what the other lab tests take for granted.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_tests::host::{Host, Socket};
use firewall_tests::lab::{self, Lab};
use firewall_tests::servers::{Certificate, Database, MariaDb, Nginx, Site, Sshd};

/// Two hosts on a cable: `a` is .1, `b` is .2.
fn pair(name: &str) -> Result<(Lab, Host, Host)> {
    let lab = Lab::new(name)?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    lab.connect(
        &a.port("eth0").address("192.0.2.1/24").address("2001:db8::1/64"),
        &b.port("eth0").address("192.0.2.2/24").address("2001:db8::2/64"),
    )?;
    Ok((lab, a, b))
}

#[test]
fn two_hosts_reach_each_other_at_once_over_both_families() -> Result<()> {
    let (_lab, a, b) = pair("ping")?;
    a.sh("ping -c 1 -W 1 192.0.2.2 && ping -c 1 -W 1 2001:db8::2")?;
    b.sh("ping -c 1 -W 1 192.0.2.1 && ping -c 1 -W 1 2001:db8::1")?;
    Ok(())
}

#[test]
fn a_switch_and_a_router_join_three_networks() -> Result<()> {
    let lab = Lab::new("router")?;
    let (client, router, web) = (lab.host("client")?, lab.host("router")?, lab.host("web")?);
    let lan = lab.switch("lan")?;
    lan.plug(&web.port("eth0").address("192.0.2.10/24").address("2001:db8:1::10/64"))?;
    lan.plug(&router.port("lan0").address("192.0.2.1/24").address("2001:db8:1::1/64"))?;
    lab.connect(
        &client.port("eth0").address("198.51.100.20/24").address("2001:db8:2::20/64").mtu(1400),
        &router.port("wan0").address("198.51.100.1/24").address("2001:db8:2::1/64").mtu(1400),
    )?;
    router.forward()?;
    client.route("default", "198.51.100.1")?;
    client.route("default", "2001:db8:2::1")?;
    web.route("default", "192.0.2.1")?;
    web.route("default", "2001:db8:1::1")?;
    client.name_address("192.0.2.10", "web www.example.com")?;
    client.sh("ping -c 1 -W 1 www.example.com && ping -c 1 -W 1 2001:db8:1::10")?;
    let too_big =
        web.run(Command::new("ping").args(["-c1", "-W1", "-Mdo", "-s1472", "198.51.100.20"]))?;
    assert!(!too_big.status.success(), "a 1500-byte packet passed an MTU of 1400");
    assert!((too_big.stdout + &too_big.stderr).contains("mtu"), "path MTU was not told");
    Ok(())
}

#[test]
fn a_host_has_its_own_files_mounts_name_and_processes() -> Result<()> {
    let (_lab, a, b) = pair("isolation")?;
    assert_eq!(a.sh("hostname")?, "a\n");
    a.write("/etc/firewall/host.yaml", "roles: [web]\n")?;
    a.write("/run/firewall/x", "run")?;
    a.write("/var/lib/firewall/x", "var")?;
    assert_eq!(a.sh("cat /etc/firewall/host.yaml")?, "roles: [web]\n");
    assert_eq!(std::fs::read_to_string(a.path("/run/firewall/x"))?, "run");
    for place in ["/etc/firewall/host.yaml", "/run/firewall/x", "/var/lib/firewall/x"] {
        b.sh(&format!("test ! -e {place}")).context("another host's file is seen")?;
        assert!(!Path::new(place).exists(), "{place} is on the machine itself");
    }
    a.sh("mkdir /sys/fs/bpf/firewall")?;
    b.sh("test ! -e /sys/fs/bpf/firewall")?;
    assert_eq!(a.sh("ls /sys/class/net")?.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);
    // Number 1 is the host's first process; ours are not to be seen.
    let seen = a.sh("ls /proc | grep -c '^[0-9]'")?.trim().parse::<u32>()?;
    assert_eq!(seen, 5, "sh, head, sh, ls, grep");
    let here = a.directory().join("here");
    a.write(&here, "same path inside and outside")?;
    assert!(here.is_file());
    Ok(())
}

#[test]
fn rust_code_uses_a_hosts_sockets() -> Result<()> {
    let (_lab, a, b) = pair("sockets")?;
    let listener = a.enter(|| TcpListener::bind("192.0.2.1:80"))??;
    assert!(a.listens(Socket::Tcp(80)) && !a.listens(Socket::Tcp(81)));
    let stream = b.enter(|| std::net::TcpStream::connect("192.0.2.1:80"))??;
    assert_eq!(listener.accept()?.1, stream.local_addr()?);
    let _bound = b.enter(|| UdpSocket::bind("[::]:53"))??;
    assert!(b.listens(Socket::Udp(53)) && !a.listens(Socket::Udp(53)));
    Ok(())
}

#[test]
fn nginx_answers_curl_and_counts_requests() -> Result<()> {
    let (lab, web, client) = pair("nginx")?;
    let certificate = Certificate::self_signed(lab.directory(), "www.example.com")?;
    let trusted = certificate.certificate.display().to_string();
    let site = Site { tls: Some((vec![443], certificate)), ..Site::default() };
    let nginx = Nginx::start(&web, &site)?;
    client.name_address("192.0.2.1", "www.example.com")?;
    assert_eq!(client.sh("curl -sf http://192.0.2.1/")?, "a says hello\n");
    client.sh("curl -sf 'http://[2001:db8::1]/'")?;
    client.sh(&format!("curl -sf --cacert {trusted} https://www.example.com/"))?;
    assert_eq!(nginx.requests()?, 3);
    assert!(nginx.process().ended()?.is_none());
    Ok(())
}

#[test]
fn mariadb_answers_a_query_and_counts_it() -> Result<()> {
    let (_lab, db, client) = pair("mariadb")?;
    let start = Instant::now();
    let mariadb = MariaDb::start(&db, &Database::default())?;
    eprintln!("MariaDB started in {:?}", start.elapsed());
    mariadb.add_user("app", "secret")?;
    let before = mariadb.status("Com_select")?;
    let rows = client.sh(
        "mariadb --no-defaults -h 192.0.2.1 -u app -psecret -BN -e 'SELECT 40 + 2; SELECT 43'",
    )?;
    assert_eq!(rows, "42\n43\n");
    // The client itself asks for the server's version when it is interactive only.
    assert_eq!(mariadb.status("Com_select")? - before, 2);
    Ok(())
}

#[test]
fn sshd_lets_its_client_in() -> Result<()> {
    let (_lab, server, client) = pair("sshd")?;
    let sshd = Sshd::start(&server, 22)?;
    assert_eq!(client.check(&mut sshd.client("192.0.2.1", "hostname"))?, "a\n");
    Ok(())
}

#[test]
fn a_program_that_does_not_start_says_why() -> Result<()> {
    let (_lab, a, _b) = pair("failure")?;
    let failing = a.spawn("failing", Command::new("sh").args(["-c", "echo no luck; exit 3"]))?;
    let error = failing.wait_listening(&[Socket::Tcp(80)], Duration::from_secs(5)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("failing on a") && text.contains("no luck"), "{text}");
    assert!(a.spawn("absent", &mut Command::new("/no/such/program")).is_err());
    assert!(a.sh("exit 7").unwrap_err().to_string().contains('7'));
    Ok(())
}

#[test]
fn stopped_and_killed_programs_end() -> Result<()> {
    let (_lab, a, _b) = pair("stop")?;
    let sleeping = |name| a.spawn(name, Command::new("sleep").arg("1000"));
    let (stopped, killed, dropped) = (sleeping("one")?, sleeping("two")?, sleeping("three")?);
    let pids = [stopped.pid(), killed.pid(), dropped.pid()];
    stopped.stop()?;
    killed.kill()?;
    drop(dropped);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} still runs");
    }
    Ok(())
}

#[test]
fn an_orphan_that_ends_does_not_end_its_host() -> Result<()> {
    let (_lab, a, _b) = pair("orphan")?;
    a.sh("sh -c 'sleep 0.1' >/dev/null 2>&1 &")?;
    sleep(Duration::from_millis(400));
    assert_eq!(a.sh("hostname")?, "a\n");
    // Nor is it left as a zombie.
    let zombies = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true";
    assert_eq!(a.sh(zombies)?.trim(), "0");
    Ok(())
}

#[test]
fn nothing_is_left_when_a_lab_ends() -> Result<()> {
    let (lab, a, b) = pair("leftovers")?;
    let nginx = Nginx::start(&a, &Site::default())?;
    // A daemon that leaves its parent and its session.
    b.sh("setsid sleep 1000 >/dev/null 2>&1 &")?;
    let namespaces: Vec<_> = [&a, &b].map(namespace).into_iter().collect::<Result<_>>()?;
    let pids = [a.pid(), b.pid(), nginx.process().pid()];
    assert!(namespaces.iter().all(|ns| processes_in(ns) > 0));
    drop(lab);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} still runs");
    }
    assert!(namespaces.iter().all(|ns| processes_in(ns) == 0), "a process outlived its lab");
    assert!(!Path::new("/run/netns").is_dir_with("fw-"), "a named namespace is left");
    Ok(())
}

/// Runs itself in another process, which starts a lab and is then killed.
#[test]
fn a_lab_ends_with_its_process() -> Result<()> {
    if let Some(ready) = std::env::var_os("LAB_READY") {
        return start_and_wait(Path::new(&ready));
    }
    for signal in ["KILL", "INT", "TERM"] {
        let ready = std::env::temp_dir().join(format!("lab-ready-{}", std::process::id()));
        let mut helper = Command::new(std::env::current_exe()?)
            .args(["--exact", "a_lab_ends_with_its_process"])
            .env("LAB_READY", &ready)
            .stdout(Stdio::null())
            .spawn()?;
        wait_for(|| ready.exists()).context("the helper did not start its lab")?;
        let pid: u32 = std::fs::read_to_string(&ready)?.parse()?;
        std::fs::remove_file(&ready)?;
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/net"))?;
        assert!(processes_in(&namespace) > 1);
        Command::new("kill").args(["-s", signal, &helper.id().to_string()]).status()?;
        helper.wait()?;
        wait_for(|| processes_in(&namespace) == 0)
            .with_context(|| format!("SIG{signal} left processes behind"))?;
    }
    Ok(())
}

/// Starts a lab, writes the process number of a host to `ready`, and waits.
fn start_and_wait(ready: &Path) -> Result<()> {
    let (_lab, a, _b) = pair("killed")?;
    let _nginx = Nginx::start(&a, &Site::default())?;
    let draft = ready.with_extension("draft");
    std::fs::write(&draft, a.pid().to_string())?;
    std::fs::rename(draft, ready)?;
    sleep(Duration::from_mins(1));
    Ok(())
}

#[test]
fn a_kept_lab_stays_until_it_is_stopped() -> Result<()> {
    let (lab, a, _b) = pair("kept")?;
    let nginx = Nginx::start(&a, &Site::default())?;
    let shells = lab.keep()?;
    assert_eq!(shells[0], ("a".to_owned(), format!("nsenter --target {} --all bash", a.pid())));
    drop((lab, nginx));
    sleep(Duration::from_millis(50));
    assert!(a.listens(Socket::Tcp(80)), "a kept server ended");
    let namespace = namespace(&a)?;
    drop(a);
    assert!(processes_in(&namespace) > 1);
    assert!(lab::stop_kept()? >= 2);
    wait_for(|| processes_in(&namespace) == 0).context("a kept host did not stop")
}

#[test]
fn names_are_checked_before_anything_is_made() -> Result<()> {
    let lab = Lab::new("names")?;
    lab.host("web")?;
    for name in ["", "web", "Web", "a-name-of-16-char", "a/b"] {
        assert!(lab.host(name).is_err(), "{name:?} was accepted");
    }
    Ok(())
}

fn namespace(host: &Host) -> Result<std::path::PathBuf> {
    Ok(std::fs::read_link(format!("/proc/{}/ns/net", host.pid()))?)
}

/// How many processes of the machine are in this network namespace.
fn processes_in(namespace: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    entries
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|ns| ns == namespace)
        })
        .count()
}

fn wait_for(mut condition: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !condition() {
        anyhow::ensure!(start.elapsed() < Duration::from_secs(20), "still not after 20 s");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

trait DirectoryWith {
    fn is_dir_with(&self, prefix: &str) -> bool;
}

impl DirectoryWith for Path {
    /// Whether a name in this directory starts with `prefix`.
    fn is_dir_with(&self, prefix: &str) -> bool {
        std::fs::read_dir(self).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        })
    }
}
