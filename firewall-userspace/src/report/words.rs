//! The words of a snapshot: what tables, JSON and metrics call things.

use firewall_common::request::Metric;
use firewall_common::verdict::Direction;
use serde::{Deserialize, Serialize};

/// What a rule or a default does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Lets the packet pass.
    Allow,
    /// Drops it.
    Drop,
}

impl Action {
    /// As the policy language writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Drop => "drop",
        }
    }
}

/// Which way a packet goes; the datapath's word, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From the wire to this host.
    Ingress,
    /// From this host to the wire.
    Egress,
}

impl Way {
    /// Both, ingress first.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// As metrics and JSON write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// As the command line writes it.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Ingress => "in",
            Self::Egress => "out",
        }
    }

    /// Name of the default of this direction: counted like a rule.
    #[must_use]
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::Ingress => "default-in",
            Self::Egress => "default-out",
        }
    }
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

impl From<firewall_policy::ir::Direction> for Way {
    fn from(direction: firewall_policy::ir::Direction) -> Self {
        match direction {
            firewall_policy::ir::Direction::Ingress => Self::Ingress,
            firewall_policy::ir::Direction::Egress => Self::Egress,
        }
    }
}

/// Where a program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// XDP in the driver, before the kernel allocates anything.
    XdpNative,
    /// XDP in the stack: the driver has none.
    XdpGeneric,
    /// TC through TCX.
    Tcx,
}

impl Hook {
    /// Hook and mode, as metrics name them.
    #[must_use]
    pub const fn parts(self) -> [&'static str; 2] {
        match self {
            Self::XdpNative => ["xdp", "native"],
            Self::XdpGeneric => ["xdp", "generic"],
            Self::Tcx => ["tc", "tcx"],
        }
    }

    /// For people; what is worth a look is in capitals.
    #[must_use]
    pub fn text(self, way: Way) -> String {
        match self {
            Self::XdpNative => "xdp native".to_owned(),
            Self::XdpGeneric => "xdp GENERIC".to_owned(),
            Self::Tcx => format!("tcx {}", way.name()),
        }
    }

    /// Whether packets are counted as the wire packets they are: generic XDP
    /// sees what the driver has merged.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        !matches!(self, Self::XdpGeneric)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// Somebody should do something.
    Warn,
    /// It does not work, or protects nothing.
    Fail,
}

impl Level {
    /// As tables write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The list that a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum List {
    /// Before everything but malformed packets.
    Failsafe,
    /// Wins over every allow.
    Deny,
    /// Lets packets pass.
    Allow,
}

impl From<firewall_policy::compile::List> for List {
    fn from(list: firewall_policy::compile::List) -> Self {
        use firewall_policy::compile::List as Compiled;
        match list {
            Compiled::Failsafe => Self::Failsafe,
            Compiled::Deny => Self::Deny,
            Compiled::Allow => Self::Allow,
        }
    }
}

impl List {
    /// As tables write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failsafe => "failsafe",
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }

    /// What rules of the list do.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::Failsafe | Self::Allow => Action::Allow,
            Self::Deny => Action::Drop,
        }
    }
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Wire packets.
    Packets,
    /// Packets dropped.
    Drops,
    /// Bytes.
    Bytes,
    /// TCP SYNs on ingress, flows opened on egress.
    NewFlows,
    /// HTTP/1.x requests.
    HttpRequests,
    /// TLS connections begun.
    TlsHandshakes,
    /// `COM_QUERY` and `COM_STMT_EXECUTE`.
    MysqlCommands,
    /// DNS queries.
    DnsQueries,
}

impl Unit {
    /// Units that are read from request counters.
    pub const REQUESTS: [Self; 4] =
        [Self::HttpRequests, Self::TlsHandshakes, Self::MysqlCommands, Self::DnsQueries];

    /// As the policy language writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Drops => "drops",
            Self::Bytes => "bytes",
            Self::NewFlows => "new-flows",
            Self::HttpRequests => "http-requests",
            Self::TlsHandshakes => "tls-handshakes",
            Self::MysqlCommands => "mysql-commands",
            Self::DnsQueries => "dns-queries",
        }
    }

    /// Request counters that add up to it.
    #[must_use]
    pub const fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Packets | Self::Drops | Self::Bytes | Self::NewFlows => &[],
            Self::HttpRequests => &[Metric::Requests],
            Self::TlsHandshakes => &[Metric::Handshakes],
            Self::MysqlCommands => &[Metric::MysqlQuery, Metric::MysqlStmtExecute],
            Self::DnsQueries => &[Metric::DnsQueries],
        }
    }
}

impl From<firewall_policy::ir::Unit> for Unit {
    fn from(unit: firewall_policy::ir::Unit) -> Self {
        use firewall_policy::ir::Unit as Written;
        match unit {
            Written::Packets => Self::Packets,
            Written::Bytes => Self::Bytes,
            Written::NewFlows => Self::NewFlows,
            Written::HttpRequests => Self::HttpRequests,
            Written::TlsHandshakes => Self::TlsHandshakes,
            Written::MysqlCommands => Self::MysqlCommands,
            Written::DnsQueries => Self::DnsQueries,
        }
    }
}
