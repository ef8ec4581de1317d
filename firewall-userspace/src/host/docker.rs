//! Ports that Docker publishes: its proxies say so on their command lines.

use std::net::SocketAddr;

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Protocol as Docker writes it.
    pub protocol: String,
    /// Where it listens.
    pub listens: SocketAddr,
}

/// Ports published now. With Docker's userland proxy switched off there is none
/// to be seen.
pub(crate) fn published() -> Vec<Published> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines = processes.flatten().filter_map(|entry| {
        let number = entry.file_name();
        number.to_str()?.parse::<u32>().ok()?;
        std::fs::read(entry.path().join("cmdline")).ok()
    });
    let mut found: Vec<Published> = lines.filter_map(|line| proxy(&line)).collect();
    found.sort_by_key(|one| one.listens);
    found.dedup();
    found
}

fn proxy(line: &[u8]) -> Option<Published> {
    let words: Vec<&str> =
        line.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok()).collect();
    let (program, arguments) = words.split_first()?;
    if !program.rsplit('/').next()?.starts_with("docker-proxy") {
        return None;
    }
    let after = |option: &str| {
        let at = arguments.iter().position(|word| *word == option)?;
        arguments.get(at + 1).copied()
    };
    let listens =
        SocketAddr::new(after("-host-ip")?.parse().ok()?, after("-host-port")?.parse().ok()?);
    Some(Published { protocol: after("-proto")?.to_owned(), listens })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_says_what_it_publishes() {
        let line = b"/usr/bin/docker-proxy\0-proto\0tcp\0-host-ip\x000.0.0.0\0-host-port\x009000\0\
            -container-ip\x00172.17.0.2\0-container-port\x009000\0";
        let wanted = Published { protocol: "tcp".into(), listens: "0.0.0.0:9000".parse().unwrap() };
        assert_eq!(proxy(line), Some(wanted));
        assert_eq!(proxy(b"/usr/sbin/nginx\0-g\0"), None);
        assert_eq!(proxy(b""), None);
    }
}
