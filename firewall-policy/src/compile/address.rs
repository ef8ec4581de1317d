//! Address classes: one division of both families by all address sets of both
//! chains, as remote and as local end.

use firewall_common::abi::tables::Setting;

use super::classes::{Run, Sweep};
use super::error::CompileError;
use super::hosts::{Apart, Divided, HOSTS_MIN};
use super::lists::{Lists, word};
use super::room::Room;
use super::trie::Address;
use crate::set::AddrSet;

/// Address classes and where they lie.
///
/// Class 0 is that of most IPv4 addresses: those that nobody names, unless some
/// rule names `0.0.0.0/0`. The shortcuts of the datapath (a clear bit of the /24
/// bitmap, no IPv6 root) lead to it.
#[derive(Debug)]
pub(super) struct AddressClasses {
    pub(super) v4: Vec<Run<u32>>,
    pub(super) v6: Vec<Run<u128>>,
    /// Lone addresses with their classes, if there are many; the runs are without.
    pub(super) hosts_v4: Vec<(u32, u32)>,
    pub(super) hosts_v6: Vec<(u128, u32)>,
    /// For each class, the sets that hold it.
    pub(super) members: Lists,
    /// How many of the classes, the last ones, no address is of.
    pub(super) spare: usize,
}

impl AddressClasses {
    /// Divides by sets; those that hold every address divide nothing.
    pub(super) fn new(sets: &[&AddrSet], seed: u32, room: Room<'_>) -> Result<Self, CompileError> {
        let dividing = || (0..).zip(sets).filter(|(_, set)| !set.is_any());
        let mut sweep = Sweep::new(sets.len(), seed);
        let (mut v4, mut hosts_v4) =
            divide(&mut sweep, dividing().map(|(number, set)| (number, set.v4.ranges())))?;
        let (mut v6, mut hosts_v6) =
            divide(&mut sweep, dividing().map(|(number, set)| (number, set.v6.ranges())))?;
        let mut members = sweep.into_members();
        let common = most_common(&v4, members.len());
        if common != 0 {
            members.swap(0, common);
            let renumber = |class: &mut u32| {
                if *class == 0 {
                    *class = common;
                } else if *class == common {
                    *class = 0;
                }
            };
            let classes = v4.iter_mut().map(|run| &mut run.class);
            let classes = classes.chain(v6.iter_mut().map(|run| &mut run.class));
            let classes = classes.chain(hosts_v4.iter_mut().map(|(_, class)| class));
            for class in classes.chain(hosts_v6.iter_mut().map(|(_, class)| class)) {
                renumber(class);
            }
        }
        let spare = room.classes(Setting::AddressClasses, members.len()) - members.len();
        for _ in 0..spare {
            members.push(&[]);
        }
        Ok(Self { v4, v6, hosts_v4, hosts_v6, members, spare })
    }

    /// Whether every IPv6 address is of class 0.
    pub(super) fn is_v4_only(&self) -> bool {
        self.v6.iter().all(|run| run.class == 0)
    }

    /// How many classes there are, with the spare ones.
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    /// Lone addresses of both families.
    pub(super) fn lone(&self) -> usize {
        self.hosts_v4.len() + self.hosts_v6.len()
    }

    /// /24s that hold anything but class 0 and lone addresses.
    pub(super) fn populated(&self) -> u32 {
        let (mut count, mut next) = (0, 0);
        for (first, last) in self.named() {
            let first = next.max(first >> 8);
            count += (last >> 8) + 1 - first.min((last >> 8) + 1);
            next = (last >> 8) + 1;
        }
        count
    }

    /// Calls `each` with the number of every such /24.
    pub(super) fn each_network(&self, mut each: impl FnMut(u32)) {
        let mut next = 0;
        for (first, last) in self.named() {
            for network in next.max(first >> 8)..=last >> 8 {
                each(network);
            }
            next = (last >> 8) + 1;
        }
    }

    /// Sets the bit of every such /24.
    pub(super) fn mark(&self, bitmap: &mut [u32]) {
        self.each_network(|network| bitmap[network as usize >> 5] |= 1 << (network & 31));
    }

    /// Ranges of IPv4 addresses that are not of class 0, ascending.
    fn named(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let lasts = self.v4.iter().skip(1).map(|next| next.first - 1).chain([u32::MAX]);
        let runs = self.v4.iter().zip(lasts);
        runs.filter(|(run, _)| run.class != 0).map(|(run, last)| (run.first, last))
    }
}

/// The runs of a family, and its lone addresses with their classes.
fn divide<'s, T: Address + 's>(
    sweep: &mut Sweep,
    sets: impl Iterator<Item = (u32, &'s [(T, T)])>,
) -> Result<Divided<T>, CompileError> {
    let mut apart = Apart::new();
    sweep.divide(sets, |run| apart.push(run))?;
    Ok(apart.finish(HOSTS_MIN))
}

/// The class of most addresses; the lowest of several.
fn most_common(runs: &[Run<u32>], classes: usize) -> u32 {
    let mut sizes = vec![0_u64; classes];
    for (place, run) in runs.iter().enumerate() {
        let end = runs.get(place + 1).map_or(1 << 32, |next| u64::from(next.first));
        sizes[run.class as usize] += end - u64::from(run.first);
    }
    let most = sizes.iter().max().copied();
    sizes.iter().position(|&size| Some(size) == most).map_or(0, word)
}
