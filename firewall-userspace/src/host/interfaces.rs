//! Network interfaces.

use std::path::PathBuf;

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

/// What an interface stands on: members of a bond or bridge, the device below a
/// VLAN. Empty where `/sys` shows another network namespace.
fn parts(name: &str) -> Vec<String> {
    let Some(Interface { mtu: Some(_), .. }) = one(name) else { return Vec::new() };
    let entries = std::fs::read_dir(file_of(name, "")).into_iter().flatten().flatten();
    let part = |name: std::ffi::OsString| name.to_str()?.strip_prefix("lower_").map(str::to_owned);
    entries.filter_map(|entry| part(entry.file_name())).collect()
}

/// Interfaces that a policy is enforced on together with one they stand on, whose
/// packets are judged and counted on both: an interface and the one below it.
pub(crate) fn doubled(matches: &[String], ignore: &[String]) -> Vec<(String, String)> {
    let is_selected = |name: &String| selected(name, matches, ignore);
    let names = all().into_iter().map(|one| one.name).filter(is_selected);
    names
        .flat_map(|name| {
            let parts = parts(&name).into_iter().filter(is_selected);
            parts.map(|part| (name.clone(), part)).collect::<Vec<_>>()
        })
        .collect()
}

/// What there is to say about an interface and one it stands on.
pub(crate) fn doubled_text((name, part): &(String, String)) -> String {
    format!("{name} stands on {part} and both match: packets are judged and counted twice")
}

/// Whether a pattern with `*` and `?` matches the whole of a name.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // Where to go back to: behind the last star, and the name it has eaten.
    let mut back: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                back = Some((rest, name));
                pattern = rest;
            }
            (Some((wanted, after)), Some((found, left))) if *wanted == b'?' || wanted == found => {
                (pattern, name) = (after, left);
            }
            (None, None) => return true,
            _ => {
                let Some((rest, [_, left @ ..])) = back else { return false };
                back = Some((rest, left));
                (pattern, name) = (rest, left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, wanted) in [
            ("eth*", "eth0", true),
            ("eth*", "veth0", false),
            ("eth?", "eth0", true),
            ("eth?", "eth10", false),
            ("*", "anything", true),
            ("en*s*", "enp3s0", true),
            ("en*s*1", "enp3s0", false),
            ("br-*", "br-", true),
            ("eth0", "eth0", true),
            ("eth0", "eth00", false),
            ("", "", true),
            ("a*b*c", "aXbYbc", true),
        ] {
            assert_eq!(glob(pattern, name), wanted, "{pattern} {name}");
        }
    }

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
