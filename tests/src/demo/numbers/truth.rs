//! What the servers themselves counted.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::demo::plan::{APP1, APP2, WEB1, port};
use crate::demo::site::Site;
use crate::host::Host;
use crate::servers::{Haproxy, MariaDb, Nginx};

/// Every count, since the server started or between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Truth {
    /// TLS sessions of HAProxy's public frontend.
    pub(super) tls_sessions: u64,
    /// Requests of the frontend that only redirects.
    pub(super) redirected: u64,
    /// Requests that HAProxy gave to the web servers.
    pub(super) balanced: u64,
    /// Of each nginx.
    pub(super) web: [Web; 2],
    /// Requests of each application.
    pub(super) app: [u64; 2],
    /// Commands of clients on the primary.
    pub(super) written: u64,
    /// Commands of clients on the replica.
    pub(super) read: u64,
    /// DNS queries of `web1`.
    pub(super) queries: u64,
}

/// What an nginx logged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Web {
    /// Lines of the access log.
    pub(super) requests: u64,
    /// Requests that its status page counts, that for the page itself left out.
    pub(super) handled: u64,
    /// Requests to an application: one for each address in the upstream log.
    pub(super) proxied: u64,
}

impl Truth {
    /// Asks everybody.
    pub(super) fn read(site: &Site) -> Result<Self> {
        let [web1, web2] = &site.web;
        let app = |name| requests(site.host(name)).with_context(|| format!("{name}: its counts"));
        Ok(Self {
            tls_sessions: count(&site.balancer, "www", "FRONTEND", "ssl_sess")?,
            redirected: count(&site.balancer, "redirect", "FRONTEND", "req_tot")?,
            balanced: count(&site.balancer, "web", "BACKEND", "req_tot")?,
            web: [logged(web1)?, logged(web2)?],
            app: [app(APP1.name)?, app(APP2.name)?],
            written: commands(&site.primary, &WRITTEN)?,
            read: commands(&site.replica, &READ)?,
            queries: queries(&site.resolver.process().log(), &WEB1.at.v4.to_string()),
        })
    }

    /// What was added since `before`.
    pub(super) fn since(self, before: &Self) -> Self {
        let web = |n: usize| Web {
            requests: self.web[n].requests - before.web[n].requests,
            // This question is a request, too.
            handled: self.web[n].handled - before.web[n].handled - 1,
            proxied: self.web[n].proxied - before.web[n].proxied,
        };
        Self {
            tls_sessions: self.tls_sessions - before.tls_sessions,
            redirected: self.redirected - before.redirected,
            balanced: self.balanced - before.balanced,
            web: [web(0), web(1)],
            app: [self.app[0] - before.app[0], self.app[1] - before.app[1]],
            written: self.written - before.written,
            read: self.read - before.read,
            queries: self.queries - before.queries,
        }
    }
}

fn count(balancer: &Haproxy, proxy: &str, service: &str, column: &str) -> Result<u64> {
    let row = balancer.counters(proxy, service)?;
    let value = row.get(column).with_context(|| format!("haproxy has no column {column}"))?;
    value.parse().with_context(|| format!("{proxy}/{service} {column}: `{value}`"))
}

fn logged(nginx: &Nginx) -> Result<Web> {
    let log = std::fs::read_to_string(nginx.access_log().with_file_name("upstream.log"))?;
    let status = asked(nginx.process().host(), port::NGINX_COUNTS)?;
    let handled = handled(&status).with_context(|| format!("nginx says `{status}`"))?;
    Ok(Web { requests: nginx.requests()?, handled, proxied: proxied(&log) })
}

/// The third number of the line of three: requests.
fn handled(status: &str) -> Option<u64> {
    let mut lines = status.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = lines
        .find(|words| words.len() == 3 && words.iter().all(|word| word.parse::<u64>().is_ok()))?;
    counts.last()?.parse().ok()
}

/// Addresses in an upstream log: a request that was tried twice has two.
fn proxied(log: &str) -> u64 {
    log.lines().map(|line| line.split(", ").count() as u64).sum()
}

/// What the application counted.
fn requests(host: &Host) -> Result<u64> {
    let answer = asked(host, port::APP_COUNTS)?;
    let line = answer.lines().find_map(|line| line.strip_prefix("requests "));
    line.and_then(|count| count.parse().ok()).with_context(|| format!("it says `{answer}`"))
}

/// What a server says of itself, asked on the loopback, which no firewall sees.
fn asked(host: &Host, port: u16) -> Result<String> {
    let mut answer = String::new();
    let ask = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /counts HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut answer)?;
        Ok(())
    };
    host.enter(ask)??;
    Ok(answer)
}

/// What the application may do on the primary. `Com_show_status` is not among it:
/// that is this reading itself, over the Unix socket.
const WRITTEN: [&str; 2] = ["Com_select", "Com_insert"];
/// What it may do on the replica, which is read-only: `Com_insert` there counts
/// the rows of replication, which are no commands of anybody's.
const READ: [&str; 1] = ["Com_select"];

/// The sum of these counters, and of all that nobody should move.
fn commands(database: &MariaDb, counted: &[&str]) -> Result<u64> {
    let text = database.sql("SHOW GLOBAL STATUS LIKE 'Com\\_%'")?;
    let value = |line: &str| {
        let (name, value) = line.split_once('\t')?;
        let ours = counted.contains(&name) || NOBODYS.contains(&name);
        ours.then(|| value.parse::<u64>().ok())?
    };
    Ok(text.lines().filter_map(value).sum())
}

/// What is sent by nobody here, but would be a command.
const NOBODYS: [&str; 4] = ["Com_update", "Com_delete", "Com_set_option", "Com_stmt_execute"];

/// Queries of a client in dnsmasq's log: `query[A] www.foobar.com from 10.0.2.11`.
fn queries(log: &str, client: &str) -> u64 {
    let from = format!(" from {client}");
    log.lines().filter(|line| line.contains("query[") && line.ends_with(&from)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_tried_twice_was_sent_twice() {
        assert_eq!(proxied("10.0.3.11:8080\n10.0.3.11:8080, [fd00::1]:8080\n"), 3);
        assert_eq!(proxied(""), 0);
    }

    #[test]
    fn the_status_page_of_nginx_is_read() {
        let page = "HTTP/1.1 200 OK\r\n\r\nActive connections: 2 \nserver accepts handled requests\n \
            7 7 31070 \nReading: 0 Writing: 1 Waiting: 1 \n";
        assert_eq!((handled(page), handled("Active connections: 2")), (Some(31_070), None));
    }

    #[test]
    fn queries_are_told_apart_by_client() {
        let log = "dnsmasq[1]: query[A] x from 10.0.2.11\ndnsmasq[1]: reply x is y\n\
            dnsmasq[1]: query[AAAA] x from 10.0.2.1\n";
        assert_eq!(queries(log, "10.0.2.11"), 1);
    }
}
