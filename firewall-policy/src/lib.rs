//! YAML rule files to a checked policy, and a checked policy to a compiled
//! generation. Pure: no kernel, no network, no clock; files are read through
//! one loader.
//!
//! ```
//! use firewall_policy::source::MemoryFiles;
//! use firewall_policy::{Options, Subject, load};
//!
//! let files = MemoryFiles::new().with(
//!     "rules/web.yaml",
//!     "version: 1
//! role: web
//! ingress:
//!   allow:
//!     - { name: http-from-lb, from: load-balancer, service: http }
//! ",
//! );
//! let report = load(&files, &Subject::Roles(vec!["web".into()]), &Options::default());
//! let text = report.unwrap_err().to_string();
//! assert!(text.starts_with("error[E0203]: no group or list is called `load-balancer`"));
//! assert!(text.contains("[rules/web.yaml:5:35]"));
//! ```
//!
//! The way of a file: [`source`] gives bytes, `text` and `read` make a tree of
//! them, `schema` typed values, `check` resolves names and finds what cannot be
//! meant, `assemble` unites files and roles to an [`ir::Policy`].

mod assemble;
mod check;
pub mod codes;
pub mod compile;
pub mod diagnostic;
pub mod directory;
mod features;
pub mod flows;
mod fold;
pub mod glob;
pub mod host;
pub mod import;
pub mod ir;
mod load;
pub mod model;
pub mod networks;
mod read;
mod schema;
pub mod set;
pub mod source;
mod suggest;
mod syntax;
mod text;
mod value;
pub mod world;

/// Types of ICMP and ICMPv6 by the names of the language.
pub mod icmp {
    pub use crate::value::icmp::{type_name, type_number};
}

pub use check::exposure::attacked;
pub use load::{HOST_FILE, Host, Loaded, Named, Names, Options, Subject, load, load_host};

/// JSON Schema of rule files and host.yaml, for editors: `firewall show schema`.
pub const JSON_SCHEMA: &str = include_str!("../schema.json");
