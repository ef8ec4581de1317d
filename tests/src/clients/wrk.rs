//! wrk: as many requests as a server answers. Its own count is short of those
//! under way at the end; the servers' logs are the truth.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::gate;
use crate::host::Host;

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests that were answered, as wrk counts them.
    pub requests: u64,
    /// Per second.
    pub per_second: f64,
    /// Answers with a status above 399, and broken connections.
    pub failed: u64,
}

/// Loads a page from a host over so many connections, for so long.
///
/// # Errors
///
/// If wrk is not installed, or fails.
pub fn wrk(from: &Host, url: &str, connections: u32, length: Duration) -> Result<Load> {
    let mut command = Command::new(gate::tool("wrk", "wrk")?);
    command.args(["--threads", "1", "--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{}s", length.as_secs().max(1)), url]);
    let text = from.check(&mut command)?;
    load_of(&text).with_context(|| format!("wrk said:\n{text}"))
}

fn load_of(text: &str) -> Option<Load> {
    let line = |start: &str| text.lines().map(str::trim).find_map(|line| line.strip_prefix(start));
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?;
    let errors = line("Socket errors: ").unwrap_or_default();
    let errors = errors.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
    let refused = line("Non-2xx or 3xx responses: ").and_then(|count| count.parse().ok());
    Some(Load {
        requests: requests.0.parse().ok()?,
        per_second: line("Requests/sec:")?.trim().parse().ok()?,
        failed: errors.sum::<u64>() + refused.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 5s test @ https://www.foobar.com/\n  1 threads and 8 connections\n  \
        32794 requests in 5.01s, 5.94MB read\n";

    #[test]
    fn a_load_without_failures() {
        let text = format!("{TEXT}Requests/sec:   6550.26\nTransfer/sec:      1.19MB\n");
        assert_eq!(load_of(&text), Some(Load { requests: 32_794, per_second: 6550.26, failed: 0 }));
    }

    #[test]
    fn failures_are_added_up() {
        let text = format!(
            "{TEXT}  Socket errors: connect 1, read 2, write 0, timeout 4\n  \
             Non-2xx or 3xx responses: 10\nRequests/sec:   6550.26\n"
        );
        assert_eq!(load_of(&text).unwrap().failed, 17);
        assert_eq!(load_of("no such host"), None);
    }
}
