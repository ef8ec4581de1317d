//! HAProxy: frontends and backends as its own configuration language says them,
//! and its counters, which are exact.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Certificate, START_LIMIT};
use crate::gate;
use crate::host::{Host, Socket};
use crate::process::Process;

const ADMIN: &str = "/run/haproxy/admin.sock";
/// Longest time the stats socket may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    process: Process,
}

/// One row of `show stat`: a frontend, a backend or a server of one.
pub(crate) type Counters = HashMap<String, String>;

impl Haproxy {
    /// Starts HAProxy and waits until it listens on `ports`. `sections` are the
    /// frontends and backends; global settings and time-outs stand above them.
    ///
    /// # Errors
    ///
    /// If it is not installed, or does not start; the message holds its log.
    pub fn start(host: &Host, ports: &[u16], sections: &str) -> Result<Self> {
        let program = gate::tool("haproxy", "haproxy")?;
        let directory = host.directory().join("haproxy");
        std::fs::create_dir_all(&directory)?;
        let configuration = directory.join("haproxy.cfg");
        std::fs::write(
            &configuration,
            format!(
                "global\n  stats socket {ADMIN} mode 600 level admin\n  maxconn 4000\n\
                 defaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  \
                 timeout server 30s\n  timeout http-keep-alive 30s\n{sections}\n"
            ),
        )?;
        let above = Path::new(ADMIN).parent().unwrap_or(Path::new("/"));
        host.enter(|| std::fs::create_dir_all(above))?.context("cannot create /run/haproxy")?;
        let mut command = Command::new(program);
        command.args(["-db", "-f"]).arg(&configuration);
        let process = host.spawn("haproxy", &mut command)?;
        let sockets: Vec<_> = ports.iter().map(|port| Socket::Tcp(*port)).collect();
        process.wait_listening(&sockets, START_LIMIT)?;
        process.wait_listening(&[Socket::Unix(ADMIN)], START_LIMIT)?;
        Ok(Self { process })
    }

    /// The certificate and its key in one file, as HAProxy wants them.
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the new one not written.
    pub fn bundle(host: &Host, certificate: &Certificate) -> Result<String> {
        let both = [
            std::fs::read_to_string(&certificate.certificate)?,
            std::fs::read_to_string(&certificate.key)?,
        ];
        let path = "/run/haproxy/site.pem";
        host.write(path, both.concat())?;
        Ok(path.to_owned())
    }

    /// The process, for instance to read its log or kill it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sends a line to the admin socket and returns the answer.
    ///
    /// # Errors
    ///
    /// If HAProxy does not answer.
    pub fn admin(&self, line: &str) -> Result<String> {
        let mut answer = String::new();
        let mut talk = || -> std::io::Result<()> {
            let mut stream = UnixStream::connect(self.process.host().path(ADMIN))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(format!("{line}\n").as_bytes())?;
            stream.read_to_string(&mut answer)?;
            Ok(())
        };
        talk().with_context(|| format!("haproxy does not answer `{line}`"))?;
        Ok(answer)
    }

    /// The counters of a frontend (`FRONTEND`), a backend (`BACKEND`) or a server.
    ///
    /// # Errors
    ///
    /// If there is no such row.
    pub fn counters(&self, proxy: &str, service: &str) -> Result<Counters> {
        let table = self.admin("show stat")?;
        row(&table, proxy, service)
            .with_context(|| format!("haproxy has no row {proxy}/{service}:\n{table}"))
    }
}

/// A row of `show stat`, by the names of its columns.
fn row(table: &str, proxy: &str, service: &str) -> Option<Counters> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
    let fields = lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&proxy) && fields.get(1) == Some(&service))?;
    let pair = |(name, field): (&&str, &str)| ((*name).to_owned(), field.to_owned());
    Some(names.iter().zip(fields).map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_proxy_and_service() {
        let table = "# pxname,svname,req_tot,\nwww,FRONTEND,12,\nweb,web1,,\nweb,BACKEND,7,\n";
        assert_eq!(row(table, "web", "BACKEND").unwrap()["req_tot"], "7");
        assert_eq!(row(table, "www", "FRONTEND").unwrap()["req_tot"], "12");
        assert!(row(table, "web", "web2").is_none() && row("", "web", "web1").is_none());
    }
}
