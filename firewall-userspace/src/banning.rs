//! Which bans are refused: those that would cut off the host or the operator.

use std::net::IpAddr;

use anyhow::Result;
use firewall_policy::set::AddrSet;

use crate::collect::Known;
use crate::host::addresses::Addresses;
use crate::host::session::Session;
use crate::kernel::store::Store;
use crate::remembered::Failsafe;
use crate::report::event::network_of;

/// Shortest prefix that may be banned.
const SHORTEST: u8 = 8;

/// What a ban must not hit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Protected {
    /// Failsafe rules of the policy in force.
    pub failsafe: Vec<Failsafe>,
    /// This host's own addresses, gateways and resolvers.
    pub addresses: Addresses,
    /// The session of the operator.
    pub session: Option<Session>,
}

/// A refused ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Why, naming what would be hit.
    pub why: String,
    /// Whether `--even-me` overrules it.
    pub only_me: bool,
}

impl Protected {
    /// What a ban must not hit on this host.
    ///
    /// # Errors
    /// If what is known of the policy in force cannot be read.
    pub(crate) fn of(store: &Store) -> Result<Self> {
        let known = store.meta()?.map(Known::new);
        Ok(Self {
            failsafe: known.map_or_else(Vec::new, |known| known.remembered.failsafe),
            addresses: Addresses::of_this_host(),
            session: Session::current(),
        })
    }

    /// For a great many questions.
    pub(crate) fn sieve(&self) -> Sieve {
        let ranges = self.failsafe.iter().flat_map(|rule| &rule.ranges);
        let mut sets: Vec<AddrSet> = ranges.map(|&(first, last)| range(first, last)).collect();
        let Addresses { own, gateways, resolvers } = &self.addresses;
        let peer = self.session.map(|session| session.peer.ip());
        let hosts = own.iter().chain(gateways).chain(resolvers).copied().chain(peer);
        sets.extend(hosts.map(|host| range(host, host)));
        Sieve(AddrSet::union_all(&sets))
    }

    /// Why a ban of a network is refused; `None` if it is not.
    pub(crate) fn refusal(&self, address: IpAddr, length: u8) -> Option<Refused> {
        let refused = |why: String| Some(Refused { why, only_me: false });
        let banned = AddrSet::network(address, length);
        let network = written(address, length);
        if length < SHORTEST {
            return refused(format!(
                "{network} is too wide; the shortest prefix that can be banned is /{SHORTEST}"
            ));
        }
        for rule in &self.failsafe {
            let all = rule.ranges.iter().map(|(first, last)| range(*first, *last));
            let sources = all.fold(AddrSet::empty(), |all, one| all.union(&one));
            let Failsafe { rule, place, remote, .. } = rule;
            if banned.is_subset(&sources) {
                return refused(format!(
                    "{network} is covered by {rule} ({remote}, {place}); failsafe sources cannot be banned"
                ));
            }
            if let Some(inside) = banned.intersect(&sources).first() {
                return refused(format!(
                    "{inside}, a source of {rule} ({remote}, {place}), is inside {network}; \
                     failsafe sources cannot be banned"
                ));
            }
        }
        let groups = [
            (&self.addresses.own, "an address of this host"),
            (&self.addresses.gateways, "the default gateway"),
            (&self.addresses.resolvers, "a resolver of this host"),
        ];
        for (addresses, what) in groups {
            if let Some(hit) = addresses.iter().find(|hit| banned.contains(**hit)) {
                return refused(inside(*hit, what, &network));
            }
        }
        let session = self.session.filter(|session| banned.contains(session.peer.ip()))?;
        let why = inside(session.peer.ip(), "the far end of your own SSH session", &network);
        Some(Refused { why, only_me: true })
    }
}

/// Every address that some ban would be refused for.
#[derive(Debug)]
pub(crate) struct Sieve(AddrSet);

impl Sieve {
    /// Why a ban of a network is refused; what nearly every network passes is only a
    /// search in the sieve.
    pub(crate) fn refusal(
        &self,
        protected: &Protected,
        address: IpAddr,
        length: u8,
    ) -> Option<Refused> {
        let is_free = length >= SHORTEST
            && match address {
                IpAddr::V4(address) => {
                    let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                    let first = u32::from(address) & !host;
                    is_disjoint(self.0.v4.ranges(), first, first | host)
                }
                IpAddr::V6(address) => {
                    let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                    let first = u128::from(address) & !host;
                    is_disjoint(self.0.v6.ranges(), first, first | host)
                }
            };
        if is_free { None } else { protected.refusal(address, length) }
    }
}

/// Whether ascending ranges have nothing between two points.
fn is_disjoint<T: Ord + Copy>(ranges: &[(T, T)], first: T, last: T) -> bool {
    let next = ranges.partition_point(|(_, end)| *end < first);
    ranges.get(next).is_none_or(|(start, _)| *start > last)
}

fn inside(hit: IpAddr, what: &str, network: &str) -> String {
    if network == hit.to_string() {
        format!("{network} is {what}")
    } else {
        format!("{hit}, {what}, is inside {network}")
    }
}

/// A network as people write it.
pub(crate) fn written(address: IpAddr, length: u8) -> String {
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let first = network_of(address, length);
    if length == whole { first.to_string() } else { format!("{first}/{length}") }
}

fn range(first: IpAddr, last: IpAddr) -> AddrSet {
    use firewall_policy::set::RangeSet;
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            AddrSet { v4: RangeSet::range(first.into(), last.into()), v6: RangeSet::empty() }
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            AddrSet { v4: RangeSet::empty(), v6: RangeSet::range(first.into(), last.into()) }
        }
        _ => AddrSet::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn protected() -> Protected {
        Protected {
            failsafe: vec![Failsafe {
                rule: "failsafe-ssh".into(),
                place: "site.yaml:48".into(),
                remote: "bastion".into(),
                ranges: vec![
                    (address("10.0.9.22"), address("10.0.9.22")),
                    (address("fd00:f00:9::22"), address("fd00:f00:9::22")),
                ],
            }],
            addresses: Addresses {
                own: vec![address("10.0.2.11")],
                gateways: vec![address("10.0.2.1")],
                resolvers: vec![address("10.0.9.53")],
            },
            session: Some(Session {
                peer: "198.51.100.5:51544".parse().unwrap(),
                local: "10.0.2.11:22".parse().unwrap(),
            }),
        }
    }

    fn why(text: &str, length: u8) -> Option<String> {
        protected().refusal(address(text), length).map(|refused| refused.why)
    }

    #[test]
    fn failsafe_sources_cannot_be_banned() {
        assert_eq!(
            why("10.0.9.22", 32).unwrap(),
            "10.0.9.22 is covered by failsafe-ssh (bastion, site.yaml:48); failsafe sources cannot be banned"
        );
        assert!(why("10.0.9.0", 24).unwrap().starts_with("10.0.9.22, a source of failsafe-ssh"));
        assert!(why("fd00:f00:9::", 64).unwrap().contains("failsafe-ssh"));
    }

    #[test]
    fn what_keeps_the_host_alive_cannot_be_banned() {
        assert_eq!(why("10.0.2.11", 32).unwrap(), "10.0.2.11 is an address of this host");
        assert!(why("10.0.2.0", 28).unwrap().contains("inside 10.0.2.0/28"));
        assert_eq!(why("10.0.2.1", 32).unwrap(), "10.0.2.1 is the default gateway");
        assert!(why("10.0.9.53", 32).unwrap().contains("a resolver"));
    }

    #[test]
    fn a_sieve_says_what_is_said_one_by_one() {
        let (protected, sieve) = (protected(), protected().sieve());
        let networks = [
            ("10.0.9.22", 32),
            ("10.0.9.21", 32),
            ("10.0.9.0", 24),
            ("10.0.8.0", 24),
            ("10.0.2.0", 28),
            ("64.0.0.0", 7),
            ("198.51.100.5", 32),
            ("198.51.100.6", 32),
            ("203.0.113.0", 24),
            ("fd00:f00:9::22", 128),
            ("fd00:f00:9::", 64),
            ("2001:db8::", 32),
        ];
        for (text, length) in networks {
            let (single, found) = (
                protected.refusal(address(text), length),
                sieve.refusal(&protected, address(text), length),
            );
            assert_eq!(found, single, "{text}/{length}");
        }
    }

    #[test]
    fn most_of_the_internet_cannot_be_banned() {
        for (network, length) in [("0.0.0.0", 0), ("64.0.0.0", 7), ("::", 0), ("2000::", 3)] {
            assert!(why(network, length).unwrap().contains("/8"), "{network}");
        }
        assert_eq!(why("203.0.113.0", 24), None);
    }

    #[test]
    fn the_own_session_only_if_insisted_upon() {
        let refused = protected().refusal(address("198.51.100.0"), 24).unwrap();
        assert_eq!(
            refused.why,
            "198.51.100.5, the far end of your own SSH session, is inside 198.51.100.0/24"
        );
        assert!(refused.only_me);
        let own = protected().refusal(address("10.0.2.11"), 32).unwrap();
        assert!(!own.only_me);
    }
}
