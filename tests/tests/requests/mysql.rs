//! MySQL in clear, beside the server's own counters.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::pair::{self, Pair};
use firewall_tests::servers::{Database, MariaDb};

use crate::loss::AGAIN;
use crate::mysql_client::{Client, PING, QUERY, command};

pub(crate) const POLICY: &str = "\
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups: { admin: [198.51.100.5, \"2001:db8:2::5\"], app: [198.51.100.20, \"2001:db8:2::20\"] }
services:
  ssh: { tcp: 22 }
  mysql: { tcp: 3306, count: mysql }
failsafe: { ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ] }
ingress: { allow: [ { name: mysql, from: app, service: mysql } ] }
egress: { allow: [] }
";

/// The same for a host that asks.
const OUTWARD: &str = "\
interfaces: { match: [\"eth*\"] }
default: { ingress: drop, egress: drop }
groups: { admin: [198.51.100.5, \"2001:db8:2::5\"], database: [192.0.2.10, \"2001:db8:1::10\"] }
services:
  ssh: { tcp: 22 }
  mysql: { tcp: 3306, count: mysql }
failsafe: { ingress: [ { name: failsafe-ssh, from: admin, service: ssh } ] }
ingress: { allow: [] }
egress: { allow: [ { name: mysql, to: database, service: mysql } ] }
";

/// MariaDB, and a firewall in front of it or of those who ask.
pub(crate) struct Guarded {
    pub(crate) database: MariaDb,
    pub(crate) firewall: Firewall,
    /// The direction in which that firewall sees commands.
    pub(crate) way: &'static str,
    /// How long what a load has sent last may be under way.
    pub(crate) quiet: Duration,
    pub(crate) pair: Pair,
}

/// What the server and the firewall have counted of one load.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) server: BTreeMap<&'static str, u64>,
    pub(crate) firewall: BTreeMap<String, u64>,
}

/// [`Guarded::quiet`] where nothing is lost.
pub(crate) const QUIET: Duration = Duration::from_millis(100);

const STATUS: [&str; 4] = ["Questions", "Com_select", "Com_stmt_execute", "Com_stmt_prepare"];

impl Guarded {
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::on(Pair::new(name)?)
    }

    pub(crate) fn on(pair: Pair) -> Result<Self> {
        let options = vec!["--max-allowed-packet=64M".into(), "--skip-ssl".into()];
        Self::with(pair, &Database { options, ..Database::default() })
    }

    /// With the firewall on the host that asks.
    fn outward(name: &str) -> Result<Self> {
        let Self { database, firewall, pair, .. } = Self::new(name)?;
        firewall.check(&["detach", "--all"])?;
        let firewall = Firewall::with_policy(&pair.client, OUTWARD)?;
        Ok(Self { database, firewall, way: "egress", quiet: QUIET, pair })
    }

    pub(crate) fn with(pair: Pair, database: &Database) -> Result<Self> {
        let database = MariaDb::start(&pair.server, database)?;
        database.sql(
            "CREATE USER 'app'@'%' IDENTIFIED BY ''; GRANT ALL ON *.* TO 'app'@'%'; \
             CREATE DATABASE sbtest",
        )?;
        let firewall = Firewall::with_policy(&pair.server, POLICY)?;
        Ok(Self { database, firewall, way: "ingress", quiet: QUIET, pair })
    }

    /// One query over the Unix socket, so that reading moves the counters by a known
    /// amount: a question, and another one for leaving.
    fn status(&self) -> Result<BTreeMap<&'static str, u64>> {
        let rows = self.database.sql("SHOW GLOBAL STATUS")?;
        let value = |name: &&'static str| -> Result<_> {
            let found = rows.lines().find_map(|row| row.strip_prefix(&format!("{name}\t")));
            Ok((*name, found.with_context(|| format!("no {name}"))?.parse()?))
        };
        STATUS.iter().map(value).collect()
    }

    /// Runs a load, of which every question must have been counted.
    pub(crate) fn count(&self, what: &str, load: impl FnOnce() -> Result<()>) -> Result<Counted> {
        let counted = self.measure(what, load)?;
        let right = counted.seen() == counted.questions() && counted.requests() > 0;
        ensure!(right, "{what}: {counted:?}");
        for name in ["gaps", "resyncs"] {
            ensure!(counted.firewall[name] == 0, "{what}: {name}: {counted:?}");
        }
        Ok(counted)
    }

    /// Runs a load, and returns what both have counted of it.
    pub(crate) fn measure(&self, what: &str, load: impl FnOnce() -> Result<()>) -> Result<Counted> {
        let start = Instant::now();
        let (before, counters) = (self.status()?, self.firewall.counters()?);
        load()?;
        std::thread::sleep(self.quiet);
        let since = self.firewall.counters()?.since(&counters);
        let after = self.status()?;
        let server: BTreeMap<_, _> =
            STATUS.iter().map(|name| (*name, after[name] - before[name])).collect();
        let counted = Counted { server, firewall: since.rule(self.way, "mysql").requests };
        let (seen, questions) = (counted.seen(), counted.questions());
        eprintln!(
            "{what}: {questions} questions at the server, {seen} counted, difference {}; {} requests, \
             {} prepared, {} suspect, {:.1?}",
            i128::from(seen) - i128::from(questions),
            counted.requests(),
            counted.firewall["mysql_stmt_prepare"],
            counted.firewall["suspects"],
            start.elapsed()
        );
        Ok(counted)
    }

    pub(crate) fn sysbench(&self, test: &str, options: &[&str], step: &str) -> Result<Command> {
        let mut command = Command::new(gate::tool("sysbench", "sysbench")?);
        command.args([test, "--db-driver=mysql", "--mysql-host=192.0.2.10", "--mysql-user=app"]);
        command.args(["--mysql-password=", "--mysql-db=sbtest", "--tables=1", "--table-size=500"]);
        command.args(["--threads=4", "--time=2"]).args(options).arg(step);
        Ok(command)
    }
}

impl Counted {
    /// `COM_QUERY` and `COM_STMT_EXECUTE`.
    pub(crate) fn requests(&self) -> u64 {
        self.firewall["mysql_query"] + self.firewall["mysql_stmt_execute"]
    }

    /// What the server calls questions, seen from outside: leaving and choosing a
    /// database are two of them, pings and preparations none.
    pub(crate) fn seen(&self) -> u64 {
        self.requests() + self.firewall["mysql_quit"] + self.firewall["mysql_init_db"]
    }

    /// The same by the server, less the two by which this is read.
    pub(crate) fn questions(&self) -> u64 {
        self.server["Questions"] - 2
    }
}

#[test]
fn statements_are_counted_exactly_as_text_and_prepared() -> Result<()> {
    let guarded = Guarded::new("mysql")?;
    let client = &guarded.pair.client;
    client.check(&mut guarded.sysbench("oltp_read_write", &[], "prepare")?)?;
    for (test, mode) in [
        ("oltp_point_select", "disable"),
        ("oltp_point_select", "auto"),
        ("oltp_read_write", "disable"),
        ("oltp_read_write", "auto"),
    ] {
        let mode = format!("--db-ps-mode={mode}");
        let counted = guarded.count(&format!("sysbench {test} {mode}"), || {
            client.check(&mut guarded.sysbench(test, &[&mode], "run")?).map(drop)
        })?;
        let (server, firewall) = (&counted.server, &counted.firewall);
        assert_eq!(firewall["mysql_stmt_execute"], server["Com_stmt_execute"], "{counted:?}");
        assert_eq!(firewall["mysql_stmt_prepare"], server["Com_stmt_prepare"], "{counted:?}");
    }
    let slap = gate::tool("mariadb-slap", "mariadb-client")?;
    guarded.count("mariadb-slap, mixed, IPv6", || {
        let mut command = Command::new(slap);
        command.args(["--no-defaults", "--host=2001:db8:1::10", "--user=app", "--protocol=tcp"]);
        command.args(["--auto-generate-sql", "--auto-generate-sql-load-type=mixed"]);
        command.args(["--concurrency=4", "--number-of-queries=1000", "--create-schema=slap"]);
        client.check(&mut command).map(drop)
    })?;
    Ok(())
}

#[test]
fn statements_are_counted_exactly_on_their_way_out() -> Result<()> {
    let mut guarded = Guarded::outward("mysql-out")?;
    guarded.quiet = AGAIN;
    let Pair { server, client, .. } = &guarded.pair;
    client.check(&mut guarded.sysbench("oltp_read_write", &[], "prepare")?)?;
    for lost in [0, 1] {
        server.sh(&format!(
            "nft flush ruleset; nft add table inet lossy; \
             nft add chain inet lossy input '{{ type filter hook input priority 0; }}'; \
             nft add rule inet lossy input tcp dport 3306 numgen random mod 100 '<' {lost} drop"
        ))?;
        for mode in ["disable", "auto"] {
            let mode = format!("--db-ps-mode={mode}");
            guarded.count(&format!("out, {lost} % lost behind: sysbench {mode}"), || {
                let options = [&mode, "--threads=16"];
                client.check(&mut guarded.sysbench("oltp_read_write", &options, "run")?).map(drop)
            })?;
        }
    }
    // A statement of 20 MB leaves as super-packets, some of them twice.
    let counted = guarded.count("out, 1 % lost behind: 20 MB", || {
        let mut client = Client::login(client, pair::server(3306)[1], "app")?;
        client.send(&imitation(20_000_000))?;
        client.done()
    })?;
    assert_eq!(counted.requests(), 1, "{counted:?}");
    Ok(())
}

#[test]
fn statements_are_counted_exactly_whatever_is_lost() -> Result<()> {
    gate::tool("nft", "nftables")?;
    let mut guarded = Guarded::new("mysql-lossy")?;
    guarded.quiet = AGAIN;
    let Pair { server, client, .. } = &guarded.pair;
    client.check(&mut guarded.sysbench("oltp_read_write", &[], "prepare")?)?;
    let lose = |hook: &str| {
        format!(
            "nft add table inet lossy; \
             nft add chain inet lossy {hook} '{{ type filter hook {hook} priority 0; }}'; \
             nft add rule inet lossy {hook} tcp dport 3306 numgen random mod 100 == 0 drop"
        )
    };
    for (host, hook) in [(server, "input"), (client, "output")] {
        host.sh(&lose(hook))?;
        guarded.count(
            &format!("sysbench oltp_read_write, 1 % lost at {}'s {hook}", host.name()),
            || {
                let options = ["--db-ps-mode=disable", "--threads=16"];
                client.check(&mut guarded.sysbench("oltp_read_write", &options, "run")?).map(drop)
            },
        )?;
        host.sh("nft delete table inet lossy")?;
    }
    Ok(())
}

#[test]
fn long_statements_that_imitate_packets_count_once_each() -> Result<()> {
    let guarded = Guarded::new("mysql-long")?;
    let [v4, v6] = pair::server(3306);
    for (what, to, length, times) in [
        ("200 KB", v4, 200_000, 60),
        ("200 KB on IPv6", v6, 200_000, 30),
        ("20 MB", v4, 20_000_000, 2),
    ] {
        let counted = guarded.count(&format!("{times} statements of {what}"), || {
            let mut client = Client::login(&guarded.pair.client, to, "app")?;
            for _ in 0..times {
                client.send(&imitation(length))?;
                client.done()?;
            }
            Ok(())
        })?;
        assert_eq!(counted.requests(), times, "{counted:?}");
    }
    Ok(())
}

/// A statement full of headers of five bytes with sequence number 0, and of
/// `COM_QUERY` behind them.
fn imitation(length: usize) -> Vec<u8> {
    let bytes = [5, 1, 1, 0, 3, b'a', 1, 0, 0, 0, 3].into_iter().cycle();
    let mut text = b"DO LENGTH('".to_vec();
    text.extend(bytes.take(length));
    text.extend(b"')");
    command(QUERY, &text)
}

#[test]
fn headers_cut_in_two_and_many_packets_at_once_are_counted_exactly() -> Result<()> {
    let guarded = Guarded::new("mysql-cut")?;
    let query = command(QUERY, b"DO 1");
    let counted = guarded.count("headers cut at every place", || {
        for to in pair::server(3306) {
            let mut client = Client::login(&guarded.pair.client, to, "app")?;
            for place in 1..query.len() {
                client.send_cut(&query, place)?;
                client.done()?;
            }
        }
        Ok(())
    })?;
    assert_eq!(counted.requests(), 2 * (query.len() as u64 - 1), "{counted:?}");

    // As many as the datapath reads of one segment.
    let pings = command(PING, b"").repeat(64);
    let counted = guarded.count("64 packets in one segment, then a question", || {
        let mut client = Client::login(&guarded.pair.client, pair::server(3306)[0], "app")?;
        client.send(&pings)?;
        (0..64).try_for_each(|_| client.done())?;
        client.send(&query)?;
        client.done()
    })?;
    assert_eq!((counted.firewall["mysql_ping"], counted.requests()), (64, 1), "{counted:?}");
    Ok(())
}

#[test]
fn commands_are_counted_by_their_names() -> Result<()> {
    let guarded = Guarded::new("mysql-names")?;
    let client = &guarded.pair.client;
    let admin = gate::tool("mariadb-admin", "mariadb-client")?;
    let counted = guarded.count("mariadb-admin and mariadb-dump", || {
        let mut command = Command::new(admin);
        command.args(["--no-defaults", "--protocol=tcp", "--user=app", "--host=192.0.2.10"]);
        client.check(command.args(["ping", "ping", "status", "processlist"]))?;
        client.sh("mariadb-dump --no-defaults --protocol=tcp --user=app --host=2001:db8:1::10 mysql >/dev/null")?;
        Ok(())
    })?;
    let firewall = &counted.firewall;
    assert_eq!((firewall["mysql_ping"], firewall["mysql_quit"]), (2, 2), "{counted:?}");
    // COM_STATISTICS; and mariadb-dump chooses its database twice.
    assert_eq!(firewall["mysql_other"], 1, "{counted:?}");
    assert!(firewall["mysql_init_db"] > 0, "{counted:?}");
    Ok(())
}
