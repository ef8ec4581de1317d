//! Every form of tables is taken by this kernel's verifier, which is older than the one
//! that all else is tested with.

use anyhow::Result;
use firewall_tests::machine::Machine;

/// Roles with a list of hosts so long that they have a table, and with one of networks so
/// long that there is a bitmap, in both families.
const WRITE: &str = r#"
role() {
    printf 'version: 1\nrole: %s\ndefault: { ingress: drop, egress: drop }\n' $1
    printf 'failsafe: { ingress: [] }\n'
    printf 'services: { http: { tcp: 80 }, web: { tcp: 8080, count: http1 } }\ngroups:\n  crowd:\n'
    $1
    printf 'ingress:\n  deny: [{ name: crowd, from: crowd, service: http }]\n'
    printf '  allow:\n    - { name: web, from: any, service: web }\n'
    printf '    - { name: some, from: [10.1.2.0/28, "2001:db8:7::/60"], service: http }\n'
    printf 'egress:\n  allow: [{ name: out, to: [10.9.0.0/16, "2001:db8:9::/48"], service: http }]\n'
    printf 'tests:\n'
    printf '  - { name: some, in: { from: 10.1.2.3, to: 10.9.9.1, tcp: 80 }, expect: allow, by: some }\n'
    printf '  - { name: six, in: { from: "2001:db8:7::3", to: "2001:db8:8::1", tcp: 80 }, expect: allow, by: some }\n'
    printf "  - { name: crowd, in: { from: $2, to: 10.9.9.1, tcp: 80 }, expect: drop, by: crowd }\n"
}
hosts() { seq 9000 | awk '{
    printf "    - 100.64.%d.%d\n    - \"2001:db8:1::%x\"\n", $1 / 250, 1 + $1 % 250, $1 }'; }
networks() { seq 20000 | awk '{ printf "    - %d.%d.%d.0/24\n", 20 + $1 / 1000, $1 % 250, $1 % 7 }'; }
role hosts 100.64.1.2 > /tmp/hosts.yaml
role networks 21.1.1.9 > /tmp/networks.yaml
"#;

/// Loads and asks each.
pub(crate) fn load(machine: &Machine) -> Result<()> {
    machine.sh(WRITE)?;
    for form in ["hosts", "networks"] {
        let said = machine.sh(&format!("firewall test /tmp/{form}.yaml 2>&1"))?;
        assert!(said.contains("3 tests passed"), "{form}: {said}");
    }
    Ok(())
}
