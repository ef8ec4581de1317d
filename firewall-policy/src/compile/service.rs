//! Service classes of one chain.

use firewall_common::service::{PortPlace, ServiceIndex, proto};

use super::classes::{Run, Sweep, class_of};
use super::error::CompileError;
use super::lists::Lists;
use crate::set::ServiceSet;

/// The service space, divided by what the rules of a chain allow, deny and count.
#[derive(Debug)]
pub(super) struct ServiceClasses {
    runs: Vec<Run<u32>>,
    /// For each set, the classes it holds, ascending.
    pub(super) of_set: Lists,
    count: usize,
}

impl ServiceClasses {
    pub(super) fn new(sets: &[&ServiceSet], seed: u32) -> Result<Self, CompileError> {
        let mut sweep = Sweep::new(sets.len(), seed);
        let mut runs = Vec::new();
        let numbered = (0..).zip(sets).map(|(number, set)| (number, set.ranges()));
        sweep.divide(numbered, |run| runs.push(run))?;
        runs.retain(|run: &Run<u32>| run.first < ServiceIndex::END);
        let members = sweep.into_members();
        Ok(Self { runs, of_set: members.inverted(sets.len()), count: members.len() })
    }

    /// How many classes there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether some rule tells SCTP ports apart, or from SCTP without a port.
    pub(super) fn tells_sctp(&self) -> bool {
        let portless = class_of(&self.runs, ServiceIndex::OTHER + u32::from(proto::SCTP));
        let ports = self.runs.partition_point(|run| run.first <= ServiceIndex::SCTP) - 1;
        self.runs[ports..].iter().any(|run| run.class != portless)
    }

    /// Writes a word for each service, that of its class, to the service's
    /// [`place`](ServiceIndex::place).
    pub(super) fn fill(&self, table: &mut [u32], word_of: impl Fn(u32) -> u32) {
        let end = table.len();
        for (place, run) in self.runs.iter().enumerate() {
            let next = self.runs.get(place + 1).map_or(end, |next| next.first as usize);
            let (first, next) = ((run.first as usize).min(end), next.min(end));
            table[first..next].fill(word_of(run.class));
        }
        let (tcp, behind) = table.split_at_mut(ServiceIndex::UDP as usize);
        put_in_places(tcp);
        put_in_places(&mut behind[..ServiceIndex::UDP as usize]);
    }
}

/// Moves words of one protocol's ports, in the order of the ports, to their [`PortPlace`]s, which
/// are in pairs.
fn put_in_places(ports: &mut [u32]) {
    for port in 0..ServiceIndex::UDP {
        let place = PortPlace::of(ServiceIndex(port)).0;
        if port < place {
            ports.swap(port as usize, place as usize);
        }
    }
}
