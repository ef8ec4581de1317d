//! Prometheus: scrapes every second, and says what it has seen.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::START_LIMIT;
use crate::gate;
use crate::host::{Host, Socket};
use crate::process::Process;

/// Longest time a query may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: u16,
}

/// One series of an answer: its labels, and its last value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The labels, as JSON.
    pub labels: Value,
    /// The value.
    pub value: f64,
}

impl Prometheus {
    /// Starts Prometheus on `port` and waits until it listens. `jobs` are names
    /// with the addresses that are scraped every second.
    ///
    /// # Errors
    ///
    /// If it is not installed, or does not start; the message holds its log.
    pub fn start(host: &Host, port: u16, jobs: &[(&str, Vec<SocketAddr>)]) -> Result<Self> {
        let program = gate::tool("prometheus", "prometheus")?;
        let directory = host.directory().join("prometheus");
        std::fs::create_dir_all(&directory)?;
        let configuration = directory.join("prometheus.yml");
        std::fs::write(&configuration, configuration_of(jobs))?;
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg("--storage.tsdb.path=/run/prometheus")
            .arg(format!("--web.listen-address=:{port}"))
            .args(["--log.level=warn", "--storage.tsdb.retention.time=1h"]);
        let process = host.spawn("prometheus", &mut command)?;
        process.wait_listening(&[Socket::Tcp(port)], START_LIMIT)?;
        Ok(Self { process, port })
    }

    /// The process, for instance to read its log or kill it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Asks for an expression's value now.
    ///
    /// # Errors
    ///
    /// If Prometheus does not answer, or does not understand the expression.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>> {
        let path = format!("/api/v1/query?query={}", encoded(expression));
        let body = self.get(&path).with_context(|| format!("asking Prometheus `{expression}`"))?;
        series_of(&body)
    }

    fn get(&self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let port = self.port;
        let response = self.process.host().enter(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            let mut response = String::new();
            stream.read_to_string(&mut response)?;
            Ok(response)
        })??;
        match response.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => bail!("{response}"),
        }
    }
}

fn configuration_of(jobs: &[(&str, Vec<SocketAddr>)]) -> String {
    let mut text =
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n".to_owned();
    for (job, targets) in jobs {
        let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
        let _ = writeln!(text, "- job_name: {job}\n  static_configs:");
        let _ = writeln!(text, "  - targets: [{}]", targets.join(", "));
    }
    text
}

/// An expression as part of a URL.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut url, byte| {
        if byte.is_ascii_alphanumeric() {
            url.push(byte.into());
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}

fn series_of(body: &str) -> Result<Vec<Series>> {
    let answer: Value = serde_json::from_str(body).context("Prometheus' answer is no JSON")?;
    let found = answer["data"]["result"].as_array().context("Prometheus gave no result")?;
    let series = |one: &Value| {
        let value = one["value"][1].as_str()?.parse().ok()?;
        Some(Series { labels: one["metric"].clone(), value })
    };
    Ok(found.iter().filter_map(series).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_both_families_are_quoted() {
        let targets = vec!["10.0.2.11:9477".parse().unwrap(), "[fd00::1]:9477".parse().unwrap()];
        let text = configuration_of(&[("firewall", targets)]);
        assert!(text.ends_with("  - targets: ['10.0.2.11:9477', '[fd00::1]:9477']\n"), "{text}");
    }

    #[test]
    fn answers_are_series_with_a_value() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"instance":"a"},"value":[1,"2.5"]}]}}"#;
        let series = series_of(body).unwrap();
        assert_eq!((series[0].value, series[0].labels["instance"].as_str()), (2.5, Some("a")));
        assert!(series_of("{}").is_err());
        assert_eq!(encoded("up == 1"), "up%20%3D%3D%201");
    }
}
