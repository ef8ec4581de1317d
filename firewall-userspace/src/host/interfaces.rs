//! Network interfaces.

use std::path::PathBuf;

pub(crate) use firewall_policy::glob::matches as glob;

use crate::kernel::store::interface_index;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its MTU, bytes.
    pub mtu: Option<u32>,
}

/// Every interface of this network namespace, by name; the loopback too.
pub(crate) fn all() -> Vec<Interface> {
    let Ok(devices) = procfs::net::dev_status() else { return Vec::new() };
    let mut found: Vec<Interface> = devices.into_keys().filter_map(|name| one(&name)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// One interface; `None` if it is not there.
///
/// The index is asked of the network namespace. `/sys` is that of the mount
/// namespace and may show the interfaces of another one: it is believed only
/// where it names the same index.
pub(crate) fn one(name: &str) -> Option<Interface> {
    let ifindex = interface_index(name).ok()?;
    let number = |file| super::read(file_of(name, file))?.parse::<u32>().ok();
    let mtu = number("mtu").filter(|_| number("ifindex") == Some(ifindex));
    Some(Interface { name: name.to_owned(), ifindex, mtu })
}

/// Name of the driver; `None` for a device that has none (veth has).
pub(crate) fn driver(name: &str) -> Option<String> {
    let link = std::fs::read_link(file_of(name, "device/driver")).ok();
    link.and_then(|path| path.file_name()?.to_str().map(str::to_owned))
}

/// Whether an interface belongs to a bridge: it is one, or a port of one. What
/// containers send one another passes there.
pub(crate) fn is_bridged(one: &Interface) -> bool {
    let file = |name| file_of(&one.name, name);
    let is_here = super::read(file("ifindex")).and_then(|index| index.parse().ok());
    is_here == Some(one.ifindex) && (file("bridge").exists() || file("brport").exists())
}

fn file_of(name: &str, file: &str) -> PathBuf {
    ["/sys/class/net", name, file].iter().collect()
}

/// Whether a policy with these globs is enforced on an interface. The loopback
/// never is.
pub(crate) fn selected(name: &str, matches: &[String], ignore: &[String]) -> bool {
    let any = |globs: &[String]| globs.iter().any(|pattern| glob(pattern, name));
    name != "lo" && any(matches) && !any(ignore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_never_selected() {
        let any = ["*".to_owned()];
        assert!(!selected("lo", &any, &[]));
        assert!(selected("eth0", &any, &[]));
        assert!(!selected("veth1", &any, &["veth*".to_owned()]));
    }

    #[test]
    fn the_loopback_is_there() {
        assert_eq!(one("lo").unwrap().ifindex, 1);
        assert!(all().iter().any(|one| one.name == "lo"));
        assert_eq!(one("no-such-interface"), None);
    }
}
