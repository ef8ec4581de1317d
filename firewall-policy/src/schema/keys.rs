//! Every key of the language, by the level it belongs to.
//!
//! `schema.json` is checked against these tables by a test.

/// A kind of mapping, and the keys it may have.
#[derive(Debug)]
pub(crate) struct Level {
    /// What the mapping is, with its article.
    pub(crate) name: &'static str,
    /// Where it is defined in `schema.json`.
    pub(crate) id: &'static str,
    /// Its keys, in the order a person would write them.
    pub(crate) keys: &'static [&'static str],
}

macro_rules! levels {
    ($($ident:ident = $id:literal, $name:literal: [$($key:literal),* $(,)?];)*) => {
        $(pub(crate) static $ident: Level =
            Level { name: $name, id: $id, keys: &[$($key),*] };)*

        /// Every level.
        pub(crate) static LEVELS: &[&Level] = &[$(&$ident),*];
    };
}

levels! {
    ROLE = "role", "a role file": [
        "version", "role", "description", "owner", "include", "mode", "interfaces", "default",
        "baseline", "failsafe", "groups", "lists", "services", "ingress", "egress", "syn-flood",
        "rates", "state", "memory-max", "tests",
    ];
    SHARED = "shared", "a shared file": [
        "version", "kind", "description", "owner", "include", "interfaces", "default", "baseline",
        "failsafe", "groups", "lists", "services", "common", "syn-flood", "rates", "state",
        "memory-max",
    ];
    HOST = "host", "host.yaml": [
        "version", "roles", "description", "owner", "interfaces", "default", "failsafe",
        "acknowledge", "tags", "monitor", "outputs", "alerts",
    ];
    INTERFACES = "interfaces", "`interfaces:`": ["match", "ignore", "ingress-hook", "vlan"];
    DEFAULT = "default", "`default:`": ["ingress", "egress"];
    BASELINE = "baseline", "`baseline:`": [
        "host", "dhcp", "ping", "non-ip", "fragments", "forward", "breaks-ipv6",
    ];
    FAILSAFE = "failsafe", "`failsafe:`": ["ingress", "egress"];
    COMMON = "common", "`common:`": ["ingress", "egress"];
    CHAIN = "chain", "a direction": ["deny", "allow"];
    RULE = "rule", "a rule": [
        "name", "from", "to", "service", "iface", "vlan", "tcp-flags", "limit", "log", "mode",
        "expires", "owner", "reason", "ticket",
    ];
    PEER = "peer", "an address set": ["group", "except"];
    LIMIT = "limit", "`limit:`": ["new", "packets", "bytes", "burst", "per", "over"];
    LOG = "log", "`log:`": ["rate"];
    LIST = "list", "a list": ["file", "min", "max", "max-age", "optional"];
    SERVICE = "service", "a service": [
        "tcp", "udp", "sctp", "icmp", "icmpv6", "ip-proto", "count",
    ];
    SYN_FLOOD = "syn-flood", "`syn-flood:`": ["protect", "above", "action"];
    RATE = "rate", "a rate": ["name", "rule", "unit", "alert"];
    ALERT = "alert", "`alert:`": ["drop-below", "rise-above", "of", "for"];
    STATE = "state", "`state:`": ["flows", "tcp", "udp", "pickup", "seed"];
    TEST = "test", "a test": ["name", "in", "out", "expect", "by"];
    PACKET = "packet", "the packet of a test": [
        "from", "to", "tcp", "udp", "icmp", "icmpv6", "ip-proto", "state", "vlan", "fragment",
    ];
    PORTS = "ports", "a mapping of ports": ["sport", "dport"];
    OUTPUTS = "outputs", "`outputs:`": ["prometheus"];
    PROMETHEUS = "prometheus", "`prometheus:`": ["listen"];
}

/// Words that other firewalls and clouds use for what has another name here.
pub(crate) const DIALECTS: &[(&str, &str)] = &[
    ("accept", "allow"),
    ("permit", "allow"),
    ("pass", "allow"),
    ("block", "deny"),
    ("reject", "deny"),
    ("src", "from"),
    ("source", "from"),
    ("dst", "to"),
    ("dest", "to"),
    ("destination", "to"),
    ("port", "service"),
    ("ports", "service"),
    ("proto", "service"),
    ("protocol", "service"),
    ("interface", "iface"),
    ("dev", "iface"),
    ("inbound", "ingress"),
    ("input", "ingress"),
    ("outbound", "egress"),
    ("output", "egress"),
    ("comment", "reason"),
    ("rate-limit", "limit"),
    ("includes", "include"),
    ("flags", "tcp-flags"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::codes::Code;
    use crate::schema::rate::UNITS;
    use crate::source::MemoryFiles;
    use crate::{Options, Subject};

    fn schema() -> Value {
        serde_json::from_str(crate::JSON_SCHEMA).unwrap()
    }

    #[test]
    fn the_json_schema_knows_exactly_these_keys() {
        let schema = schema();
        for level in LEVELS {
            let definition = &schema["$defs"][level.id];
            let properties = definition["properties"].as_object().unwrap();
            let published: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            let read: BTreeSet<&str> = level.keys.iter().copied().collect();
            assert_eq!(published, read, "{}", level.name);
        }
    }

    #[test]
    fn the_json_schema_refers_to_nothing_undefined() {
        fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str));
                    object.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let schema = schema();
        let mut found = BTreeSet::new();
        references(&schema, &mut found);
        for reference in found {
            let name = reference.strip_prefix("#/$defs/").unwrap();
            assert!(schema["$defs"][name].is_object(), "{reference}");
        }
    }

    #[test]
    fn the_json_schema_knows_every_unit() {
        let words: Vec<&str> = UNITS.iter().map(|&(word, _)| word).collect();
        assert_eq!(
            schema()["$defs"]["rate"]["properties"]["unit"]["enum"],
            serde_json::json!(words)
        );
    }

    /// A schema that allows more than the reader promises what is refused.
    #[test]
    fn the_json_schema_has_the_readers_bounds() {
        let schema = schema();
        let in_rule = "ingress: { allow: [ { name: a, from: any, service: http, ";
        let in_test = "tests: [ { name: a, in: { from: 192.0.2.1, to: self, ";
        let numbers = [
            ("state/properties/flows", "state: { flows: ", " }", Code::Number),
            ("list/properties/min", "lists: { a: { file: a.txt, min: ", " } }", Code::Number),
            ("list/properties/max", "lists: { a: { file: a.txt, max: ", " } }", Code::Number),
            (
                "limit/properties/burst/oneOf/0",
                &format!("{in_rule}limit: {{ new: 50/s, burst: "),
                " } } ] }",
                Code::Number,
            ),
            ("vlan-id", &format!("{in_rule}vlan: "), " } ] }", Code::Number),
            (
                "service/properties/ip-proto/oneOf/0",
                "services: { a: { ip-proto: ",
                " } }",
                Code::Number,
            ),
            (
                "packet/properties/ip-proto",
                &format!("{in_test}ip-proto: "),
                " }, expect: drop } ]",
                Code::Number,
            ),
            ("port", &format!("{in_test}tcp: "), " }, expect: drop } ]", Code::PortNumber),
        ];
        for (place, before, behind, code) in numbers {
            let published = schema.pointer(&format!("/$defs/{place}")).unwrap();
            let [least, most] =
                ["minimum", "maximum"].map(|bound| published[bound].as_i64().unwrap());
            for (number, is_good) in
                [(least, true), (most, true), (least - 1, false), (most + 1, false)]
            {
                let role = format!("version: 1\nrole: web\n{before}{number}{behind}\n");
                let files = MemoryFiles::new().with("rules/web.yaml", role);
                let subject = Subject::File("rules/web.yaml".into());
                let found = match crate::load(&files, &subject, &Options::default()) {
                    Ok(loaded) => loaded.warnings,
                    Err(report) => report.diagnostics,
                };
                let is_refused = found.iter().any(|one| one.code == code);
                assert_eq!(is_refused, !is_good, "{place}: {number}: {found:?}");
            }
        }
    }
}
