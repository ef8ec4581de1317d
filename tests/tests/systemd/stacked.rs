//! VLANs and bonds, for which the lab's kernel may have no module: each packet is
//! judged and counted once, or the policy is refused.

use anyhow::Result;
use firewall_tests::firewall::Counters;
use firewall_tests::machine::Machine;

/// Two networks of their own: `s` has a VLAN on eth0, and bond1 of port1; `c` is at
/// the other end of both.
const SETUP: &str = "
set -e
modprobe -a 8021q bonding veth
ip netns add s; ip netns add c
ip -n s link add eth0 type veth peer name eth0 netns c
ip -n s link add port1 type veth peer name port1 netns c
for n in s c; do
    ip -n $n link set eth0 up
    ip -n $n link add link eth0 name eth0.10 type vlan id 10
done
ip -n s addr add 203.0.113.1/24 dev eth0.10; ip -n c addr add 203.0.113.2/24 dev eth0.10
ip -n s link set eth0.10 up; ip -n c link set eth0.10 up
ip -n s link add bond1 type bond mode active-backup
ip -n s link set port1 master bond1
ip -n s addr add 198.51.100.1/24 dev bond1; ip -n c addr add 198.51.100.2/24 dev port1
ip -n s link set bond1 up; ip -n c link set port1 up
";
const VLAN: &str = "203.0.113.1";
const BOND: &str = "198.51.100.1";

pub(crate) fn is_judged_once_or_refused(machine: &Machine) -> Result<()> {
    machine.sh(SETUP)?;
    // One pattern takes both: judged below.
    let said = apply(machine, "match: [\"eth*\"]")?;
    assert!(
        said.contains("note: eth0.10 is a VLAN on eth0: its packets are judged there"),
        "{said}"
    );
    assert!(said.contains("attached eth0\n") && said.ends_with("ended with 0\n"), "{said}");
    assert_eq!(counted(machine, VLAN)?, 10);
    for entries in ["match: [eth0, eth0.10]", "match: [\"eth*\", \"*.10\"]"] {
        let said = apply(machine, entries)?;
        let wanted = format!(
            "\
error[E0602]: `eth0.10` is a VLAN on `eth0`, and both are named
  ╭─[/tmp/lab.yaml:3:13]
3 │ interfaces: {{ {entries} }}
"
        );
        assert!(said.contains(&wanted), "{said}");
        let help = "  help: ignore: [eth0.10]   its packets are judged on eth0\n";
        assert!(said.contains(help) && said.contains("nothing was changed"), "{said}");
    }
    // What the message says to write; then the VLAN alone, and back: the program on it
    // is not in the way.
    let said = apply(machine, "match: [eth0, eth0.10], ignore: [eth0.10]")?;
    assert!(said.ends_with("ended with 0\n") && counted(machine, VLAN)? == 10, "{said}");
    let said = apply(machine, "match: [\"eth*\"], ignore: [eth0]")?;
    assert!(said.contains("attached eth0.10\n") && said.contains("detached eth0:"), "{said}");
    assert_eq!(counted(machine, VLAN)?, 10);
    let said = apply(machine, "match: [\"eth*\"]")?;
    assert!(said.contains("attached eth0\n") && said.contains("detached eth0.10:"), "{said}");

    let said = apply(machine, "match: [\"port*\", \"bond*\"]")?;
    let wanted = "error[E0602]: `port1` is a member of `bond1`, and both are named";
    assert!(said.contains(wanted) && said.contains("help: ignore: [port1]"), "{said}");
    let said = apply(machine, "match: [\"*1\"]")?;
    assert!(
        said.contains("note: port1 is a member of bond1: its packets are judged there"),
        "{said}"
    );
    assert!(said.contains("attached bond1\n") && said.ends_with("ended with 0\n"), "{said}");
    assert_eq!(counted(machine, BOND)?, 10);
    let said = apply(machine, "match: [\"port*\"]")?;
    assert!(said.ends_with("ended with 0\n") && counted(machine, BOND)? == 10, "{said}");
    machine.sh(
        "ip netns del s; ip netns del c; rm -r /sys/fs/bpf/stacked /run/stacked /tmp/lab.yaml",
    )?;
    Ok(())
}

/// A firewall of its own in the network `s`.
const FIREWALL: &str = "nsenter --net=/run/netns/s env FIREWALL_PINS=/sys/fs/bpf/stacked \
                        FIREWALL_RUN=/run/stacked FIREWALL_STATE=/run/stacked firewall";

/// Applies a policy for these interfaces; all that was said, and how it ended.
fn apply(machine: &Machine, entries: &str) -> Result<String> {
    let policy = format!(
        "version: 1\nrole: lab\ninterfaces: {{ {entries} }}\nfailsafe: {{ ingress: [] }}\n\
         services: {{ echo: {{ udp: 7 }}, ssh: {{ tcp: 22 }} }}\ningress:\n  allow:\n    \
         - {{ name: echo, from: any, service: echo }}\n    \
         - {{ name: ssh, from: 203.0.113.2, service: ssh }}\n"
    );
    machine.sh(&format!(
        "cat > /tmp/lab.yaml <<'END'\n{policy}END\n\
         {FIREWALL} apply /tmp/lab.yaml 2>&1; echo ended with $?"
    ))
}

/// How often the rule has counted ten datagrams to the echo port.
fn counted(machine: &Machine, to: &str) -> Result<u64> {
    let count = || -> Result<u64> {
        let counters = machine.sh(&format!("{FIREWALL} counters --json"))?;
        let counters = Counters::read(&serde_json::from_str(&counters)?)?;
        Ok(counters.rule("ingress", "echo").packets)
    };
    let before = count()?;
    machine.sh(&format!(
        "nsenter --net=/run/netns/c bash -c 'for i in $(seq 10); do echo once > /dev/udp/{to}/7; \
         sleep 0.05; done'; sleep 0.3"
    ))?;
    Ok(count()? - before)
}
