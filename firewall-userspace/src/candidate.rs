//! A policy that somebody wants: read, checked, compiled; nothing is changed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use firewall_policy::codes::Code;
use firewall_policy::compile::{
    self, Budget, CompileError, Environment, Generation, Settings, SlotTable,
};
use firewall_policy::diagnostic::{Diagnostic, Report};
use firewall_policy::directory::Directory;
use firewall_policy::ir::{Chain, Policy, Rule};
use firewall_policy::set::AddrSet;
use firewall_policy::source::Sources;
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
    /// Addresses that are this host's beside those it has now: at boot it has none yet.
    #[arg(skip)]
    pub addresses: Vec<IpAddr>,
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

/// What a policy was read from: enough to read it again when the files have
/// changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// Every file that was read, by its place in the tree.
    pub files: Sources,
    /// What in the tree was meant.
    pub subject: Option<Subject>,
    /// The addresses that `self` stood for.
    pub addresses: Vec<IpAddr>,
}

/// Reads and checks a policy.
///
/// # Errors
/// A report of everything that is wrong.
pub(crate) fn read(config: &Path, wanted: &Wanted) -> Result<Loaded, Report> {
    let (files, subject) = wanted.subject(config);
    let addresses = own_addresses(&wanted.addresses);
    firewall_policy::load(&files, &subject, &options(&addresses))
}

/// As [`read`], and remembers what was read.
///
/// # Errors
/// A report of everything that is wrong.
pub(crate) fn read_with_origin(config: &Path, wanted: &Wanted) -> Result<(Loaded, Origin), Report> {
    let (files, subject) = wanted.subject(config);
    let addresses = own_addresses(&wanted.addresses);
    let options = Options { keep_sources: true, keep_services: false, ..options(&addresses) };
    let mut loaded = firewall_policy::load(&files, &subject, &options)?;
    let files = std::mem::take(&mut loaded.sources);
    Ok((loaded, Origin { files, subject: Some(subject), addresses }))
}

/// Reads host.yaml alone.
///
/// # Errors
/// A report of everything that is wrong with it.
pub(crate) fn read_host(config: &Path) -> Result<Host, Report> {
    let files = Directory::new(config);
    firewall_policy::load_host(&files, &options(&own_addresses(&[]))).map(|(host, _)| host)
}

/// This host's addresses now, and others that it is known to have.
fn own_addresses(known: &[IpAddr]) -> Vec<IpAddr> {
    let now = addresses::Addresses::of_this_host().own;
    let all: BTreeSet<IpAddr> = now.into_iter().chain(known.iter().copied()).collect();
    all.into_iter().collect()
}

fn options(own: &[IpAddr]) -> Options {
    let own = own.iter().map(|address| AddrSet::network(*address, 128));
    Options {
        now: Some(SystemTime::now()),
        own_addresses: Some(own.fold(AddrSet::empty(), |all, one| all.union(&one))),
        keep_services: true,
        ..Options::default()
    }
}

/// What is pinned where a policy goes to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pinned {
    /// The slot that is free.
    pub slot: u8,
    /// Its random number.
    pub seed: u32,
    /// What its programs were told, if it has any.
    pub told: Option<Settings>,
    /// Entries of the table of flows, if there is one.
    pub flows: Option<u32>,
}

/// Compiles a policy for this host, and what is pinned.
///
/// # Errors
/// If it does not fit; says what to do.
pub(crate) fn compile(
    policy: &Policy,
    pinned: &Pinned,
    slots: &mut SlotTable,
) -> Result<Generation> {
    let Pinned { slot, seed, told, flows } = *pinned;
    let environment = Environment {
        interfaces: interfaces::all().into_iter().map(|one| (one.name, one.ifindex)).collect(),
        cpus: maps::cpus()?,
        generation_slot: slot.into(),
        seed,
        budget: Budget::USUAL,
        told,
        flows,
    };
    compile::compile(policy, &environment, slots).context("the policy does not fit")
}

/// A policy that does not fit, as a finding; other errors stay what they are.
///
/// # Errors
/// The error, if it is another one.
pub(crate) fn too_large(loaded: &Loaded, error: anyhow::Error) -> Result<Diagnostic> {
    let cause = error.downcast_ref::<CompileError>().map(|cause| {
        let is_setting = matches!(cause, CompileError::Memory { is_setting: true, .. });
        (cause.to_string(), loaded.memory_max.as_ref().filter(|_| is_setting))
    });
    let Some((message, place)) = cause else { return Err(error) };
    let diagnostic = Diagnostic::new(Code::TooLarge, message);
    Ok(match place {
        Some(span) => diagnostic.at(span, "the bound of this policy"),
        None => diagnostic,
    })
}

/// Every rule of a policy, ingress first, in order of precedence.
pub(crate) fn rules(policy: &Policy) -> impl Iterator<Item = &Rule> {
    [&policy.ingress, &policy.egress].into_iter().flat_map(Chain::rules)
}

/// Names of the files that a policy came from.
pub(crate) fn files(policy: &Policy) -> Vec<String> {
    let defaults = [&policy.ingress, &policy.egress].map(|chain| &chain.default_span);
    let rules = rules(policy).map(|rule| &rule.span);
    let tests = policy.tests.iter().map(|test| &test.span);
    let spans = defaults.into_iter().chain(rules).chain(tests);
    let mut names: Vec<&String> = spans.map(|span| &span.source.name).collect();
    // Neighbours are most often of one file.
    names.dedup();
    names.into_iter().collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// A role, read and compiled as tests do that look at it on no host.
#[cfg(test)]
pub(crate) fn of_role(text: &str) -> (Loaded, Generation) {
    let files = firewall_policy::source::MemoryFiles::new().with("rules/web.yaml", text);
    let subject = Subject::File("rules/web.yaml".into());
    let loaded = firewall_policy::load(&files, &subject, &Options::default())
        .unwrap_or_else(|report| panic!("{report}"));
    let generation = of_loaded(&loaded);
    (loaded, generation)
}

/// What a policy compiles to where nothing is pinned.
#[cfg(test)]
pub(crate) fn of_loaded(loaded: &Loaded) -> Generation {
    compile(&loaded.policy, &Pinned::default(), &mut SlotTable::default()).unwrap()
}

#[cfg(test)]
mod tests {
    use firewall_policy::diagnostic::Style;
    use firewall_policy::source::MemoryFiles;

    use super::*;

    #[test]
    fn what_does_not_fit_names_the_bound() {
        let role = "version: 1\nrole: web\nfailsafe: { ingress: [] }\nmemory-max: 1MB\n";
        let files = MemoryFiles::new().with("rules/web.yaml", role);
        let subject = Subject::File("rules/web.yaml".into());
        let loaded = firewall_policy::load(&files, &subject, &Options::default())
            .unwrap_or_else(|report| panic!("{report}"));
        let error =
            compile(&loaded.policy, &Pinned::default(), &mut SlotTable::default()).unwrap_err();
        let text = too_large(&loaded, error).unwrap().render(Style::Plain);
        // How much depends on the number of CPUs.
        let example = Code::TooLarge.example();
        let around = |text: &str| {
            let (before, rest) = text.split_once("needs ").unwrap();
            (before.to_owned(), rest.split_once(" MiB").unwrap().1.to_owned())
        };
        assert_eq!(around(&text), around(example));
    }
}
