//! What stands against a policy on this host, and nowhere else: asked by `apply`
//! before anything changes. `firewall check` cannot know it.

mod interfaces;
#[cfg(test)]
mod tests;

use firewall_policy::Loaded;
use firewall_policy::diagnostic::Diagnostic;

use crate::kernel::store::Store;

/// Everything that is found: errors stop `apply`.
pub(crate) fn findings(loaded: &Loaded, store: Option<&Store>, is_trial: bool) -> Vec<Diagnostic> {
    interfaces::findings(loaded, &interfaces::Seen::of_this_host(loaded, store, is_trial))
}
