//! Files: read once each, included, never in a circle.

use std::sync::Arc;

use super::Context;
use super::ahead::{Ahead, Taken};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::Direction;
use crate::load::HOST_FILE;
use crate::schema::file::{File, Kind};
use crate::schema::rule::Chain;
use crate::source::{BadPath, ROOT, Refusal, Source, Span, Spanned, resolve_path};
use crate::text;

/// Files that one policy may consist of.
const MAX_UNITS: usize = 64;

/// A file in force, and the files it includes.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) path: String,
    pub(crate) file: File,
    /// Indices of units; each is below the unit's own.
    pub(crate) includes: Vec<usize>,
}

impl Unit {
    /// The role's name; empty for a shared file.
    pub(crate) fn role(&self) -> &str {
        match &self.file.kind {
            Kind::Role(name) => &name.value,
            Kind::Shared => "",
        }
    }

    /// The rules of one direction.
    pub(crate) fn chain(&self, direction: Direction) -> &Chain {
        match direction {
            Direction::Ingress => &self.file.ingress,
            Direction::Egress => &self.file.egress,
        }
    }
}

/// Every file of a policy; what is included comes before what includes it.
#[derive(Debug, Default)]
pub(crate) struct Units {
    pub(crate) all: Vec<Unit>,
    /// Paths on the way from a role to the file being read.
    stack: Vec<String>,
    /// Files that could not be read; reported once.
    broken: Vec<String>,
    /// It was said that there are too many files.
    too_many: bool,
    /// Files whose turn is still to come.
    ahead: Ahead,
}

impl Units {
    /// The unit, then what it includes, each once, in the order of mention.
    pub(crate) fn closure(&self, root: usize) -> Vec<usize> {
        let mut order = vec![root];
        let mut next = 0;
        while let Some(&unit) = order.get(next) {
            for &included in &self.all[unit].includes {
                if !order.contains(&included) {
                    order.push(included);
                }
            }
            next += 1;
        }
        order
    }

    /// None yet, but these role files and what they include are read.
    pub(crate) fn ahead(context: &Context<'_>, roles: &[String]) -> Self {
        Self { ahead: Ahead::read(context, roles, MAX_UNITS + roles.len()), ..Self::default() }
    }

    /// Reads a role file; `named` is where the role was asked for, if in a file.
    pub(crate) fn role(
        &mut self,
        context: &mut Context<'_>,
        path: &str,
        named: Option<&Span>,
    ) -> Option<usize> {
        let index = self.unit(context, path, named)?;
        let unit = &self.all[index];
        match &unit.file.kind {
            Kind::Role(name) => warn_of_other_name(context, path, name),
            Kind::Shared => {
                let name = &unit.file.source.name;
                let start = Span { source: unit.file.source.clone(), start: 0, end: 0 };
                let message = format!("{name} is a shared file; it is never applied on its own");
                context.sink.push(
                    Diagnostic::new(Code::FileKind, message)
                        .at(named.unwrap_or(&start), "`kind: site`, included by roles")
                        .help("name a role file that includes it"),
                );
                return None;
            }
        }
        Some(index)
    }

    fn unit(
        &mut self,
        context: &mut Context<'_>,
        path: &str,
        named: Option<&Span>,
    ) -> Option<usize> {
        if let Some(known) = self.all.iter().position(|unit| unit.path == path) {
            return Some(known);
        }
        if self.broken.iter().any(|broken| broken == path) {
            return None;
        }
        let unit = self.read(context, path, named);
        let Some(unit) = unit else {
            self.broken.push(path.to_owned());
            return None;
        };
        self.all.push(unit);
        Some(self.all.len() - 1)
    }

    fn read(
        &mut self,
        context: &mut Context<'_>,
        path: &str,
        named: Option<&Span>,
    ) -> Option<Unit> {
        let Taken { file, found } = match self.ahead.take(context, path) {
            Ok(taken) => taken,
            Err(refusal) => {
                say_refused(context, path, &refusal, named);
                return None;
            }
        };
        context.sink.absorb(found);
        let file = file?;
        context.keep(path, &file.source);
        self.stack.push(path.to_owned());
        let includes = file.include.iter().filter_map(|name| self.include(context, path, name));
        let includes = includes.collect();
        self.stack.pop();
        Some(Unit { path: path.to_owned(), file, includes })
    }

    fn include(
        &mut self,
        context: &mut Context<'_>,
        from: &str,
        written: &Spanned<String>,
    ) -> Option<usize> {
        let path = path_of(context, from, written)?;
        let shown = context.files.shown(&path);
        if let Some(at) = self.stack.iter().position(|open| *open == path) {
            let circle: Vec<String> = self.stack[at..]
                .iter()
                .chain([&path])
                .map(|path| context.files.shown(path))
                .collect();
            let message = match &circle[..] {
                [one, _] => format!("{one} includes itself"),
                circle => format!("files include each other: {}", circle.join(" → ")),
            };
            context.sink.push(
                Diagnostic::new(Code::IncludeCycle, message)
                    .at(&written.span, "this closes the circle"),
            );
            return None;
        }
        if self.all.len() + self.stack.len() >= MAX_UNITS {
            if !std::mem::replace(&mut self.too_many, true) {
                let message = format!("a policy consists of at most {MAX_UNITS} files");
                context.sink.push(
                    Diagnostic::new(Code::TooManyFiles, message).at(&written.span, "one too many"),
                );
            }
            return None;
        }
        let index = self.unit(context, &path, Some(&written.span))?;
        if let Kind::Role(role) = &self.all[index].file.kind {
            context.sink.push(
                Diagnostic::new(
                    Code::FileKind,
                    format!("{shown} is a role, and cannot be included"),
                )
                .at(&written.span, "included here")
                .at(&role.span, "a role")
                .help("move what both need into a shared file (`kind: site`)"),
            );
            return None;
        }
        Some(index)
    }
}

/// The text of host.yaml; `None` if it cannot be read, which is reported.
pub(crate) fn host_text(context: &mut Context<'_>) -> Option<Arc<Source>> {
    let path = HOST_FILE;
    match context.files.read(path, text::MAX_BYTES) {
        Ok(file) => {
            let source = text::decode(context.files.shown(path), file.bytes, context.sink)?;
            context.keep(path, &source);
            Some(source)
        }
        Err(refusal) => {
            say_refused(context, path, &refusal, None);
            None
        }
    }
}

fn say_refused(context: &mut Context<'_>, path: &str, refusal: &Refusal, named: Option<&Span>) {
    context.sink.push(match (refusal, named) {
        (Refusal::Missing, None) => missing(&context.files.whole(path), path),
        _ => refused(&context.files.shown(path), refusal, named),
    });
}

/// The place in the tree that a written path names.
pub(crate) fn path_of(
    context: &mut Context<'_>,
    from: &str,
    written: &Spanned<String>,
) -> Option<String> {
    match resolve_path(from, &written.value) {
        Ok(path) => Some(path),
        Err(BadPath::Outside) => {
            let message = format!("`{}` leads out of {ROOT}", written.value);
            context.sink.push(
                Diagnostic::new(Code::PathOutside, message)
                    .at(&written.span, "rule files see nothing outside")
                    .help(format!("put the file below {ROOT}")),
            );
            None
        }
        Err(BadPath::Empty) => {
            context.sink.push(
                Diagnostic::new(Code::PathOutside, "no file is named")
                    .at(&written.span, "the directory itself"),
            );
            None
        }
    }
}

/// A file that the command line asks for, and that is not there.
fn missing(whole: &str, path: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::NoSuchFile, format!("there is no file {whole}"));
    if path == HOST_FILE {
        diagnostic.help("it says what this server is:\nversion: 1\nroles: [web]")
    } else {
        diagnostic
    }
}

/// A file that the tree does not give.
pub(crate) fn refused(shown: &str, refusal: &Refusal, named: Option<&Span>) -> Diagnostic {
    let (code, message, label, help) = match refusal {
        Refusal::Missing => {
            (Code::NoSuchFile, format!("there is no file {shown}"), String::new(), None)
        }
        Refusal::TooLong(bytes) => (
            Code::TooLong,
            format!("{shown} is too long"),
            format!("{bytes} bytes"),
            Some("rule files have 1 MiB at most: split it into several shared files".into()),
        ),
        Refusal::NotAFile => {
            (Code::NoSuchFile, format!("{shown} is not a regular file"), String::new(), None)
        }
        Refusal::LeavesRoot(target) => (
            Code::LinkOutside,
            format!("{shown} is a symbolic link out of {ROOT}"),
            format!("leads to {target}"),
            Some("replace the link by the file".into()),
        ),
        Refusal::WorldWritable(name) => (
            Code::Ownership,
            format!("everybody may write {name}"),
            "so anybody could open the firewall".into(),
            Some(format!("chmod o-w {}", in_root(name))),
        ),
        Refusal::GroupWritable(name, gid) => (
            Code::Ownership,
            format!("members of group {gid} may write {name}"),
            "so each of them could open the firewall".into(),
            Some(format!("chmod g-w {}", in_root(name))),
        ),
        Refusal::NotRoots(name, uid) => (
            Code::Ownership,
            format!("{name} belongs to user {uid}, not to root"),
            "so that user could open the firewall".into(),
            Some(format!("chown root {}", in_root(name))),
        ),
        Refusal::Io(error) => {
            (Code::NoSuchFile, format!("{shown} cannot be read"), error.clone(), None)
        }
    };
    let diagnostic = Diagnostic::new(code, message);
    let diagnostic = match named {
        Some(span) if label.is_empty() => diagnostic.at(span, "named here"),
        Some(span) => diagnostic.at(span, label),
        None if label.is_empty() => diagnostic,
        None => diagnostic.note(label),
    };
    match help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

fn in_root(name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{ROOT}/{name}") }
}

/// A role file is found by its name, so another name inside surprises.
fn warn_of_other_name(context: &mut Context<'_>, path: &str, name: &Spanned<String>) {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    if stem != name.value {
        let message = format!("the file is called {file}, the role `{}`", name.value);
        context.sink.push(
            Diagnostic::new(Code::OtherRoleName, message)
                .at(
                    &name.span,
                    format!("{} looks for {}.yaml", "`roles:` in host.yaml", name.value),
                )
                .help(format!("role: {stem}   or rename the file")),
        );
    }
}
