//! Programs that use the servers, or try to: load and port scans.

mod nmap;
mod wrk;

pub use nmap::{Scan, scan};
pub use wrk::{Load, wrk};
