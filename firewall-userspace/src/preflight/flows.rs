//! A table of flows of another size than the policy asks for.

use firewall_common::abi::flow::places;
use firewall_policy::Loaded;
use firewall_policy::codes::Code;
use firewall_policy::diagnostic::Diagnostic;

use crate::report::units;

/// A finding if the table that is there, of so many entries, is not the one asked for.
pub(super) fn finding(loaded: &Loaded, there: u32) -> Option<Diagnostic> {
    let wanted = loaded.policy.state.flows;
    let span = loaded.state.as_ref()?;
    if places(wanted) == places(there) {
        return None;
    }
    let [there, wanted] = [there, wanted].map(|flows| units::count(flows.into()));
    let message = format!(
        "the table of flows keeps its size: it has room for {there}, and {wanted} are asked for"
    );
    Some(Diagnostic::new(Code::FlowsKept, message).at(span, "taken when the table is made").help(
        "at the next boot, or: systemctl stop firewall; rm -r /sys/fs/bpf/firewall; systemctl \
         start firewall. The host is open meanwhile",
    ))
}
