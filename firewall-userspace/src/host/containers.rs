//! What containers have of this host: ports that are published for them, and
//! networks that leave under this host's addresses.
//!
//! Whoever has set them up, Docker, Podman or a person: both are NAT, and the
//! programs that list NAT say so. Docker's proxies say so on their command lines.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use firewall_common::service::proto;
use firewall_policy::compile::Ports;
use serde_json::Value;

/// What containers have of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Containers {
    /// Ports of this host that lead into a container.
    pub published: BTreeSet<Published>,
    /// Networks whose packets leave as this host's: `172.17.0.0/16`.
    pub masqueraded: BTreeSet<String>,
}

/// Ports that lead into a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Published {
    /// The ports, of this host.
    pub ports: Ports,
    /// At which address; `None` for all of them.
    pub at: Option<IpAddr>,
    /// Where they lead, in the words of the rule.
    pub to: String,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{at} ")?;
        }
        write!(f, "{} → {}", self.ports, self.to)
    }
}

impl Containers {
    /// Of this host, now. Where nothing is forwarded there are none; who may not
    /// read NAT rules sees Docker's proxies at most.
    pub(crate) fn of_this_host() -> Self {
        let forwards = |path| super::read(path).is_some_and(|value| value != "0");
        if !forwards("/proc/sys/net/ipv4/ip_forward")
            && !forwards("/proc/sys/net/ipv6/conf/all/forwarding")
        {
            return Self::default();
        }
        let mut found = Self::default();
        // The legacy programs load their tables by looking: only where those are.
        let legacy = |names| super::read(names).is_some_and(|names| names.contains("nat"));
        let nat = &["-t", "nat"];
        let rules = Printing::of("nft", &["-j", "list", "ruleset"]);
        // All of them at once: each takes some milliseconds to begin.
        let saved = [
            ("iptables-nft-save", true),
            ("ip6tables-nft-save", true),
            ("iptables-legacy-save", legacy("/proc/net/ip_tables_names")),
            ("ip6tables-legacy-save", legacy("/proc/net/ip6_tables_names")),
        ]
        .map(|(program, ask)| ask.then(|| Printing::of(program, nat)));
        if let Ok(document) = serde_json::from_slice(&rules.printed()) {
            found.read_nft(&document);
        }
        for saved in saved.into_iter().flatten() {
            found.read_iptables(&String::from_utf8_lossy(&saved.printed()));
        }
        found.published.extend(proxies());
        found.published.retain(|one| one.at.is_none_or(|at| !at.is_loopback()));
        found
    }

    /// From `nft -j list ruleset`.
    fn read_nft(&mut self, document: &Value) {
        let parts = document["nftables"].as_array().map_or(&[][..], Vec::as_slice);
        let of_output = |rule: &Value| {
            parts.iter().map(|part| &part["chain"]).any(|chain| {
                chain["hook"] == "output"
                    && chain["name"] == rule["chain"]
                    && chain["table"] == rule["table"]
                    && chain["family"] == rule["family"]
            })
        };
        for rule in parts.iter().map(|part| &part["rule"]).filter(|rule| !of_output(rule)) {
            let parts = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
            let matched = |field: &str| {
                let matches = parts.iter().map(|part| &part["match"]);
                matches
                    .clone()
                    .find(|one| one["left"]["payload"]["field"] == field && one["op"] == "==")
            };
            for part in parts {
                if part.get("masquerade").is_some() || part.get("snat").is_some() {
                    let network = matched("saddr").map(|one| text(&one["right"]));
                    self.masqueraded.insert(network.unwrap_or_else(|| "what is forwarded".into()));
                }
                let (Some(dnat), Some(port)) = (part.get("dnat"), matched("dport")) else {
                    continue;
                };
                let protocol = match port["left"]["payload"]["protocol"].as_str() {
                    Some("udp") => proto::UDP,
                    Some("sctp") => proto::SCTP,
                    _ => proto::TCP,
                };
                let at = matched("daddr").and_then(|one| one["right"].as_str()?.parse().ok());
                for ports in port_values(protocol, &port["right"]) {
                    let to = socket(&text(&dnat["addr"]), dnat["port"].as_u64());
                    self.published.insert(Published { ports, at, to });
                }
            }
        }
    }

    /// From `iptables-save -t nat` of either family.
    fn read_iptables(&mut self, saved: &str) {
        for line in saved.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [append, chain, ..] = words.as_slice() else { continue };
            if *append != "-A" || *chain == "OUTPUT" {
                continue;
            }
            // A condition behind `!` is one that is not wanted.
            let after = |option: &str| {
                let at = words.iter().position(|word| *word == option)?;
                let wanted = at.checked_sub(1).and_then(|before| words.get(before)) != Some(&"!");
                words.get(at + 1).copied().filter(|_| wanted)
            };
            match after("-j") {
                // Docker lets a container reach its own published port, too.
                Some("MASQUERADE" | "SNAT") if after("-d").is_none() => {
                    let network = after("-s").unwrap_or("what is forwarded");
                    self.masqueraded.insert(network.to_owned());
                }
                Some("DNAT") => {
                    let protocol = match after("-p") {
                        Some("udp") => proto::UDP,
                        Some("sctp") => proto::SCTP,
                        _ => proto::TCP,
                    };
                    let at = after("-d").and_then(|at| at.split('/').next()?.parse().ok());
                    let to = after("--to-destination").unwrap_or("elsewhere").to_owned();
                    let ports = after("--dport").or_else(|| after("--dports")).unwrap_or_default();
                    for range in ports.split(',').filter_map(|range| ports_of(protocol, range)) {
                        self.published.insert(Published { ports: range, at, to: to.clone() });
                    }
                }
                _ => {}
            }
        }
    }
}

/// A program that prints something.
struct Printing(Option<Child>);

impl Printing {
    /// Starts it; nothing is printed by one that is not there.
    fn of(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().ok())
    }

    /// What it printed, once it has ended.
    fn printed(self) -> Vec<u8> {
        let output = self.0.and_then(|child| child.wait_with_output().ok());
        output.map_or_else(Vec::new, |output| output.stdout)
    }
}

/// `80:90` or `80` as iptables writes it.
fn ports_of(protocol: u8, range: &str) -> Option<Ports> {
    let (first, last) = range.split_once(':').unwrap_or((range, range));
    Some(Ports { protocol, first: first.parse().ok()?, last: last.parse().ok()? })
}

/// Ports as nft writes them: one, a range, or a set of both.
fn port_values(protocol: u8, value: &Value) -> Vec<Ports> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    if let Some(port) = port(value) {
        return vec![Ports::one(protocol, port)];
    }
    if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
        let range = port(first).zip(port(last));
        return range.map(|(first, last)| Ports { protocol, first, last }).into_iter().collect();
    }
    let set = value["set"].as_array().map_or(&[][..], Vec::as_slice);
    set.iter().flat_map(|one| port_values(protocol, one)).collect()
}

/// An address or a network as nft writes it.
fn text(value: &Value) -> String {
    let prefix = &value["prefix"];
    match (value.as_str(), prefix["addr"].as_str(), prefix["len"].as_u64()) {
        (Some(text), ..) => text.to_owned(),
        (None, Some(address), Some(length)) => format!("{address}/{length}"),
        _ => "elsewhere".to_owned(),
    }
}

fn socket(address: &str, port: Option<u64>) -> String {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

/// Docker's proxies, which say on their command lines what they do.
fn proxies() -> impl Iterator<Item = Published> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| {
        let number = entry.file_name();
        number.to_str()?.parse::<u32>().ok()?;
        proxy(&std::fs::read(entry.path().join("cmdline")).ok()?)
    })
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
    let protocol = if after("-proto")? == "udp" { proto::UDP } else { proto::TCP };
    let at: IpAddr = after("-host-ip")?.parse().ok()?;
    let to = after("-container-port").and_then(|port| port.parse().ok());
    Some(Published {
        ports: Ports::one(protocol, after("-host-port")?.parse().ok()?),
        at: (!at.is_unspecified()).then_some(at),
        to: socket(after("-container-ip").unwrap_or("a container"), to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: &Containers) -> String {
        let published = found.published.iter().map(ToString::to_string);
        published.chain(found.masqueraded.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_proxy_says_what_it_publishes() {
        let line = b"/usr/bin/docker-proxy\0-proto\0tcp\0-host-ip\x000.0.0.0\0-host-port\x009000\0\
            -container-ip\x00172.17.0.2\0-container-port\x0080\0";
        assert_eq!(proxy(line).unwrap().to_string(), "9000/tcp → 172.17.0.2:80");
        assert_eq!(proxy(b"/usr/sbin/nginx\0-g\0"), None);
        assert_eq!(proxy(b""), None);
    }

    /// As Docker 28 writes them on Debian 12.
    #[test]
    fn rules_of_docker_are_read() {
        let mut found = Containers::default();
        found.read_iptables(
            "*nat\n:DOCKER - [0:0]\n\
             -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
             -A OUTPUT -p tcp -m tcp --dport 7 -j DNAT --to-destination 172.17.0.9:7\n\
             -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
             -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE\n\
             -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n\
             -A DOCKER -d 203.0.113.5/32 ! -i docker0 -p udp -m udp --dport 53:54 -j DNAT --to-destination 172.17.0.3\n\
             COMMIT\n",
        );
        assert_eq!(
            shown(&found),
            "8080/tcp → 172.17.0.2:80; 203.0.113.5 53-54/udp → 172.17.0.3; 172.17.0.0/16"
        );
    }

    #[test]
    fn rules_of_nft_are_read() {
        let matches = |protocol: &str, field: &str, right: Value| {
            let left = serde_json::json!({ "payload": { "protocol": protocol, "field": field } });
            serde_json::json!({ "match": { "op": "==", "left": left, "right": right } })
        };
        let rule = |chain: &str, expr: Value| {
            let head = serde_json::json!({ "family": "ip", "table": "nat", "chain": chain });
            let mut rule = head.as_object().unwrap().clone();
            rule.insert("expr".into(), expr);
            serde_json::json!({ "rule": rule })
        };
        let dnat = serde_json::json!({ "dnat": { "addr": "172.17.0.2", "port": 80 } });
        let dnat6 = serde_json::json!({ "dnat": { "addr": "fd00::2", "port": 80 } });
        let prefix = serde_json::json!({ "prefix": { "addr": "172.17.0.0", "len": 16 } });
        let mut found = Containers::default();
        found.read_nft(&serde_json::json!({ "nftables": [
            { "metainfo": { "version": "1.0.6" } },
            { "chain": { "family": "ip", "table": "nat", "name": "own", "hook": "output" } },
            rule("own", serde_json::json!([matches("tcp", "dport", 7.into()), dnat])),
            rule("in", serde_json::json!([matches("tcp", "dport", 8080.into()), dnat])),
            rule("in", serde_json::json!([
                matches("ip6", "daddr", "2001:db8::1".into()),
                matches("udp", "dport", serde_json::json!({ "set": [9, { "range": [20, 30] }] })),
                dnat6,
            ])),
            rule("out", serde_json::json!([matches("ip", "saddr", prefix), { "masquerade": null }])),
        ]}));
        assert_eq!(
            shown(&found),
            "8080/tcp → 172.17.0.2:80; 2001:db8::1 9/udp → [fd00::2]:80; \
             2001:db8::1 20-30/udp → [fd00::2]:80; 172.17.0.0/16"
        );
    }
}
