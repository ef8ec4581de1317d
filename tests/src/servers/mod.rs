//! Real servers with settings fit for tests: quick to start, everything they
//! write in the host's own directories, every request logged.

mod certificate;
mod dnsmasq;
mod haproxy;
mod mariadb;
mod nginx;
mod prometheus;
mod sshd;

pub use certificate::Certificate;
pub use dnsmasq::Dnsmasq;
pub use haproxy::Haproxy;
pub use mariadb::{Database, MariaDb};
pub use nginx::{Nginx, Site};
pub use prometheus::Prometheus;
pub use sshd::Sshd;

use std::time::Duration;

/// Longest time a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);
