//! What the verifier walks to accept each program, against the committed baseline:
//! the one part of the bench that is the same on every machine.

use anyhow::Result;
use firewall_tests::bench::{Options, run};

/// A rise of a fifth fails; a smaller one is a warning. After a change that is
/// meant: `cargo xtask bench --only programs --save-baseline`.
#[test]
fn programs_cost_the_verifier_no_more_than_they_did() -> Result<()> {
    run(&Options { only: Some("programs".into()), ..Options::default() })
}
