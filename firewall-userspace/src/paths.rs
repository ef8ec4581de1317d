//! Where things are, and the environment variables that move them.

use std::path::PathBuf;

/// Directory of host.yaml and `rules/`; moved by `FIREWALL_CONFIG`.
pub(crate) fn configuration() -> PathBuf {
    from_environment("FIREWALL_CONFIG", firewall_policy::source::ROOT)
}

/// Directory of the agent's socket and of the lock of `apply`; moved by
/// `FIREWALL_RUN`.
pub(crate) fn run() -> PathBuf {
    from_environment("FIREWALL_RUN", "/run/firewall")
}

/// Directory of the copy of what was confirmed last; moved by `FIREWALL_STATE`.
pub(crate) fn state() -> PathBuf {
    from_environment("FIREWALL_STATE", "/var/lib/firewall")
}

/// The agent's socket.
pub(crate) fn socket() -> PathBuf {
    run().join("firewall.sock")
}

/// The lock that every change of the policy holds.
pub(crate) fn lock() -> PathBuf {
    run().join("apply.lock")
}

/// The lock of who exchanges the program of a link, or replaces programs that one may have.
pub(crate) fn links_lock() -> PathBuf {
    run().join("links.lock")
}

/// The lock that an agent holds for its life.
pub(crate) fn agent_lock() -> PathBuf {
    run().join("agent.lock")
}

fn from_environment(variable: &str, otherwise: &str) -> PathBuf {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map_or_else(|| otherwise.into(), PathBuf::from)
}
