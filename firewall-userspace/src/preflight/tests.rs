//! The exact text of every finding. `UPDATE_EXPECT=1 cargo test` writes the
//! examples of `firewall explain-code` anew.

use std::path::Path;
use std::{env, fs};

use firewall_policy::diagnostic::{Diagnostic, Style};
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Loaded, Options, Subject};

use super::interfaces::{Seen, findings};
use super::vital;
use crate::host::interfaces::Interface;
use crate::host::selection::{Double, Elsewhere, Selection, Tie};
use crate::host::vrrp::Speaker;

/// A role with these lines.
pub(super) fn role(lines: &str) -> Loaded {
    let text = format!("version: 1\nrole: web\nfailsafe: {{ ingress: [] }}\n{lines}");
    let files = MemoryFiles::new().with("rules/web.yaml", text);
    let subject = Subject::File("rules/web.yaml".into());
    firewall_policy::load(&files, &subject, &Options::default())
        .unwrap_or_else(|report| panic!("{report}"))
}

/// Compares with the committed text of a code, or replaces it.
pub(super) fn compare(name: &str, found: &[Diagnostic]) {
    let texts: Vec<String> = found.iter().map(|one| one.render(Style::Plain)).collect();
    let text = texts.join("\n");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firewall-policy/tests/bad");
    let path = examples.join(format!("{name}.txt"));
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{name}");
}

/// A host with these interfaces, all of them chosen.
fn host(names: &[&str]) -> Seen {
    let one = |name: &&str| Interface { name: (*name).into(), ifindex: 2, mtu: Some(1500) };
    let judged = names.iter().filter(|name| **name != "lo").map(one).collect();
    Seen {
        present: names.iter().map(|name| (*name).to_owned()).collect(),
        selection: Selection { judged, ..Selection::default() },
        ..Seen::default()
    }
}

#[test]
fn what_is_judged_twice_names_both_and_the_way_out() {
    let mut seen = host(&["eth0", "eth0.10", "eth1", "bond0", "br0"]);
    let double =
        |upper: &str, lower: &str, tie| Double { upper: upper.into(), lower: lower.into(), tie };
    seen.selection.doubles = vec![
        double("eth0.10", "eth0", Tie::Vlan),
        double("bond0", "eth1", Tie::Bond),
        double("br0", "eth1", Tie::Other),
    ];
    let loaded = role("interfaces: { match: [\"eth*\", eth0.10, \"b*0\"] }\n");
    compare("E0602-stacked-interfaces", &findings(&loaded, &seen));
}

#[test]
fn a_policy_for_no_interface_names_those_that_are_there() {
    let mut seen = host(&["lo", "ens3", "ens4"]);
    seen.selection = Selection::default();
    let loaded = role("interfaces: { match: [\"eth*\"] }\n");
    compare("E0603-no-interface", &findings(&loaded, &seen));
    compare("row20-no-interface-by-default", &findings(&role(""), &seen));
}

#[test]
fn the_loopback_is_refused_by_name_and_by_a_pattern_of_its_own() {
    let seen = host(&["lo", "eth0"]);
    let named = role("interfaces: { match: [lo, \"eth*\"] }\n");
    compare("E0604-loopback-only", &findings(&named, &seen));
    let pattern = role("interfaces: { match: [\"l*\", \"eth*\"] }\n");
    compare("row20-loopback-pattern", &findings(&pattern, &seen));
    for lines in ["match: [\"*\"]", "match: [\"l*\", \"eth*\"], ignore: [lo]"] {
        assert!(findings(&role(&format!("interfaces: {{ {lines} }}\n")), &seen).is_empty());
    }
    let with_others = host(&["lo", "lan0", "eth0"]);
    assert!(findings(&pattern, &with_others).is_empty());
}

#[test]
fn an_interface_that_takes_no_program_is_named_with_what_is_in_the_way() {
    let mut seen = host(&["eth0", "eth1", "eth7"]);
    seen.bare = vec!["eth7".into()];
    seen.taken = vec![("eth0".into(), 214, "eth0".into()), ("eth1".into(), 31, "eth1.10".into())];
    let loaded = role("interfaces: { match: [\"eth*\"] }\n");
    compare("E0605-unfit-interface", &findings(&loaded, &seen));
    seen.bare.clear();
    let loaded = role("interfaces: { match: [\"eth*\"], ingress-hook: tc }\n");
    assert!(findings(&loaded, &seen).is_empty());
}

const VLANS: &str = "services: { echo: { udp: 7 } }
ingress:
  allow:
    - { name: tagged, from: any, service: echo, vlan: 10 }
    - { name: inside, from: any, service: echo, iface: eth0.10 }
";

#[test]
fn a_rule_for_an_interface_that_is_left_out_is_refused() {
    let mut seen = host(&["eth0"]);
    let judged_on = vec!["eth0".to_owned()];
    let elsewhere = Elsewhere { name: "eth0.10".into(), judged_on, tie: Tie::Vlan };
    seen.selection.elsewhere = vec![elsewhere];
    compare("E0606-judged-elsewhere", &findings(&role(VLANS), &seen));
    let both = VLANS.replace("iface: eth0.10", "iface: \"eth*\"");
    assert!(findings(&role(&both), &seen).is_empty());
}

#[test]
fn a_tag_that_the_card_takes_off_is_warned_about() {
    let mut seen = host(&["eth0"]);
    seen.strips = vec!["eth0".into()];
    compare("W0607-vlan-stripped", &findings(&role(VLANS), &seen));
}

const VRRP: &str = "services: { vrrp: { ip-proto: 112 }, ssh: { tcp: 22 } }\n";

fn speaker(group: &str, is_multicast: bool) -> vital::Seen {
    let process = Some("keepalived[812]".to_owned());
    let vrrp = vec![Speaker { group: group.parse().unwrap(), is_multicast, process }];
    let own = ["10.0.1.10", "fe80::10"].map(|address| address.parse().unwrap()).to_vec();
    vital::Seen { vrrp, own, dhcp: Vec::new() }
}

fn chains(ingress: &str, egress: &str) -> Loaded {
    role(&format!(
        "{VRRP}default: {{ ingress: drop, egress: drop }}\ningress:\n{ingress}\negress:\n{egress}\n"
    ))
}

const HEARS: &str =
    "  allow: [ { name: heard, from: 10.0.1.0/24, to: 224.0.0.18, service: vrrp } ]";
const SAYS: &str = "  allow: [ { name: said, to: 224.0.0.18, service: vrrp } ]";

#[test]
fn vrrp_that_a_host_speaks_must_be_heard_and_leave() {
    let seen = speaker("224.0.0.18", true);
    let deny = "  deny: [ { name: no-vrrp, from: any, service: vrrp } ]\n";
    let open = format!("{VRRP}default: {{ ingress: allow, egress: allow }}\n");
    let denies = role(&format!("{open}ingress:\n{deny}"));
    compare("E0608-silences-vrrp", &vital::findings(&denies, &seen));
    compare("row15-no-vrrp", &vital::findings(&chains("  allow: []", "  allow: []"), &seen));
    let v6 = speaker("ff02::12", true);
    compare("row15-no-vrrp-v6", &vital::findings(&chains(HEARS, SAYS), &v6));
    let unicast = speaker("224.0.0.18", false);
    compare("row15-no-vrrp-unicast", &vital::findings(&chains("  allow: []", SAYS), &unicast));
    compare("row15-no-vrrp-by-default", &vital::findings(&role(VRRP), &seen));
    for (ingress, egress) in [
        (HEARS.to_owned(), SAYS.to_owned()),
        (deny.replace("vrrp }", "vrrp, reason: alone }"), SAYS.to_owned()),
        (
            "  deny: [ { name: some, from: 10.0.1.9, service: all } ]\n".to_owned() + HEARS,
            SAYS.to_owned(),
        ),
    ] {
        let found = vital::findings(&chains(&ingress, &egress), &seen);
        assert!(found.is_empty(), "{ingress} {egress} {found:?}");
    }
    let silent = vital::Seen::default();
    assert!(vital::findings(&denies, &silent).is_empty(), "nobody speaks it");
    // Only this host itself is admitted, or everybody but this host.
    let only_me = HEARS.replace("10.0.1.0/24", "10.0.1.10");
    assert_eq!(vital::findings(&chains(&only_me, SAYS), &seen).len(), 1);
    assert!(vital::findings(&role(&open), &seen).is_empty());
}

#[test]
fn leases_that_a_host_waits_for_must_come_in() {
    let seen = vital::Seen { dhcp: vec![(68, "dhclient[411]".into())], ..vital::Seen::default() };
    let off = role("baseline: { host: true, dhcp: off }\n");
    compare("E0609-cuts-dhcp", &vital::findings(&off, &seen));
    assert!(vital::findings(&role(""), &seen).is_empty());
    assert!(vital::findings(&off, &vital::Seen::default()).is_empty());
    let rule = "services: { lease: { udp: 68 } }\ningress: { allow: [ { name: lease, from: any, service: lease } ] }\n";
    let by_rule = role(&format!("baseline: {{ host: true, dhcp: off }}\n{rule}"));
    assert!(vital::findings(&by_rule, &seen).is_empty());
}

#[test]
fn a_role_on_a_host_out_of_its_group_is_doubted() {
    let groups = |name: &str| {
        let line = format!("groups:\n  {name}: [10.0.2.11, 10.0.2.12, \"fd00:f00:2::/64\"]\n");
        role(&format!("{line}  databases: [10.0.4.10]\n"))
    };
    let own =
        |addresses: &[&str]| addresses.iter().map(|one| one.parse().unwrap()).collect::<Vec<_>>();
    let database = own(&["127.0.0.1", "10.0.4.10", "fe80::1", "fd00:f00:4::10"]);
    compare("W0610-other-hosts-role", &super::role::findings(&groups("web-servers"), &database));
    for name in ["web", "webs"] {
        assert_eq!(super::role::findings(&groups(name), &database).len(), 1, "{name}");
    }
    for (name, addresses) in [
        ("web-servers", &["10.0.4.10", "fd00:f00:2::11"][..]),
        ("web-servers", &["127.0.0.1", "fe80::1"]),
        ("servers", &["10.0.4.10"]),
    ] {
        let found = super::role::findings(&groups(name), &own(addresses));
        assert!(found.is_empty(), "{name} {addresses:?} {found:?}");
    }
}
