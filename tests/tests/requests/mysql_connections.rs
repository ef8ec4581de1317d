//! MySQL connections of other kinds, and a firewall that comes and changes while
//! they last.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::pair::{self, Pair};
use firewall_tests::servers::{Certificate, Database, Haproxy, MariaDb};

use crate::mysql::{Guarded, POLICY, QUIET};
use crate::mysql_client::{Client, QUERY, command};

#[test]
fn a_replica_is_one_dump_however_long_it_listens() -> Result<()> {
    let pair = Pair::new("mysql-replica")?;
    let guarded = Guarded::with(pair, &Database { server_id: 1, ..Database::default() })?;
    let primary = &guarded.database;
    primary.sql("SET GLOBAL rpl_semi_sync_master_enabled = ON; CREATE TABLE sbtest.t (a INT)")?;
    let options = vec!["--rpl-semi-sync-slave-enabled=ON".into(), "--skip-ssl".into()];
    let database = Database { server_id: 2, options, ..Database::default() };
    let replica = MariaDb::start(&guarded.pair.client, &database)?;
    let follow = "CHANGE MASTER TO MASTER_HOST = '192.0.2.10', MASTER_USER = 'app', \
                  MASTER_CONNECT_RETRY = 1; START SLAVE";
    let counted = guarded.measure("a replica that acknowledges 100 writes", || {
        replica.sql(follow)?;
        for number in 0..100 {
            primary.sql(&format!("INSERT INTO sbtest.t VALUES ({number})"))?;
        }
        let start = Instant::now();
        while replica.sql("SELECT COUNT(*) FROM sbtest.t").ok().as_deref() != Some("100\n") {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "{}",
                replica.sql("SHOW SLAVE STATUS")?
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })?;
    // Each write came over the Unix socket, as a question and one for leaving. To
    // register and to ask for the dump are questions, too.
    let questions = counted.questions() - 2 * 100;
    let firewall = &counted.firewall;
    assert_eq!((firewall["mysql_binlog_dump"], firewall["mysql_other"]), (1, 1), "{counted:?}");
    assert_eq!(counted.seen() + 2, questions, "{counted:?}");
    assert_eq!((firewall["gaps"], firewall["resyncs"]), (0, 0), "{counted:?}");
    let acknowledged = primary.status("Rpl_semi_sync_master_yes_tx")?;
    assert!(acknowledged > 50, "{acknowledged} acknowledgements came by, which are no commands");
    Ok(())
}

#[test]
fn connections_that_cannot_be_read_are_counted_as_such() -> Result<()> {
    let pair = Pair::new("mysql-opaque")?;
    let certificate = Certificate::self_signed(pair.lab.directory(), "db.example.com")?;
    let options = vec![
        format!("--ssl-cert={}", certificate.certificate.display()),
        format!("--ssl-key={}", certificate.key.display()),
    ];
    let guarded = Guarded::with(pair, &Database { options, ..Database::default() })?;
    let client = gate::tool("mariadb", "mariadb-client")?;
    for (option, metric) in [("--ssl", "mysql_tls"), ("--compress", "mysql_compressed")] {
        let counted = guarded.measure(option, || {
            for host in ["192.0.2.10", "2001:db8:1::10"] {
                let mut command = Command::new(&client);
                command.args(["--no-defaults", "--protocol=tcp", "--user=app", "--host", host]);
                command.args([option, "--execute", "DO 1; DO 2; DO 3"]);
                if option != "--ssl" {
                    command.arg("--skip-ssl");
                }
                guarded.pair.client.check(&mut command)?;
            }
            Ok(())
        })?;
        assert_eq!(counted.firewall[metric], 2, "{counted:?}");
        assert_eq!(counted.firewall.values().sum::<u64>(), 2, "nothing else: {counted:?}");
        assert!(counted.questions() >= 6, "{counted:?}");
    }
    Ok(())
}

/// Ports of a balancer, and how it speaks to the database.
const FRONTS: [(u16, &str); 2] = [(3307, "send-proxy"), (3308, "send-proxy-v2")];

#[test]
fn a_balancer_that_sends_a_proxy_header_hides_nothing() -> Result<()> {
    let pair = Pair::new("mysql-proxied")?;
    let certificate = Certificate::self_signed(pair.lab.directory(), "db.example.com")?;
    let options = vec![
        format!("--ssl-cert={}", certificate.certificate.display()),
        format!("--ssl-key={}", certificate.key.display()),
        "--proxy-protocol-networks=*".into(),
    ];
    let guarded = Guarded::with(pair, &Database { options, ..Database::default() })?;
    let client = gate::tool("mariadb", "mariadb-client")?;
    let listen = |(port, how)| {
        let server = format!("server db 192.0.2.10:3306 {how}");
        format!("listen db{port}\n  mode tcp\n  bind :{port}\n  {server}\n")
    };
    let sections: String = FRONTS.map(listen).concat();
    let _balancer = Haproxy::start(&guarded.pair.client, &FRONTS.map(|(port, _)| port), &sections)?;
    for (port, how) in FRONTS {
        let ask = |option: &str| {
            let mut command = Command::new(&client);
            command.args(["--no-defaults", "--protocol=tcp", "--user=app", "--host=127.0.0.1"]);
            command.args([&format!("--port={port}"), option, "--execute", "DO 1; DO 2; DO 3"]);
            if option == "--compress" {
                command.arg("--skip-ssl");
            }
            guarded.pair.client.check(&mut command).map(drop)
        };
        for (option, metric) in [("--ssl", "mysql_tls"), ("--compress", "mysql_compressed")] {
            let counted = guarded.measure(&format!("{how}, {option}"), || ask(option))?;
            assert_eq!(counted.firewall[metric], 1, "{counted:?}");
            assert_eq!(counted.firewall.values().sum::<u64>(), 1, "nothing else: {counted:?}");
        }
        guarded.count(&format!("{how}, in clear"), || ask("--skip-ssl"))?;
    }
    Ok(())
}

#[test]
fn connections_that_were_open_before_are_counted_from_their_next_command() -> Result<()> {
    let pair = Pair::new("mysql-before")?;
    let (database, open) = {
        let options = vec!["--skip-ssl".into()];
        let database = MariaDb::start(&pair.server, &Database { options, ..Database::default() })?;
        database.add_user("app", "")?;
        let login =
            |number: usize| Client::login(&pair.client, pair::server(3306)[number % 2], "app");
        (database, (0..16).map(login).collect::<Result<Vec<_>>>()?)
    };
    let query = command(QUERY, b"DO 1");
    let ask = |client: &mut Client| client.send(&query).and_then(|()| client.done());
    let mut open = open;
    open.iter_mut().try_for_each(ask)?;
    let firewall = Firewall::with_policy(&pair.server, POLICY)?;
    let guarded = Guarded { database, firewall, way: "ingress", quiet: QUIET, pair };
    let counted = guarded.count("16 connections from before the first policy", || {
        for _ in 0..20 {
            open.iter_mut().try_for_each(ask)?;
        }
        Ok(())
    })?;
    assert_eq!(counted.requests(), 16 * 20, "{counted:?}");
    Ok(())
}

#[test]
fn policies_and_agents_that_change_under_load_lose_no_command() -> Result<()> {
    let guarded = Guarded::new("mysql-reload")?;
    let Guarded { firewall, pair, .. } = &guarded;
    pair.client.check(&mut guarded.sysbench("oltp_read_write", &[], "prepare")?)?;
    let other = POLICY.replace(
        "egress: { allow: [] }",
        "egress: { allow: [ { name: out, to: admin, service: ssh } ] }",
    );
    guarded.count("sysbench oltp_read_write, while policies and agents change", || {
        let mut agent = firewall.agent()?;
        let options = ["--db-ps-mode=disable", "--time=5"];
        let mut command = guarded.sysbench("oltp_read_write", &options, "run")?;
        let load = pair.client.spawn("sysbench", &mut command)?;
        for round in 0..4 {
            firewall.enforce(if round % 2 == 0 { &other } else { POLICY })?;
            agent.kill()?;
            agent = firewall.agent()?;
        }
        let ended = load.wait(Duration::from_secs(30))?;
        ensure!(ended.success(), "{}", load.log());
        Ok(())
    })?;
    assert_eq!(firewall.generation()?, 5);
    Ok(())
}
