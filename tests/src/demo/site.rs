//! The site's programs: everything that is real about it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::plan::{
    self, APP1, APP2, BASTION, LB, NAME, PRIMARY, PROMETHEUS, REPLICA, RESOLVER, SERVERS, Server,
    TIME, VIP, WEB1, WEB2, port,
};
use super::topology::Network;
use crate::host::{Host, Socket};
use crate::lab;
use crate::process::Process;
use crate::servers::{
    Certificate, Database, Dnsmasq, Haproxy, MariaDb, Nginx, Prometheus, Site as Pages, Sshd,
};

/// Longest time that a program of ours may take to listen, or replication to
/// catch up.
const LIMIT: Duration = Duration::from_secs(20);
/// Password of the application's user.
pub(crate) const APP_PASSWORD: &str = "not a secret";
const REPLICA_PASSWORD: &str = "not one either";
/// Size of the large page, bytes: many full packets.
pub(crate) const LARGE: usize = 2_000_000;

/// The running site.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its networks.
    pub(crate) network: Network,
    /// HAProxy on `lb`.
    pub(crate) balancer: Haproxy,
    /// nginx on `web1` and `web2`.
    pub(crate) web: [Nginx; 2],
    /// MariaDB that is written.
    pub(crate) primary: MariaDb,
    /// MariaDB that is read.
    pub(crate) replica: MariaDb,
    /// Prometheus.
    pub(crate) prometheus: Prometheus,
    /// sshd on every server, by its name.
    pub(crate) sshd: BTreeMap<&'static str, Sshd>,
    /// What a client must trust.
    pub(crate) trusted: PathBuf,
    /// dnsmasq on `services`.
    pub(crate) resolver: Dnsmasq,
    _others: Vec<Process>,
}

impl Site {
    /// Starts every program, as many at once as depend on nothing.
    pub(crate) fn start(network: Network) -> Result<Self> {
        let certificate = Certificate::self_signed(network.lab().directory(), NAME)?;
        let lan = &network;
        let (databases, front, sshd, helpers) = thread::scope(|scope| {
            let databases = scope.spawn(|| databases(lan));
            let front = scope.spawn(|| front(lan, &certificate));
            let sshd = scope.spawn(|| sshds(lan));
            let helpers = scope.spawn(|| helpers(lan));
            (join(databases), join(front), join(sshd), join(helpers))
        });
        let (primary, replica) = databases?;
        let (balancer, web) = front?;
        let (resolver, prometheus, mut others) = helpers?;
        for server in [APP1, APP2] {
            others.push(app(lan.host(server.name))?);
        }
        for (name, at) in [("client", VIP), ("admin", VIP)] {
            lan.host(name).name_address(&at.v4.to_string(), NAME)?;
            lan.host(name).name_address(&at.v6.to_string(), NAME)?;
        }
        for server in SERVERS {
            let resolver = resolver_of(&server);
            lan.host(server.name).write("/etc/resolv.conf", format!("nameserver {resolver}\n"))?;
        }
        Ok(Self {
            network,
            balancer,
            web,
            primary,
            replica,
            prometheus,
            sshd: sshd?,
            trusted: certificate.certificate,
            resolver,
            _others: others,
        })
    }

    /// A host by its name.
    pub(crate) fn host(&self, name: &str) -> &Host {
        self.network.host(name)
    }

    /// Starts the nginx of a web server again, after it was stopped.
    pub(crate) fn restart_web(&mut self, number: usize) -> Result<()> {
        let host = self.web[number].process().host().clone();
        self.web[number] = nginx(&host)?;
        Ok(())
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The primary, its schema, and the replica that follows it over IPv6.
fn databases(network: &Network) -> Result<(MariaDb, MariaDb)> {
    let numbered = |server_id, options: &[&str]| Database {
        server_id,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Database::default()
    };
    let primary = MariaDb::start(network.host(PRIMARY.name), &numbered(1, &[]))?;
    let replica = MariaDb::start(network.host(REPLICA.name), &numbered(2, &["--read-only=1"]))?;
    primary.sql(&format!(
        "CREATE DATABASE site; \
         CREATE TABLE site.notes (id BIGINT AUTO_INCREMENT PRIMARY KEY, body TEXT) CHARSET utf8mb4; \
         CREATE USER app@'%' IDENTIFIED BY '{APP_PASSWORD}'; \
         GRANT SELECT, INSERT ON site.* TO app@'%'; \
         CREATE USER replica@'%' IDENTIFIED BY '{REPLICA_PASSWORD}'; \
         GRANT REPLICATION SLAVE ON *.* TO replica@'%'; \
         INSERT INTO site.notes (body) VALUES ('the first note')"
    ))?;
    replica.sql(&format!(
        "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {}, MASTER_USER = 'replica', \
         MASTER_PASSWORD = '{REPLICA_PASSWORD}', MASTER_USE_GTID = slave_pos, \
         MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1; START SLAVE",
        PRIMARY.at.v6,
        port::SQL,
    ))?;
    catch_up(&primary, &replica)?;
    Ok((primary, replica))
}

/// Waits until the replica has everything that the primary has now. Asks with
/// `SHOW`: a `SELECT` would be among the commands that are counted.
pub(crate) fn catch_up(primary: &MariaDb, replica: &MariaDb) -> Result<()> {
    let place = |database: &MariaDb, variable: &str| -> Result<String> {
        let row = database.sql(&format!("SHOW GLOBAL VARIABLES LIKE '{variable}'"))?;
        Ok(row.trim().rsplit('\t').next().unwrap_or_default().to_owned())
    };
    let wanted = place(primary, "gtid_binlog_pos")?;
    let start = Instant::now();
    loop {
        let reached = place(replica, "gtid_slave_pos")?;
        if reached == wanted {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            let status = replica.sql("SHOW SLAVE STATUS").unwrap_or_default();
            bail!("the replica is at {reached} after {LIMIT:?}, the primary at {wanted}\n{status}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// HAProxy and both nginx. Half of the traffic between them is IPv6.
fn front(network: &Network, certificate: &Certificate) -> Result<(Haproxy, [Nginx; 2])> {
    let web = [nginx(network.host(WEB1.name))?, nginx(network.host(WEB2.name))?];
    let host = network.host(LB.name);
    let bundle = Haproxy::bundle(host, certificate)?;
    let (v4, v6) = (VIP.v4, VIP.v6);
    let sections = format!(
        "frontend redirect\n  bind {v4}:80\n  bind [{v6}]:80\n  \
         http-request redirect scheme https code 301\n\
         frontend www\n  bind {v4}:443 ssl crt {bundle} alpn h2,http/1.1\n  \
         bind [{v6}]:443 ssl crt {bundle} alpn h2,http/1.1\n  \
         option forwardfor\n  default_backend web\n\
         backend web\n  balance roundrobin\n  option redispatch 1\n  retries 3\n  \
         default-server check inter 500ms fall 2 rise 1\n  \
         server web1 {}\n  server web2 {}\n\
         frontend stats\n  bind {}\n  stats uri /\n  \
         http-request use-service prometheus-exporter if {{ path /metrics }}\n",
        WEB1.at.v4_port(80),
        WEB2.at.v6_port(80),
        LB.at.v4_port(port::HAPROXY),
    );
    Ok((Haproxy::start(host, &[80, 443, port::HAPROXY], &sections)?, web))
}

/// nginx: proxies to both applications, one of them over IPv6; one large page of
/// its own.
fn nginx(host: &Host) -> Result<Nginx> {
    let directory = host.directory().join("nginx");
    let logs = directory.display();
    let pages = Pages {
        http: format!(
            "upstream app {{ server {}; server {}; keepalive 32; }}\n\
             log_format upstream '$upstream_addr';\n\
             server {{ listen 127.0.0.1:{}; access_log off; location = /counts {{ stub_status; }} }}",
            APP1.at.v4_port(port::APP),
            APP2.at.v6_port(port::APP),
            port::NGINX_COUNTS,
        ),
        server: format!(
            "access_log {logs}/access.log lab;\n\
             access_log {logs}/upstream.log upstream if=$upstream_addr;\n\
             location / {{ proxy_pass http://app; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_ignore_client_abort on;\n\
             proxy_connect_timeout 2s; }}\n\
             location = /large {{ }}"
        ),
        ..Pages::default()
    };
    std::fs::create_dir_all(directory.join("pages"))?;
    std::fs::write(directory.join("pages/large"), "x".repeat(LARGE))?;
    Nginx::start(host, &pages)
}

/// The application: writes to the primary over IPv4, reads from the replica over
/// IPv6.
fn app(host: &Host) -> Result<Process> {
    let mut command = Command::new(lab::beside("demo-server")?);
    command
        .arg("app")
        .env("APP_NAME", host.name())
        .env("APP_LISTEN", format!("[::]:{}", port::APP))
        .env("APP_STATUS", format!("127.0.0.1:{}", port::APP_COUNTS))
        .env("APP_READS", REPLICA.at.v6_port(port::SQL).to_string())
        .env("APP_WRITES", PRIMARY.at.v4_port(port::SQL).to_string())
        .env("APP_DATABASE", "site")
        .env("APP_USER", "app")
        .env("APP_PASSWORD", APP_PASSWORD);
    let app = host.spawn("app", &mut command)?;
    app.wait_listening(&[Socket::Tcp(port::APP), Socket::Tcp(port::APP_COUNTS)], LIMIT)?;
    Ok(app)
}

fn sshds(network: &Network) -> Result<BTreeMap<&'static str, Sshd>> {
    SERVERS.iter().map(|one| Ok((one.name, Sshd::start(network.host(one.name), 22)?))).collect()
}

/// Resolver, time server, Prometheus, and those who listen only to be reached.
fn helpers(network: &Network) -> Result<(Dnsmasq, Prometheus, Vec<Process>)> {
    let services = network.host("services");
    let names = [
        (NAME, IpAddr::from(VIP.v4)),
        (NAME, IpAddr::from(VIP.v6)),
        ("db.foobar.com", IpAddr::from(PRIMARY.at.v4)),
    ];
    let resolver = Dnsmasq::start(services, &[RESOLVER.v4.into(), RESOLVER.v6.into()], &names)?;
    let own = |host: &Host, name: &str, arguments: &[String], wait: &[Socket]| {
        let mut command = Command::new(lab::beside("demo-server")?);
        let process = host.spawn(name, command.args(arguments))?;
        process.wait_listening(wait, LIMIT)?;
        Ok::<_, anyhow::Error>(process)
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let time = format!("ntp {} {}", TIME.v4_port(123), TIME.v6_port(123));
    let others = vec![
        own(services, "ntp", &words(&time), &[Socket::Udp(123)])?,
        own(services, "sink", &words("sink 443 3142"), &[Socket::Tcp(443), Socket::Tcp(3142)])?,
        own(
            network.host("world"),
            "sink",
            &words("sink 22 80 443 3306 53/udp 123/udp"),
            &[Socket::Tcp(443), Socket::Udp(53)],
        )?,
        own(network.host("router"), "metadata", &words("sink 80"), &[Socket::Tcp(80)])?,
    ];
    let agents: Vec<SocketAddr> = SERVERS.iter().map(scraped).collect();
    let jobs = [("firewall", agents), ("haproxy", vec![LB.at.v4_port(port::HAPROXY)])];
    let prometheus = Prometheus::start(network.host(PROMETHEUS.name), port::PROMETHEUS, &jobs)?;
    Ok((resolver, prometheus, others))
}

/// Where a server asks for names: some over IPv6.
pub(crate) fn resolver_of(server: &Server) -> IpAddr {
    match *server {
        plan::WEB2 | plan::APP2 | plan::REPLICA => RESOLVER.v6.into(),
        _ => RESOLVER.v4.into(),
    }
}

/// Where Prometheus finds an agent: every other one over IPv6, its own on the
/// loopback, which no firewall sees.
pub(crate) fn scraped(server: &Server) -> SocketAddr {
    match *server {
        plan::PROMETHEUS => SocketAddr::from(([127, 0, 0, 1], port::METRICS)),
        plan::WEB2 | plan::APP2 | plan::REPLICA => server.at.v6_port(port::METRICS),
        _ => server.at.v4_port(port::METRICS),
    }
}

/// Loads a page as the client, over a family (`-4`, `-6`); returns its body.
pub(crate) fn page(site: &Site, family: &str, path: &str) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "--max-time", "5", family, "--cacert"]).arg(&site.trusted);
    site.host("client").check(curl.arg(format!("https://{NAME}{path}")))
}

/// Runs a line of shell on a server, from the bastion by ssh.
pub(crate) fn ssh(site: &Site, server: &Server, script: &str) -> Result<String> {
    let sshd = &site.sshd[server.name];
    let mut command = sshd.client(&server.at.v4.to_string(), script);
    let text = site.host(BASTION.name).check(&mut command)?;
    ensure!(!text.is_empty(), "{} said nothing", server.name);
    Ok(text)
}
