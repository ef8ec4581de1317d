//! Policies of tests, read and compiled as the agent does it.

use anyhow::{Result, anyhow};
use firewall_policy::compile::{Budget, Environment, Generation, SlotTable, compile};
use firewall_policy::ir::Policy;
use firewall_policy::set::AddrSet;
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Options, Subject, load};
use firewall_tests::packet::{SERVER4, SERVER6};
use firewall_userspace::kernel::maps;

/// Interfaces of the host. Frames put to a program without a word about the
/// interface come and go by `lo`, index 1, which the policies call `eth0`.
pub(crate) const INTERFACES: [(&str, u32); 2] = [("eth0", 1), ("eth1", 2)];

/// The policy of a role file, given without its first lines. Without a word about
/// failsafe, it has none.
pub(crate) fn read(text: &str) -> Result<Policy> {
    let none = if text.contains("failsafe:") { "" } else { "failsafe: { ingress: [] }\n" };
    let text = format!("version: 1\nrole: test\n{none}{text}");
    let files = MemoryFiles::new().with("rules/test.yaml", text);
    let own = [SERVER4.into(), SERVER6.into()].map(|address| AddrSet::network(address, 128));
    let options = Options { own_addresses: Some(AddrSet::union_all(&own)), ..Options::default() };
    match load(&files, &Subject::File("rules/test.yaml".into()), &options) {
        Ok(loaded) => Ok(loaded.policy),
        Err(report) => Err(anyhow!("{report}")),
    }
}

/// Compiles a policy for this host.
pub(crate) fn compiled(policy: &Policy, budget: Budget) -> Result<Generation> {
    compiled_for(0, policy, budget)
}

/// The same for a slot.
pub(crate) fn compiled_for(slot: u8, policy: &Policy, budget: Budget) -> Result<Generation> {
    let environment = Environment {
        interfaces: INTERFACES.map(|(name, index)| (name.to_owned(), index)).to_vec(),
        cpus: maps::cpus()?,
        generation_slot: slot.into(),
        seed: 0x5eed,
        budget,
        told: None,
        flows: None,
    };
    compile(policy, &environment, &mut SlotTable::default()).map_err(|error| anyhow!("{error}"))
}
