//! Benches that the tests of one policy share: loading the programs takes longer
//! than all their cases.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Result, anyhow};
use firewall_policy::compile::{Budget, Generation};
use firewall_tests::packet::{Arp, Frame};
use firewall_userspace::kernel::sandbox::Hook;

use crate::common::bench::Bench;
use crate::common::policy;
use crate::ends::Ends;
use crate::ledger::Case;

/// A policy, and the machines that enforce it once the first test asks.
pub(crate) struct Shared {
    policy: Policy,
    bench: OnceLock<Result<Mutex<Bench>, String>>,
}

enum Policy {
    Yaml(&'static str),
    Built(fn() -> Result<Generation>),
}

impl Shared {
    /// The policy of a role file, given without its first lines.
    pub(crate) const fn new(policy: &'static str) -> Self {
        Self { policy: Policy::Yaml(policy), bench: OnceLock::new() }
    }

    /// A generation that no role file gives.
    pub(crate) const fn built(generation: fn() -> Result<Generation>) -> Self {
        Self { policy: Policy::Built(generation), bench: OnceLock::new() }
    }

    /// The machines, for one test at a time.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, Bench>> {
        let load = || match self.policy {
            Policy::Yaml(text) => {
                let policy = policy::read(text)?;
                Bench::new(policy::compiled(&policy, Budget::USUAL)?)
            }
            Policy::Built(generation) => Bench::new(generation()?),
        };
        let bench = self.bench.get_or_init(|| match load() {
            Ok(bench) => Ok(Mutex::new(bench)),
            Err(error) => Err(format!("{error:#}")),
        });
        match bench {
            Ok(bench) => Ok(bench.lock().unwrap_or_else(PoisonError::into_inner)),
            Err(error) => Err(anyhow!("{error}")),
        }
    }

    /// Loads the programs of these hooks, for one who cannot do it later.
    pub(crate) fn load(&self, hooks: &[Hook]) -> Result<()> {
        let mut bench = self.lock()?;
        let arp = Frame::ethernet().arp(Arp::default()).bytes();
        hooks.iter().try_for_each(|hook| bench.judge(*hook, &arp, 1).map(|_| ()))
    }

    /// Runs cases that do not know of each other.
    pub(crate) fn table(&self, cases: impl IntoIterator<Item = Case>) -> Result<()> {
        let mut bench = self.lock()?;
        each(cases, |case| case.check(&mut bench))
    }

    /// Runs cases of which each meets what those before it left behind.
    pub(crate) fn story(&self, cases: impl IntoIterator<Item = Case>) -> Result<()> {
        let mut bench = self.lock()?;
        bench.reset()?;
        each(cases, |case| case.check_on(&mut bench))
    }
}

/// Runs all cases, and reports all that fail.
fn each(
    cases: impl IntoIterator<Item = Case>,
    mut check: impl FnMut(&Case) -> Result<()>,
) -> Result<()> {
    let errors: Vec<String> = cases
        .into_iter()
        .filter_map(|case| check(&case).err().map(|error| format!("{error:#}")))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(anyhow!("{}", errors.join("\n"))) }
}

/// A web server's policy, which most topics share.
///
/// `clients` holds the client of [`Ends`](crate::ends::Ends), `bastion` and
/// `upstream` are elsewhere.
pub(crate) static SITE: Shared = Shared::new(
    "groups:
  clients:  [198.51.100.0/24, \"2001:db8:2::/64\"]
  abuse:    [198.51.100.66, \"2001:db8:2::66\"]
  bastion:  [203.0.113.22, \"2001:db8:9::22\"]
  upstream: [203.0.113.80, \"2001:db8:9::80\"]
  metadata: [169.254.169.254, \"fd00:ec2::254\"]
services:
  ssh:    { tcp: 22 }
  http:   { tcp: 80 }
  app:    { tcp: 8090 }
  dns:    { udp: 53, tcp: 53 }
  syslog: { udp: 514 }
  gre:    { ip-proto: 47 }
failsafe:
  ingress: [{ name: bastion-ssh, from: bastion, service: ssh }]
  egress:  [{ name: bastion-logs, to: bastion, service: syslog }]
state: { tcp: 20s, udp: 10s }
ingress:
  deny:
    - { name: no-abuse, from: abuse, service: all }
  allow:
    - { name: web, from: any, service: http }
    - { name: logs, from: clients, service: syslog }
    - { name: tunnel, from: clients, service: gre }
egress:
  deny:
    - { name: no-metadata, to: metadata, service: all }
  allow:
    - { name: app, to: upstream, service: app }
    - { name: dns, to: upstream, service: dns }
    - { name: tunnel-out, to: upstream, service: gre }
",
);

/// The server and the bastion.
pub(crate) fn bastion(ends: Ends) -> Ends {
    ends.from([203, 0, 113, 22], "2001:db8:9::22")
}

/// The server and its upstream.
pub(crate) fn upstream(ends: Ends) -> Ends {
    ends.from([203, 0, 113, 80], "2001:db8:9::80")
}

/// The server and a client that is denied everything.
pub(crate) fn abuse(ends: Ends) -> Ends {
    ends.from([198, 51, 100, 66], "2001:db8:2::66")
}

/// The server and nobody in particular.
pub(crate) fn stranger(ends: Ends) -> Ends {
    ends.from([192, 0, 2, 200], "2001:db8:77::1")
}
