//! The site on paper: who is there, and under which addresses.
//!
//! The addresses are those that `rules/site.yaml` names; a test keeps the two
//! together. Everybody has one of each family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a server does for the site; what `--only` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Tier {
    /// HAProxy.
    LoadBalancer,
    /// nginx.
    Web,
    /// The application.
    App,
    /// MariaDB.
    Database,
    /// The bastion and Prometheus.
    Management,
}

impl Tier {
    /// All, in the way a request goes.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] =
        [Self::LoadBalancer, Self::Web, Self::App, Self::Database, Self::Management];

    /// As `--only` takes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load-balancer",
            Self::Web => "web",
            Self::App => "app",
            Self::Database => "database",
            Self::Management => "management",
        }
    }
}

/// Both addresses of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The IPv4 one.
    pub(crate) v4: Ipv4Addr,
    /// The IPv6 one.
    pub(crate) v6: Ipv6Addr,
}

impl Addresses {
    const fn inside(network: u8, host: u8, host6: u16) -> Self {
        Self {
            v4: Ipv4Addr::new(10, 0, network, host),
            v6: Ipv6Addr::new(0xfd00, 0xf00, network as u16, 0, 0, 0, 0, host6),
        }
    }

    /// The IPv4 address with a port.
    pub(crate) const fn v4_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.v4), port)
    }

    /// The IPv6 address with a port.
    pub(crate) const fn v6_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.v6), port)
    }
}

/// A server with an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its host name.
    pub(crate) name: &'static str,
    /// Its role: a file in `rules/`.
    pub(crate) role: &'static str,
    /// What it does for the site.
    pub(crate) tier: Tier,
    /// Its inside addresses.
    pub(crate) at: Addresses,
}

const fn server(name: &'static str, role: &'static str, tier: Tier, at: Addresses) -> Server {
    Server { name, role, tier, at }
}

/// The load balancer.
pub(crate) const LB: Server =
    server("lb", "load-balancer", Tier::LoadBalancer, Addresses::inside(1, 10, 0x10));
/// The first web server.
pub(crate) const WEB1: Server = server("web1", "web", Tier::Web, Addresses::inside(2, 11, 0x11));
/// The second web server.
pub(crate) const WEB2: Server = server("web2", "web", Tier::Web, Addresses::inside(2, 12, 0x12));
/// The first application server.
pub(crate) const APP1: Server = server("app1", "app", Tier::App, Addresses::inside(3, 11, 0x11));
/// The second application server.
pub(crate) const APP2: Server = server("app2", "app", Tier::App, Addresses::inside(3, 12, 0x12));
/// The database that is written.
pub(crate) const PRIMARY: Server =
    server("db-primary", "db-primary", Tier::Database, Addresses::inside(4, 10, 0x10));
/// The database that is read.
pub(crate) const REPLICA: Server =
    server("db-replica", "db-replica", Tier::Database, Addresses::inside(4, 11, 0x11));
/// Where administrators come in.
pub(crate) const BASTION: Server =
    server("bastion", "bastion", Tier::Management, Addresses::inside(9, 22, 0x22));
/// Prometheus.
pub(crate) const PROMETHEUS: Server =
    server("prometheus", "monitoring", Tier::Management, Addresses::inside(9, 10, 0x10));

/// Every server with an agent, in the way a request goes.
pub(crate) const SERVERS: [Server; 9] =
    [LB, WEB1, WEB2, APP1, APP2, PRIMARY, REPLICA, BASTION, PROMETHEUS];

/// Under which address the world knows the site.
pub(crate) const VIP: Addresses = Addresses {
    v4: Ipv4Addr::new(203, 0, 113, 10),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0xf00, 0, 0, 0, 0, 0x10),
};
/// Its name.
pub(crate) const NAME: &str = "www.foobar.com";

/// A visitor, who also tries what visitors should not.
pub(crate) const CLIENT: Addresses = Addresses {
    v4: Ipv4Addr::new(192, 0, 2, 55),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1),
};
/// A server somewhere: where stolen data would go.
pub(crate) const WORLD: Addresses = Addresses {
    v4: Ipv4Addr::new(192, 0, 2, 200),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0x200),
};
/// An administrator.
pub(crate) const ADMIN: Addresses = Addresses {
    v4: Ipv4Addr::new(198, 51, 100, 5),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0xad, 0, 0, 0, 0, 5),
};
/// An address of the visitor's that the rules list as an abuser's.
pub(crate) const ABUSER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 1);
/// Where clouds keep the keys of their servers.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The resolver. This one and the next three are one host, `services`.
pub(crate) const RESOLVER: Addresses = Addresses::inside(9, 53, 0x53);
/// The time server.
pub(crate) const TIME: Addresses = Addresses::inside(9, 123, 0x123);
/// The package mirror.
pub(crate) const MIRROR: Addresses = Addresses::inside(9, 80, 0x80);
/// Where backups go.
pub(crate) const BACKUP: Addresses = Addresses::inside(9, 90, 0x90);
/// A host inside that no rule names.
pub(crate) const STRANGER: Addresses = Addresses::inside(9, 66, 0x66);

/// Ports of the site.
pub(crate) mod port {
    /// The application's requests.
    pub(crate) const APP: u16 = 8080;
    /// The application's own counts; on the loopback.
    pub(crate) const APP_COUNTS: u16 = 8081;
    /// nginx's own counts; on the loopback.
    pub(crate) const NGINX_COUNTS: u16 = 8082;
    /// MariaDB.
    pub(crate) const SQL: u16 = 3306;
    /// The agent's metrics.
    pub(crate) const METRICS: u16 = 9477;
    /// HAProxy's metrics.
    pub(crate) const HAPROXY: u16 = 8404;
    /// Prometheus' pages.
    pub(crate) const PROMETHEUS: u16 = 9090;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/site.yaml");
        std::fs::read_to_string(path).unwrap()
    }

    /// The line of a group.
    fn group<'a>(site: &'a str, name: &str) -> &'a str {
        let line = site.lines().find(|line| line.trim_start().starts_with(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("rules/site.yaml has no group {name}"))
    }

    #[test]
    fn addresses_are_those_that_the_rules_name() {
        let site = site();
        for (name, at) in [
            ("load-balancers", LB.at),
            ("web-servers", WEB1.at),
            ("web-servers", WEB2.at),
            ("app-servers", APP1.at),
            ("app-servers", APP2.at),
            ("db-primary", PRIMARY.at),
            ("db-replicas", REPLICA.at),
            ("bastion", BASTION.at),
            ("prometheus", PROMETHEUS.at),
            ("lb-vip", VIP),
            ("resolvers", RESOLVER),
            ("time-servers", TIME),
            ("package-mirror", MIRROR),
            ("backup-store", BACKUP),
        ] {
            let line = group(&site, name);
            let words: Vec<&str> = line.split([' ', ',', '[', ']', '"']).collect();
            assert!(words.contains(&at.v4.to_string().as_str()), "{} in {line}", at.v4);
            assert!(words.contains(&at.v6.to_string().as_str()), "{} in {line}", at.v6);
        }
        assert!(group(&site, "abusers").contains("2001:db8:bad::/48"));
        assert!(group(&site, "cloud-metadata").contains(&METADATA.to_string()));
        assert!(!site.contains(&STRANGER.v4.to_string()), "the stranger is named");
    }

    #[test]
    fn every_role_has_its_file() {
        for server in SERVERS {
            let path = format!("{}/../rules/{}.yaml", env!("CARGO_MANIFEST_DIR"), server.role);
            assert!(std::fs::exists(&path).unwrap(), "{path}");
        }
    }
}
