//! What stands against a policy on this host, and nowhere else: asked by `apply`
//! before anything changes. `firewall check` cannot know it.

mod flows;
mod interfaces;
mod role;
#[cfg(test)]
mod tests;
mod vital;

use firewall_policy::Loaded;
use firewall_policy::diagnostic::Diagnostic;

use crate::host::addresses::Addresses;
use crate::kernel::store::Store;

/// What is found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Errors, which stop `apply`, and warnings, which do not.
    pub diagnostics: Vec<Diagnostic>,
    /// Warnings that stop it unless somebody insists.
    pub doubts: Vec<Diagnostic>,
}

impl Found {
    /// Everything that stands against a policy.
    pub(crate) fn on_this_host(loaded: &Loaded, store: Option<&Store>, is_trial: bool) -> Self {
        let own = Addresses::of_this_host().own;
        let seen = interfaces::Seen::of_this_host(loaded, store, is_trial);
        let mut diagnostics = interfaces::findings(loaded, &seen);
        diagnostics.extend(vital::findings(loaded, &vital::Seen::of_this_host(loaded, &own)));
        let flows = store.and_then(|store| store.flow_capacity().ok());
        diagnostics.extend(flows.and_then(|there| flows::finding(loaded, there)));
        Self { diagnostics, doubts: role::findings(loaded, &own) }
    }
}
