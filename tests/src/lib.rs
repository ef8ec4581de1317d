//! The lab: servers of their own in network namespaces, real programs in them,
//! frames built by layers, and captures to read.
//!
//! The lab tests and `cargo xtask demo` stand on the same modules:
//!
//! - [`lab`] holds a run: its hosts, switches, cables, logs, and their end.
//! - [`host`] is one server: its own network, mounts (`/etc`, `/var`, `/run`,
//!   a bpffs), processes and name. Programs and Rust code run inside it.
//! - [`network`] lays cables, with addresses and routes.
//! - [`process`] is a program that runs on a host and ends with it.
//! - [`servers`] starts nginx, MariaDB and sshd with settings fit for tests.
//! - [`packet`] builds frames; [`pcap`] reads captures.
//! - [`firewall`] drives the binary under test on a host.
//! - [`traffic`] makes traffic by sockets and by frames, and reads the kernel's
//!   own counters; [`pair`] is the smallest lab for it.
//! - [`machine`] is a whole Debian with systemd in QEMU.
//! - [`gate`] says what the machine lacks, before a test fails for it.
//!
//! ```no_run
//! use firewall_tests::lab::Lab;
//! use firewall_tests::servers::{Nginx, Site};
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::new("example")?;
//! let (web, client) = (lab.host("web")?, lab.host("client")?);
//! lab.connect(
//!     &web.port("eth0").address("192.0.2.10/24").address("2001:db8::10/64"),
//!     &client.port("eth0").address("192.0.2.20/24").address("2001:db8::20/64"),
//! )?;
//! let _nginx = Nginx::start(&web, &Site::default())?;
//! client.sh("curl -sf http://192.0.2.10/")?;
//! # Ok(())
//! # }
//! ```

pub mod bench;
pub mod clients;
pub mod demo;
pub mod firewall;
pub mod gate;
pub mod host;
pub mod lab;
pub mod machine;
mod namespace;
pub mod network;
pub mod packet;
pub mod pair;
pub mod pcap;
pub mod process;
pub mod servers;
pub mod traffic;
