//! Who on this host speaks VRRP: whoever has a socket for the protocol, whatever
//! the program is called. keepalived has one as soon as it has an instance.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::sockets;

/// IP protocol number, RFC 9568.
pub(crate) const PROTOCOL: u8 = 112;
/// Where routers of a link speak to each other.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// As [`GROUP_V4`].
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// VRRP of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Speaker {
    /// The group of the family.
    pub group: IpAddr,
    /// Whether this host listens to the group; else its peers are named one by one.
    pub is_multicast: bool,
    /// Who, as `name[pid]`.
    pub process: Option<String>,
}

/// Families in which this host speaks VRRP.
pub(crate) fn speakers() -> Vec<Speaker> {
    let read = |name: &str| super::read(format!("/proc/net/{name}")).unwrap_or_default();
    let speaker = |table: &str, group: IpAddr, is_multicast: bool| {
        let inode = socket(&read(table))?;
        Some(Speaker { group, is_multicast, process: sockets::process_with(inode) })
    };
    let v4 = speaker("raw", GROUP_V4.into(), has_joined_v4(&read("igmp")));
    let v6 = speaker("raw6", GROUP_V6.into(), has_joined_v6(&read("igmp6")));
    v4.into_iter().chain(v6).collect()
}

/// The inode of a raw socket for the protocol, which stands where a port would.
fn socket(table: &str) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, protocol) = fields.get(1)?.rsplit_once(':')?;
        let is_ours = u16::from_str_radix(protocol, 16) == Ok(PROTOCOL.into());
        fields.get(9)?.parse().ok().filter(|_| is_ours)
    })
}

/// Groups are words in memory order.
fn has_joined_v4(table: &str) -> bool {
    let group = format!("{:08X}", u32::from_ne_bytes(GROUP_V4.octets()));
    table.lines().any(|line| line.split_whitespace().next() == Some(group.as_str()))
}

fn has_joined_v6(table: &str) -> bool {
    let group = format!("{:032x}", u128::from(GROUP_V6));
    table.lines().any(|line| line.split_whitespace().nth(2) == Some(group.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_protocol() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
        let line = |protocol: &str| {
            format!(
                "{head}  112: 00000000:{protocol} 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4242 2 0 0\n"
            )
        };
        assert_eq!(socket(&line("0070")), Some(4242));
        assert_eq!(socket(&line("0001")), None);
        assert_eq!(socket(head), None);
    }

    #[test]
    fn groups_are_read_as_the_kernel_prints_them() {
        let v4 = "4\teth0      :     2      V3\n\t\t\t\t120000E0     1 0:00000000\t\t0\n";
        assert!(has_joined_v4(v4) && !has_joined_v4(&v4.replace("120000E0", "010000E0")));
        let v6 = "4    eth0            ff020000000000000000000000000012     1 00000004 0\n";
        assert!(has_joined_v6(v6) && !has_joined_v6(&v6.replace("012 ", "001 ")));
    }
}
