//! Section `programs`: what the verifier walked, which does not depend on time.

use std::os::fd::AsFd as _;

use anyhow::Result;
use firewall_userspace::kernel::object;

use super::Bench;
use super::bpf;
use super::ours::Ours;
use super::policy;

/// Section `programs`: of a policy with every feature, so that nothing is deleted
/// as unused.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let policies = [(PORTS, policy::ports()), (RULES, policy::rules(1_000, false))];
    for (policy, files) in policies {
        let ours = Ours::new(bench.pair, "programs", &files)?;
        for name in object::JUDGES.into_iter().chain(object::ANSWERS) {
            note(bench, &format!("{name}, {policy}"), &ours.judge(name)?)?;
        }
        if policy == RULES {
            for name in object::ROOTS {
                note(bench, name, &ours.root(name)?)?;
            }
            for name in object::STAGES {
                note(bench, name, &ours.stage(name)?)?;
            }
        }
    }
    Ok(())
}

fn note(bench: &mut Bench<'_>, row: &str, program: &std::os::fd::OwnedFd) -> Result<()> {
    if !bench.options.asks("programs", row) {
        return Ok(());
    }
    let facts = bpf::facts(program.as_fd())?;
    let book = &mut bench.book;
    book.fact("programs", row, VERIFIED, (f64::from(facts.verified), "instructions"));
    book.fact("programs", row, "machine code", (f64::from(facts.code_bytes), "bytes"));
    Ok(())
}

/// Policies, as rows name them.
pub(super) const PORTS: &str = "ports and requests";
pub(super) const RULES: &str = "1,000 rules";

/// Column that the baseline holds.
pub(super) const VERIFIED: &str = "verified";
