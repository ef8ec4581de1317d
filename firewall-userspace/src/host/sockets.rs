//! Sockets of this host and the processes that have them: best effort, for
//! people.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use firewall_common::service::proto;
use procfs::net::{TcpState, UdpNetEntry};

/// Sockets of this network namespace at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    /// Those that wait: TCP listening, UDP bound and connected to nobody.
    pub waiting: Vec<Waiting>,
    /// TCP connections, those with an end on the loopback left out.
    pub connections: Vec<Connection>,
}

/// A socket that waits for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// TCP or UDP.
    pub protocol: u8,
    /// Where.
    pub at: SocketAddr,
    /// Who, as `name[pid]`; `None` if that is another user's to know.
    pub process: Option<String>,
}

/// A TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Who, as above.
    pub process: Option<String>,
}

impl Sockets {
    /// All of them; of a table that cannot be read, none.
    pub(crate) fn read() -> Self {
        let holders: HashMap<u64, String> = holders().collect();
        let holder = |inode: u64| holders.get(&inode).cloned();
        let mut found = Self::default();
        let tcp = [procfs::net::tcp(), procfs::net::tcp6()];
        for socket in tcp.into_iter().flatten().flatten() {
            let (local, remote) = (plain(socket.local_address), plain(socket.remote_address));
            let process = holder(socket.inode);
            match socket.state {
                TcpState::Listen => {
                    found.waiting.push(Waiting { protocol: proto::TCP, at: local, process });
                }
                TcpState::Established if !remote.ip().is_loopback() => {
                    found.connections.push(Connection { local, remote, process });
                }
                _ => {}
            }
        }
        for (at, inode) in waiting_for_udp() {
            let process = holder(inode);
            found.waiting.push(Waiting { protocol: proto::UDP, at, process });
        }
        found.waiting.sort_by_key(|one| (one.protocol, one.at.port(), one.at.ip()));
        found.waiting.dedup();
        found
    }

    /// Whether somebody waits on a port, of an address that others can reach.
    pub(crate) fn waits(&self, protocol: u8, port: u16) -> Option<&Waiting> {
        self.waiting.iter().find(|one| {
            one.protocol == protocol && one.at.port() == port && !one.at.ip().is_loopback()
        })
    }
}

/// UDP sockets that are connected to nobody: where they wait, and their inodes.
fn waiting_for_udp() -> impl Iterator<Item = (SocketAddr, u64)> {
    let tables = [procfs::net::udp(), procfs::net::udp6()];
    let waiting = |socket: &UdpNetEntry| socket.remote_address.port() == 0;
    let sockets = tables.into_iter().flatten().flatten().filter(waiting);
    sockets.map(|socket| (plain(socket.local_address), socket.inode))
}

/// Who waits for UDP on each of some ports, at an address that others can reach. Asks who
/// holds a socket only where there is one: a look at every descriptor of every process.
pub(crate) fn waits_for_udp(ports: &[u16]) -> Vec<(u16, Option<String>)> {
    let waiting: Vec<_> = waiting_for_udp().filter(|(at, _)| !at.ip().is_loopback()).collect();
    let on = |port: &u16| waiting.iter().find(|(at, _)| at.port() == *port);
    ports.iter().filter_map(|port| Some((*port, process_with(on(port)?.1)))).collect()
}

/// IPv4 where IPv6 only stands for it.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// First port that the kernel gives to sockets that ask for any.
pub(crate) fn first_ephemeral() -> u16 {
    let range = super::read("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.unwrap_or(32_768)
}

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
    holders().find(|(held, _)| *held == inode).map(|(_, name)| name)
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

/// The process that holds a socket, as above.
pub(crate) fn process_with(inode: u64) -> Option<String> {
    holders().find(|(held, _)| *held == inode).map(|(_, name)| name)
}

/// Sockets that processes hold: inode, and the process as `name[pid]`.
fn holders() -> impl Iterator<Item = (u64, String)> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.flat_map(|process| {
        let directory = process.path();
        let pid = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let descriptors = pid.and_then(|_| std::fs::read_dir(directory.join("fd")).ok());
        let socket = |link: &str| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
        let inodes = descriptors
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(move |fd| socket(std::fs::read_link(fd.path()).ok()?.to_str()?));
        let inodes: Vec<u64> = inodes.collect();
        let command = || super::read(directory.join("comm")).unwrap_or_default();
        let name = match pid {
            Some(pid) if !inodes.is_empty() => format!("{}[{pid}]", command()),
            _ => String::new(),
        };
        inodes.into_iter().map(move |inode| (inode, name.clone()))
    })
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

    #[test]
    fn sockets_that_wait_are_told_with_their_process() {
        let tcp = std::net::TcpListener::bind("[::]:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sockets = Sockets::read();
        for (protocol, at) in
            [(proto::TCP, tcp.local_addr().unwrap()), (proto::UDP, udp.local_addr().unwrap())]
        {
            let mut waiting = sockets.waiting.iter().filter(|one| one.protocol == protocol);
            let found = waiting.find(|one| one.at == at).unwrap();
            let pid = format!("[{}]", std::process::id());
            assert!(found.process.as_ref().unwrap().ends_with(&pid), "{found:?}");
        }
        assert!(sockets.waits(proto::TCP, tcp.local_addr().unwrap().port()).is_some());
        let loopback = udp.local_addr().unwrap().port();
        assert_eq!(sockets.waits(proto::UDP, loopback), None, "nobody reaches the loopback");
    }

    #[test]
    fn who_waits_for_others_is_found_by_its_port() {
        let [open, loopback] =
            ["[::]:0", "127.0.0.1:0"].map(|at| std::net::UdpSocket::bind(at).unwrap());
        let [port, other] = [&open, &loopback].map(|one| one.local_addr().unwrap().port());
        let found = waits_for_udp(&[other, port]);
        let [(found, Some(process))] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(*found, port);
        assert!(process.ends_with(&format!("[{}]", std::process::id())), "{process}");
    }
}
