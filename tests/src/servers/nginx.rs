//! nginx: pages of one line, and an access log that is the truth for request
//! counts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Certificate, START_LIMIT};
use crate::gate;
use crate::host::{Host, Socket};
use crate::process::Process;

/// What nginx serves.
#[derive(Clone, Debug)]
pub struct Site {
    /// Plain ports, of both families.
    pub ports: Vec<u16>,
    /// TLS ports, of both families, and their certificate.
    pub tls: Option<(Vec<u16>, Certificate)>,
    /// Worker processes.
    pub workers: u32,
    /// More directives for the `server` block: locations, limits. A `location /`
    /// here replaces the page.
    pub server: String,
    /// More directives for the `http` block: upstreams, log formats.
    pub http: String,
}

impl Default for Site {
    fn default() -> Self {
        Self { ports: vec![80], tls: None, workers: 1, server: String::new(), http: String::new() }
    }
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    directory: PathBuf,
}

impl Nginx {
    /// Starts nginx and waits until it listens. Without another `location /`, its
    /// page is the line `HOST says hello`, served from a file.
    ///
    /// # Errors
    ///
    /// If it is not installed, or does not start; the message holds its log.
    pub fn start(host: &Host, site: &Site) -> Result<Self> {
        let program = gate::tool("nginx", "nginx")?;
        let directory = host.directory().join("nginx");
        let pages = directory.join("pages");
        std::fs::create_dir_all(&pages)?;
        std::fs::write(pages.join("index.html"), format!("{} says hello\n", host.name()))?;
        let configuration = directory.join("nginx.conf");
        std::fs::write(&configuration, site.configuration(&directory)?)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&directory).arg("-c").arg(&configuration).args(["-e", "stderr"]);
        let process = host.spawn("nginx", &mut command)?;
        let sockets: Vec<_> = site.all_ports().map(Socket::Tcp).collect();
        process.wait_listening(&sockets, START_LIMIT)?;
        Ok(Self { process, directory })
    }

    /// The process, for instance to read its log or kill it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The access log, a line for each request.
    #[must_use]
    pub fn access_log(&self) -> PathBuf {
        self.directory.join("access.log")
    }

    /// Requests answered so far: lines of the access log. A line is written when
    /// a response is complete, so let the clients finish first.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn requests(&self) -> Result<u64> {
        let log = std::fs::read(self.access_log()).context("cannot read nginx's access log")?;
        Ok(log.split(|byte| *byte == b'\n').map(|_| 1).sum::<u64>() - 1)
    }
}

impl Site {
    fn all_ports(&self) -> impl Iterator<Item = u16> {
        let tls = self.tls.iter().flat_map(|(ports, _)| ports);
        self.ports.iter().chain(tls).copied()
    }

    fn configuration(&self, directory: &Path) -> Result<String> {
        let path = directory.to_str().context("the path of the lab is not UTF-8")?;
        let mut text = format!(
            "daemon off;\n\
             master_process on;\n\
             user root;\n\
             worker_processes {workers};\n\
             worker_rlimit_nofile 8192;\n\
             pid {path}/nginx.pid;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             default_type text/plain;\n\
             keepalive_requests 1000000;\n\
             log_format lab '$msec $remote_addr $status \"$request\" $request_length $connection';\n\
             access_log {path}/access.log lab;\n",
            workers = self.workers,
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = writeln!(text, "{kind}_temp_path {path}/{kind};");
        }
        let _ = writeln!(text, "{}\nserver {{", self.http);
        for port in &self.ports {
            let _ = writeln!(text, "listen {port};\nlisten [::]:{port};");
        }
        if let Some((ports, certificate)) = &self.tls {
            for port in ports {
                let _ = writeln!(text, "listen {port} ssl;\nlisten [::]:{port} ssl;");
            }
            let _ = writeln!(text, "ssl_certificate {};", certificate.certificate.display());
            let _ = writeln!(text, "ssl_certificate_key {};", certificate.key.display());
        }
        let _ = writeln!(text, "root {path}/pages;\n{}\n}}\n}}", self.server);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_listens_on_both_families() {
        let certificate = Certificate { certificate: "/c.pem".into(), key: "/k.pem".into() };
        let site = Site {
            ports: vec![80, 8080],
            tls: Some((vec![443], certificate)),
            server: "location /x { return 204; }".into(),
            ..Site::default()
        };
        let text = site.configuration(Path::new("/lab/web/nginx")).unwrap();
        for line in ["listen 80;", "listen [::]:8080;", "listen [::]:443 ssl;", "return 204;"] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert_eq!(site.all_ports().collect::<Vec<_>>(), [80, 8080, 443]);
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
