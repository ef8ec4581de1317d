//! A policy that somebody wants: read, checked, compiled; nothing is changed.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use firewall_policy::compile::{self, Environment, Generation, SlotTable};
use firewall_policy::diagnostic::Report;
use firewall_policy::directory::Directory;
use firewall_policy::ir::{Chain, Policy, Rule};
use firewall_policy::set::AddrSet;
use firewall_policy::source::Span;
use firewall_policy::{Host, Loaded, Options, Subject};

use crate::host::{addresses, interfaces};
use crate::kernel::maps;

/// Which policy is meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Wanted {
    /// A role file; without it, what host.yaml says
    #[arg(value_name = "FILE", conflicts_with = "roles")]
    pub file: Option<PathBuf>,
    /// A role by name instead (several: repeat it)
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
}

impl Wanted {
    /// The tree of files, and what in it is meant.
    fn subject(&self, config: &Path) -> (Directory, Subject) {
        match &self.file {
            Some(file) => {
                let (files, inside) = Directory::of_file(file);
                (files, Subject::File(inside))
            }
            None if self.roles.is_empty() => (Directory::new(config), Subject::Host),
            None => (Directory::new(config), Subject::Roles(self.roles.clone())),
        }
    }

    /// In the words of the command line.
    pub(crate) fn words(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None if self.roles.is_empty() => "host.yaml".to_owned(),
            None => format!("role {}", self.roles.join(", ")),
        }
    }
}

/// Reads and checks a policy.
///
/// # Errors
/// A report of everything that is wrong.
pub(crate) fn read(config: &Path, wanted: &Wanted) -> Result<Loaded, Report> {
    let (files, subject) = wanted.subject(config);
    firewall_policy::load(&files, &subject, &options())
}

/// Reads host.yaml alone.
///
/// # Errors
/// A report of everything that is wrong with it.
pub(crate) fn read_host(config: &Path) -> Result<Host, Report> {
    let files = Directory::new(config);
    firewall_policy::load_host(&files, &options()).map(|(host, _)| host)
}

fn options() -> Options {
    let own = addresses::Addresses::of_this_host().own;
    let own = own.into_iter().map(|address| AddrSet::network(address, 128));
    Options {
        now: Some(SystemTime::now()),
        own_addresses: Some(own.fold(AddrSet::empty(), |all, one| all.union(&one))),
        ..Options::default()
    }
}

/// Compiles a policy for this host.
///
/// # Errors
/// If it does not fit; says what to do.
pub(crate) fn compile(
    policy: &Policy,
    generation_slot: u8,
    slots: &mut SlotTable,
) -> Result<Generation> {
    let environment = Environment {
        interfaces: interfaces::all().into_iter().map(|one| (one.name, one.ifindex)).collect(),
        cpus: maps::cpus()?,
        generation_slot: generation_slot.into(),
        seed: random(),
        budget_bytes: Environment::BUDGET_BYTES,
    };
    compile::compile(policy, &environment, slots).context("the policy does not fit")
}

/// A number that nobody can guess: the standard library's hash keys come from
/// the kernel.
fn random() -> u32 {
    let bytes = RandomState::new().build_hasher().finish().to_ne_bytes();
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// Every rule of a policy, ingress first, in order of precedence.
pub(crate) fn rules(policy: &Policy) -> impl Iterator<Item = &Rule> {
    [&policy.ingress, &policy.egress].into_iter().flat_map(chain_rules)
}

/// Every rule of a chain, in order of precedence.
pub(crate) fn chain_rules(chain: &Chain) -> impl Iterator<Item = &Rule> {
    chain.failsafe.iter().chain(&chain.deny).chain(&chain.allow)
}

/// Names of the files that a policy came from.
pub(crate) fn files(policy: &Policy) -> Vec<String> {
    let name = |span: &Span| span.source.name.clone();
    let defaults = [&policy.ingress, &policy.egress].map(|chain| name(&chain.default_span));
    let rules = rules(policy).map(|rule| name(&rule.span));
    let tests = policy.tests.iter().map(|test| name(&test.span));
    let files: BTreeSet<String> = defaults.into_iter().chain(rules).chain(tests).collect();
    files.into_iter().collect()
}
