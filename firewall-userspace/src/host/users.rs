//! Users and groups of this host, without name services: nothing here may wait
//! for a network.

use std::os::unix::fs::MetadataExt as _;

/// Group whose members may read the agent's socket.
pub(crate) const READERS: &str = "firewall";

/// Effective user id of this process.
pub(crate) fn effective_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |metadata| metadata.uid())
}

/// Who is at work, for the record: the user who logged in, whatever `sudo` made
/// of them since.
pub(crate) fn who() -> String {
    let login = super::read("/proc/self/loginuid").and_then(|uid| uid.parse::<u32>().ok());
    let login = login.filter(|uid| *uid != u32::MAX);
    let passwd = super::read("/etc/passwd").unwrap_or_default();
    let by_login = login.and_then(|uid| user_name(&passwd, uid));
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    let uid = effective_uid();
    by_login.or(sudo).or_else(|| user_name(&passwd, uid)).unwrap_or_else(|| format!("uid {uid}"))
}

/// The id of a group; `None` if this host has none of that name.
pub(crate) fn group(name: &str) -> Option<u32> {
    group_id(&super::read("/etc/group")?, name)
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn group_id(groups: &str, wanted: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == wanted).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(passwd, 7), None);
        assert_eq!(group_id("root:x:0:\nfirewall:x:998:alice\n", "firewall"), Some(998));
        assert_eq!(group_id("root:x:0:\n", "firewall"), None);
    }
}
