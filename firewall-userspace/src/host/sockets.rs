//! Which local process has a socket: best effort, for people.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use firewall_common::service::proto;

/// The process behind a local end, as `name[pid]`; `None` if it is gone, of
/// another user, or in another network namespace.
pub(crate) fn process_of(protocol: u8, local: SocketAddr) -> Option<String> {
    // Many programs speak IPv4, too, through sockets of IPv6.
    let tables: &[&str] = match (protocol, local.ip()) {
        (proto::TCP, IpAddr::V4(_)) => &["tcp", "tcp6"],
        (proto::TCP, IpAddr::V6(_)) => &["tcp6"],
        (proto::UDP, IpAddr::V4(_)) => &["udp", "udp6"],
        (proto::UDP, IpAddr::V6(_)) => &["udp6"],
        _ => return None,
    };
    let inode = tables.iter().find_map(|table| {
        let text = super::read(format!("/proc/net/{table}"))?;
        text.lines().skip(1).find_map(|line| inode_of(line, local))
    })?;
    holder(&format!("socket:[{inode}]"))
}

/// The inode of a line of `/proc/net/tcp` whose local port, and address unless
/// it is unspecified, are those wanted.
fn inode_of(line: &str, local: SocketAddr) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != local.port() {
        return None;
    }
    let words: Option<Vec<u8>> = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok())
        .map(|word| word.map(u32::to_ne_bytes))
        .try_fold(Vec::new(), |mut bytes, word| {
            bytes.extend(word?);
            Some(bytes)
        });
    let words = words?;
    let bound = match *words.as_slice() {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(words).ok()?),
    };
    if bound.to_canonical() != local.ip() && !bound.is_unspecified() {
        return None;
    }
    fields.get(9)?.parse().ok().filter(|inode| *inode != 0)
}

fn holder(wanted: &str) -> Option<String> {
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link == Path::new(wanted)));
        if holds {
            let command = super::read(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{command}[{pid}]"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_local_end() {
        let line = "   1: 0B02000A:C74E 0A04000A:0CEA 02 00000001:00000000 01:00000064 00000000  1000        0 4242 2";
        let local = "10.0.2.11:51022".parse().unwrap();
        assert_eq!(inode_of(line, local), Some(4242));
        assert_eq!(inode_of(line, "10.0.2.12:51022".parse().unwrap()), None);
        assert_eq!(inode_of(line, "10.0.2.11:51023".parse().unwrap()), None);
    }

    #[test]
    fn this_process_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = process_of(proto::UDP, socket.local_addr().unwrap()).unwrap();
        assert!(found.ends_with(&format!("[{}]", std::process::id())), "{found}");
    }

    #[test]
    fn a_socket_of_ipv6_that_speaks_ipv4_is_found() {
        let socket = std::net::UdpSocket::bind("[::ffff:127.0.0.1]:0").unwrap();
        let local = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().unwrap().port()));
        let found = process_of(proto::UDP, local).unwrap();
        assert!(found.ends_with(&format!("[{}]", std::process::id())), "{found}");
    }
}
