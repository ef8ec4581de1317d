//! The exact text of every finding. `UPDATE_EXPECT=1 cargo test` writes the
//! examples of `firewall explain-code` anew.

use std::path::Path;
use std::{env, fs};

use firewall_policy::diagnostic::{Diagnostic, Style};
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Loaded, Options, Subject};

use super::interfaces::{Seen, findings};
use crate::host::interfaces::Interface;
use crate::host::selection::{Double, Elsewhere, Selection, Tie};

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
