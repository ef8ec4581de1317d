//! From files to a policy: the order of reading, checking and composing.

use std::net::SocketAddr;
use std::time::SystemTime;

use crate::assemble;
use crate::check::Context;
use crate::check::units::{self, Units};
use crate::compile::parallel;
use crate::diagnostic::{Diagnostic, Report, Sink};
use crate::ir::Policy;
use crate::read;
use crate::schema::host::HostFile;
use crate::schema::reader::Reader;
use crate::set::{AddrSet, ServiceSet};
use crate::source::{Files, Sources, Span, Spanned};

/// Where host.yaml stands in the tree.
pub const HOST_FILE: &str = "host.yaml";

/// Bytes of files that take long to forget.
const WORTH_A_THREAD: usize = 1 << 20;

/// What a policy is made from.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The roles that host.yaml names, with its settings.
    Host,
    /// Roles by name, each in `rules/<name>.yaml`.
    Roles(Vec<String>),
    /// One role file, by its path in the tree.
    File(String),
}

/// How a policy is read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Accept what is read and checked but not enforced yet. For tests of rule
    /// files that are ahead of the implementation; never for applying.
    pub allow_unsupported: bool,
    /// The time, for `expires:` and `max-age:`; `None` leaves both unjudged.
    pub now: Option<SystemTime>,
    /// This host's addresses, for `self`; `None` off the host.
    pub own_addresses: Option<AddrSet>,
    /// Keep the files that are read, as [`Loaded::sources`].
    pub keep_sources: bool,
    /// Keep what the names of services stand for, as [`Names::services`].
    pub keep_services: bool,
}

/// A policy that may be applied, and what else is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The union of all roles.
    pub policy: Policy,
    /// What is doubtful, but possible.
    pub warnings: Vec<Diagnostic>,
    /// Every file that was read, by its place in the tree, if they are kept.
    pub sources: Sources,
    /// What the names of the files stand for.
    pub names: Names,
    /// Where `memory-max` was written, if it was.
    pub memory_max: Option<Span>,
    /// Where `state` was written, if it was.
    pub state: Option<Span>,
    /// Where `interfaces` was written, if it was.
    pub interfaces: Option<Span>,
    /// Tests that host.yaml accepts to fail because of another role.
    pub acknowledged: Vec<Spanned<String>>,
}

/// Named sets, for `firewall show groups` and `firewall show services`.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Groups and lists, by name.
    pub groups: Vec<Named<AddrSet>>,
    /// Services, by name, if they are kept.
    pub services: Vec<Named<ServiceSet>>,
}

/// A named set.
#[derive(Clone, Debug)]
pub struct Named<T> {
    /// The name the user gave.
    pub name: String,
    /// What it stands for.
    pub set: T,
    /// Where the name was given.
    pub span: Span,
}

/// What host.yaml says.
#[derive(Clone, Debug)]
pub struct Host {
    /// Roles, in the order written.
    pub roles: Vec<String>,
    /// Co-location findings that the operator accepts: names of tests.
    pub acknowledge: Vec<String>,
    /// Where metrics are served; `None` if not asked for.
    pub prometheus_listen: Option<SocketAddr>,
}

/// Reads a policy.
///
/// # Errors
///
/// A [`Report`] of everything that is wrong; nothing of the policy may be used.
pub fn load(files: &dyn Files, subject: &Subject, options: &Options) -> Result<Loaded, Report> {
    let (mut sink, mut sources) = (Sink::default(), Sources::new());
    let kept = options.keep_sources.then_some(&mut sources);
    let read = compose(&mut context(files, (&mut sink, kept), options), subject);
    let (loaded, warnings) = sink.finish(read)?;
    Ok(Loaded { warnings, sources, ..loaded })
}

/// Reads host.yaml alone.
///
/// # Errors
///
/// A [`Report`] of everything that is wrong in it.
pub fn load_host(files: &dyn Files, options: &Options) -> Result<(Host, Vec<Diagnostic>), Report> {
    let mut sink = Sink::default();
    let read = read_host(&mut context(files, (&mut sink, None), options));
    let (host, warnings) = sink.finish(read)?;
    let values = |written: Vec<Spanned<String>>| written.into_iter().map(|one| one.value).collect();
    let host = Host {
        roles: values(host.roles),
        acknowledge: values(host.acknowledge),
        prometheus_listen: host.prometheus_listen,
    };
    Ok((host, warnings))
}

fn context<'a>(
    files: &'a dyn Files,
    (sink, sources): (&'a mut Sink, Option<&'a mut Sources>),
    options: &'a Options,
) -> Context<'a> {
    Context {
        files,
        sink,
        sources,
        now: options.now,
        own_addresses: options.own_addresses.as_ref(),
        allow_unsupported: options.allow_unsupported,
        keep_services: options.keep_services,
    }
}

/// A policy without its warnings.
fn compose(context: &mut Context<'_>, subject: &Subject) -> Option<Loaded> {
    let mut host = None;
    let wanted: Vec<(String, Option<Span>)> = match subject {
        Subject::Host => {
            let host = host.insert(read_host(context)?);
            let named = host.roles.iter();
            named.map(|role| (role_path(&role.value), Some(role.span.clone()))).collect()
        }
        Subject::Roles(roles) => roles.iter().map(|role| (role_path(role), None)).collect(),
        Subject::File(path) => vec![(path.clone(), None)],
    };
    let paths: Vec<String> = wanted.iter().map(|(path, _)| path.clone()).collect();
    let mut units = Units::ahead(context, &paths);
    let mut roles = Vec::new();
    for (path, named) in wanted {
        if let Some(role) = units.role(context, &path, named.as_ref())
            && !roles.contains(&role)
        {
            roles.push(role);
        }
    }
    let policy = assemble::policy(context, &units, &roles, host.as_ref());
    let bytes: usize = units.all.iter().map(|unit| unit.file.source.text.len()).sum();
    parallel::discard(bytes > WORTH_A_THREAD, units);
    policy
}

fn role_path(role: &str) -> String {
    format!("rules/{role}.yaml")
}

fn read_host(context: &mut Context<'_>) -> Option<HostFile> {
    let source = units::host_text(context)?;
    let root = read::parse(&source, context.sink)?;
    let allow_unsupported = context.allow_unsupported;
    Reader { sink: context.sink, allow_unsupported }.host_file(&root)
}
