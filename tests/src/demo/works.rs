//! What must work, with the firewall on every server.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::agents::Agents;
use super::book::{Book, Part};
use super::plan::{
    ADMIN, APP1, BACKUP, BASTION, CLIENT, LB, MIRROR, NAME, PRIMARY, REPLICA, SERVERS, TIME, Tier,
    VIP, WEB1, WEB2,
};
use super::site::{self, Site};
use super::topology::NARROW;
use crate::host::Host;
use crate::traffic::PATIENCE;
use crate::traffic::conversation::connects;

const ALL: [Tier; 4] = [Tier::LoadBalancer, Tier::Web, Tier::App, Tier::Database];
const FAMILIES: [(&str, &str); 2] = [("IPv4", "-4"), ("IPv6", "-6")];
/// Size of the large upload, bytes.
const UPLOAD: usize = 300_000;

/// Checks all of it.
pub(crate) fn check(site: &Site, agents: &Agents, book: &mut Book) {
    pages(site, book);
    narrow(site, agents, book);
    administration(site, book);
    services(site, book);
    bans(site, agents, book);
}

fn pages(site: &Site, book: &mut Book) {
    for (family, flag) in FAMILIES {
        let what = format!("HTTPS page over {family}: client → lb → web → app → replica");
        book.check(Part::Works, &ALL, what, || {
            let answers: Vec<String> =
                (0..8).map(|_| headers(site, flag)).collect::<Result<_>>()?;
            let servers: BTreeSet<&str> = answers.iter().filter_map(|one| served_by(one)).collect();
            ensure!(servers.len() == 2, "only {servers:?} answered 8 pages");
            Ok(format!("8 pages, answered by {}", Vec::from_iter(servers).join(" and ")))
        });
        let what = format!("plain HTTP over {family} is redirected to HTTPS");
        book.check(Part::Works, &[Tier::LoadBalancer], what, || {
            let mut curl = Command::new("curl");
            curl.args(["-s", flag, "--max-time", "5", "-o", "/dev/null"]);
            curl.args(["-w", "%{http_code} %{redirect_url}", &format!("http://{NAME}/x")]);
            let seen = site.host("client").check(&mut curl)?;
            ensure!(seen == format!("301 https://{NAME}/x"), "{seen}");
            Ok(seen)
        });
    }
    book.check(Part::Works, &ALL, "a write on the page appears on the replica", || {
        let text = "written through four tiers";
        let mut curl = curl(site, "-4", "/notes");
        let number = site.host("client").check(curl.args(["--data", text]))?;
        site::catch_up(&site.primary, &site.replica)?;
        let page = site::page(site, "-6", &format!("/notes/{}", number.trim()))?;
        ensure!(page.trim() == text, "note {} reads `{page}`", number.trim());
        Ok(format!("note {}: INSERT on the primary, SELECT on the replica", number.trim()))
    });
    book.check(Part::Works, &[Tier::Database], "replication runs, over IPv6", || {
        let running = site.replica.sql("SHOW GLOBAL STATUS LIKE 'Slave_running'")?;
        let (status, host) = (site.replica.sql("SHOW SLAVE STATUS")?, PRIMARY.at.v6.to_string());
        ensure!(running.trim().ends_with("ON"), "{running}{status}");
        ensure!(status.split('\t').any(|column| column == host), "not from {host}: {status}");
        Ok(format!("from {host}, both threads run"))
    });
}

/// A curl of the client's for a page of the site.
fn curl(site: &Site, family: &str, path: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "--max-time", "10", family, "--cacert"]).arg(&site.trusted);
    curl.arg(format!("https://{NAME}{path}"));
    curl
}

fn headers(site: &Site, family: &str) -> Result<String> {
    site.host("client").check(curl(site, family, "/").args(["-o", "/dev/null", "-D", "-"]))
}

/// The application server that answered.
fn served_by(headers: &str) -> Option<&str> {
    headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-served-by").then_some(value.trim())
    })
}

/// Path-MTU discovery: both ends use packets of 1,500 bytes, a hop between takes
/// less and says so.
fn narrow(site: &Site, agents: &Agents, book: &mut Book) {
    for (family, flag) in FAMILIES {
        let what =
            format!("{} kB down through a hop of {NARROW} bytes, {family}", site::LARGE / 1000);
        book.check(Part::Works, &[Tier::LoadBalancer], what, || {
            let related = || {
                Ok::<_, anyhow::Error>(
                    agents.of(LB.name).counters()?.reason("ingress", "icmp-related"),
                )
            };
            let before = related()?;
            let page = site::page(site, flag, "/large")?;
            ensure!(page.len() == site::LARGE, "{} bytes came", page.len());
            let told = related()? - before;
            ensure!(told > 0, "no ICMP error of the router's was admitted as related");
            Ok(format!("all there; {told} \"too big\" admitted by icmp-related"))
        });
        let what = format!("{} kB up through it, {family}", UPLOAD / 1000);
        book.check(Part::Works, &ALL, what, || {
            let file = site.host("client").directory().join("upload");
            std::fs::write(&file, "y".repeat(UPLOAD))?;
            let mut curl = curl(site, flag, "/nowhere");
            curl.args(["--no-fail", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}"]);
            curl.arg("--data-binary").arg(format!("@{}", file.display()));
            let seen = site.host("client").check(&mut curl)?;
            ensure!(seen == format!("404 {UPLOAD}"), "{seen}");
            Ok("all of it reached the application".to_owned())
        });
    }
}

fn administration(site: &Site, book: &mut Book) {
    for server in SERVERS.iter().filter(|server| **server != BASTION) {
        let what = format!("ssh from the bastion to {}", server.name);
        book.check(Part::Works, &[server.tier], what, || {
            let name = site::ssh(site, server, "hostname")?;
            ensure!(name.trim() == server.name, "it says {name}");
            Ok("failsafe-ssh".to_owned())
        });
    }
    for (server, address) in [(BASTION, BASTION.at.v4.to_string()), (WEB1, WEB1.at.v6.to_string())]
    {
        let what = format!("ssh from the administrators' network to {} ({address})", server.name);
        book.check(Part::Works, &[server.tier], what, || {
            let mut ssh = site.sshd[server.name].client(&address, "hostname");
            let name = site.host("admin").check(&mut ssh)?;
            ensure!(name.trim() == server.name, "it says {name}");
            let rule = if server == BASTION { "failsafe-admins" } else { "admin-ssh" };
            Ok(format!("{rule}, from {}", ADMIN.v4))
        });
    }
    book.check(
        Part::Works,
        &[Tier::Management],
        "Prometheus scrapes every agent and HAProxy",
        || {
            let wanted = SERVERS.len() + 1;
            let up = || -> Result<usize> { Ok(site.prometheus.query("up == 1")?.len()) };
            // It scrapes once a second.
            for _ in 0..30 {
                if up()? == wanted {
                    break;
                }
                thread::sleep(Duration::from_millis(200));
            }
            let up = up()?;
            ensure!(up == wanted, "{up} of {wanted} targets are up");
            Ok(format!("{up} of {wanted} targets up, half of them over IPv6"))
        },
    );
}

fn services(site: &Site, book: &mut Book) {
    for server in [WEB1, APP1, REPLICA] {
        book.check(Part::Works, &[server.tier], format!("DNS on {}", server.name), || {
            let answer = site.host(server.name).sh("getent ahostsv4 db.foobar.com")?;
            let wanted = PRIMARY.at.v4.to_string();
            ensure!(answer.contains(&wanted), "{answer}");
            Ok(format!("db.foobar.com is {wanted}, says {}", site::resolver_of(&server)))
        });
    }
    for (server, at) in [(PRIMARY, TIME.v4_port(123)), (LB, TIME.v6_port(123))] {
        book.check(Part::Works, &[server.tier], format!("NTP on {} ({at})", server.name), || {
            let off = clock_offset(site.host(server.name), at)?;
            ensure!(off < Duration::from_secs(2), "the clocks are {off:?} apart");
            Ok(format!("the clocks are {} ms apart", off.as_millis()))
        });
    }
    for (server, what, at) in [
        (WEB2, "package mirror", MIRROR.v4_port(3142)),
        (PRIMARY, "backup store", BACKUP.v4_port(443)),
        (REPLICA, "backup store", BACKUP.v6_port(443)),
    ] {
        let title = format!("{} reaches the {what} ({at})", server.name);
        book.check(Part::Works, &[server.tier], title, || {
            let open = connects(site.host(server.name), None, at, PATIENCE)?;
            ensure!(open, "no connection");
            Ok("connected".to_owned())
        });
    }
    for (family, address) in [("IPv4", VIP.v4.to_string()), ("IPv6", VIP.v6.to_string())] {
        book.check(Part::Works, &[Tier::LoadBalancer], format!("ping over {family}"), || {
            site.host("client").sh(&format!("ping -q -c 3 -i 0.05 -W 2 {address}"))?;
            Ok("3 of 3 answered, by the baseline".to_owned())
        });
    }
}

/// How far an NTP server's clock is from ours, asked from a host.
fn clock_offset(host: &Host, server: SocketAddr) -> Result<Duration> {
    let mut packet = [0; 48];
    packet[0] = 0x23; // version 4, mode client
    let ask = || -> std::io::Result<[u8; 48]> {
        let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(&packet, server)?;
        let mut answer = [0; 48];
        socket.recv(&mut answer)?;
        Ok(answer)
    };
    let answer = host.enter(ask)?.context("the time server does not answer")?;
    let seconds = answer[40..44].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    // Seconds from 1900, where NTP's time begins, to 1970.
    let theirs = Duration::from_secs(seconds.saturating_sub(2_208_988_800));
    let ours = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(theirs.abs_diff(Duration::from_secs(ours.as_secs())))
}

fn bans(site: &Site, agents: &Agents, book: &mut Book) {
    book.check(Part::Works, &[Tier::LoadBalancer], "a ban cuts a visitor off, and ends", || {
        let firewall = agents.of(LB.name);
        let visitor = CLIENT.v4.to_string();
        firewall.check(&["ban", "add", &visitor, "--for", "1m", "--reason", "demo"])?;
        let connected =
            connects(site.host("client"), None, VIP.v4_port(443), Duration::from_millis(600));
        let dropped = firewall.counters()?.reason("ingress", "banned");
        firewall.check(&["ban", "del", &visitor])?;
        ensure!(!connected?, "a banned visitor still connects");
        ensure!(dropped > 0, "nothing was dropped for the ban");
        site::page(site, "-4", "/").context("after the ban")?;
        Ok(format!("{dropped} packets dropped as banned; then the page again"))
    });
    book.check(Part::Works, &[Tier::LoadBalancer], "nobody can ban the bastion", || {
        let refused = agents.of(LB.name).refused(&["ban", "add", &BASTION.at.v4.to_string()], 1)?;
        Ok(refused.lines().next().unwrap_or_default().to_owned())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_read_from_the_headers() {
        assert_eq!(served_by("HTTP/2 200\r\nx-served-by: app1\r\n\r\n"), Some("app1"));
        assert_eq!(served_by("HTTP/2 200\r\n\r\n"), None);
    }
}
