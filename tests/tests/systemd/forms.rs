//! Long lists, and rules with networks at both ends, whose tables have forms of their own, are
//! taken by this kernel's verifier, which is older than the one that all else is tested with.

use std::process::Command;

use anyhow::{Result, anyhow, ensure};
use firewall_common::abi::tables::Setting;
use firewall_policy::compile::{Budget, Environment, SlotTable, compile};
use firewall_policy::directory::Directory;
use firewall_policy::{Options, Subject};
use firewall_tests::machine::Machine;

/// Roles with a list of hosts that gets a table, of networks that gets a filter, and of so
/// many that it gets a bitmap.
const WRITE: &str = r#"
role() {
    cat > "${ROLES:-/tmp}/$1.yaml" <<END
version: 1
role: $1
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
services: { http: { tcp: 80 }, web: { tcp: 8080, count: http1 } }
groups: { crowd: [ $($1) ] }
ingress:
  deny:
    - { name: crowd, from: crowd, service: http }
  allow:
    - { name: web, from: any, service: web }
    - { name: some, from: [10.1.2.0/28, "2001:db8:7::/60"], service: http }
egress:
  allow: [{ name: out, to: [10.9.0.0/16, "2001:db8:9::/48"], service: http }]
tests:
  - { name: v4, in: { from: 10.1.2.3, to: 10.9.9.1, tcp: 80 }, expect: allow, by: some }
  - { name: v6, in: { from: "2001:db8:7::3", to: "2001:db8:8::1", tcp: 80 }, expect: allow, by: some }
  - { name: crowd, in: { from: $2, to: 10.9.9.1, tcp: 80 }, expect: drop, by: crowd }
END
}
# Every other address: neighbours would make a network.
hosts() { seq 9000 | awk '{
    printf "100.64.%d.%d, \"2001:db8:1::%x\", ", $1 / 128, $1 % 128 * 2 + 1, $1 * 2 }'; }
networks() { seq 20000 | awk '{ printf "%d.%d.%d.0/24, ", 20 + $1 / 1000, $1 % 250, $1 % 7 }'; }
bitmap() { printf '32.0.0.0/4, '; seq 40000 | awk '{
    printf "%d.%d.%d.%d/28, ", 50 + $1 % 50, $1 / 50 % 100, $1 % 7 * 30, $1 % 13 * 16 }'; }
role hosts 100.64.1.3
role networks 21.1.1.9
role bitmap 33.1.1.1
"#;

/// Roles whose rules name both ends: each a host of its own, or networks in each other, which
/// make pairs by the million.
const WRITE_PAIRS: &str = r#"
role() {
    cat > "${ROLES:-/tmp}/$1.yaml" <<END
version: 1
role: $1
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
services: { $(seq 5 | awk '{ printf "p%d: { tcp: %d }, ", $1, 80 + $1 }') http: { tcp: 80 }, dns: { udp: 53 } }
ingress:
  deny: [{ name: half, from: 128.0.0.0/1, to: 10.64.0.0/16, service: dns }]
  allow:
$(rules $2)
$($1)
tests:
  - { name: pair, in: { from: 100.64.0.15, to: 10.64.0.15, tcp: 80 }, expect: allow, by: pair-7 }
  - { name: other, in: { from: 100.64.0.15, to: 10.64.0.17, tcp: 80 }, expect: drop }
  - { name: more, in: { from: $3, to: $4, $5 }, expect: allow, by: more-7 }
END
}
rules() { seq $1 | awk '{ a = int($1 / 94); b = $1 % 94 * 2 + 1
    printf "    - { name: pair-%d, from: 100.64.%d.%d, to: 10.64.%d.%d, service: http }\n", $1, a, b, a, b }'; }
pairs() { seq 2000 | awk '{
    printf "    - { name: more-%d, from: any, to: 10.65.%d.%d, service: dns }\n", $1, $1 / 100, $1 % 100 * 2 }'; }
vectors() { seq 0 511 | awk '{
    printf "    - { name: more-%d, from: 100.64.%d.0/24, to: 10.64.%d.0/24, service: p%d }\n", $1, $1 % 64, $1 / 64, $1 % 5 + 1 }'; }
role pairs 1020 8.8.8.8 10.65.0.14 'udp: 53'
role vectors 6000 100.64.7.9 10.64.0.9 'tcp: 83'
"#;

/// What the tables of each role have.
const FORMS: [(&str, Setting); 5] = [
    ("hosts", Setting::HostsV4),
    ("networks", Setting::FilterNetworks),
    ("bitmap", Setting::Bitmap),
    ("pairs", Setting::PairMaskIngress),
    ("vectors", Setting::SummariesIngress),
];

/// Loads each, and asks it.
pub(crate) fn load(machine: &Machine) -> Result<()> {
    machine.sh(WRITE)?;
    machine.sh(WRITE_PAIRS)?;
    for (form, _) in FORMS {
        let said = machine.sh(&format!("firewall test /tmp/{form}.yaml 2>&1"))?;
        assert!(said.contains("3 tests passed"), "{form}: {said}");
    }
    Ok(())
}

#[test]
fn each_role_has_the_form_that_it_is_named_for() -> Result<()> {
    let roles = std::env::temp_dir().join(format!("firewall-forms-{}", std::process::id()));
    std::fs::create_dir(&roles)?;
    for script in [WRITE, WRITE_PAIRS] {
        let status = Command::new("sh").args(["-c", script]).env("ROLES", &roles).status()?;
        ensure!(status.success(), "the roles could not be written: {status}");
    }
    for (form, setting) in FORMS {
        let (files, role) = Directory::of_file(&roles.join(form).with_extension("yaml"));
        let loaded = firewall_policy::load(&files, &Subject::File(role), &Options::default());
        let policy = loaded.map_err(|report| anyhow!("{report}"))?.policy;
        let environment = Environment {
            interfaces: Vec::new(),
            cpus: 2,
            generation_slot: 0,
            seed: 0x5eed,
            budget: Budget::USUAL,
            told: None,
            flows: None,
        };
        let generation = compile(&policy, &environment, &mut SlotTable::default())?;
        assert_ne!(generation.settings[setting as usize], 0, "{form}");
    }
    std::fs::remove_dir_all(&roles)?;
    Ok(())
}
