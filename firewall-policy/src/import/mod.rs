//! Rules of other firewalls to a role file: `firewall import`.
//!
//! Every source becomes a `program`: chains of lines of which the first that
//! matches decides. `flatten` follows the jumps, `translate` makes lists of
//! it in which order does not matter, `write` a file. Whatever is not known on
//! the way makes the file stricter than its source, and is listed.
//!
//! What is compared are packets that open a connection (state NEW; for TCP a
//! SYN). Later packets and answers follow from them in both worlds.

#![expect(
    clippy::unnecessary_box_returns,
    reason = "a diagnostic is large, and always on its way into a `Result`"
)]

mod file;
mod firewalld;
mod flatten;
mod ipset;
mod iptables;
mod join;
mod matching;
mod names;
mod nft;
mod program;
mod proof;
mod space;
mod translate;
mod ufw;
mod values;
mod walk;
mod words;
mod write;

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::ir::{Action, Direction};
use crate::set::AddrSet;
use crate::source::{Source, Span};
pub use program::{NotCarried, Place};
use program::{Program, Remarks};
use translate::Side;

/// What is imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `iptables-save` and `ip6tables-save`.
    Iptables,
    /// `nft -j list ruleset`.
    Nft,
    /// `/etc/ufw/*.rules` and `/etc/default/ufw`.
    Ufw,
    /// Zones, services and sets of `/etc/firewalld`, and `firewalld.conf`.
    Firewalld,
}

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name, as people see it.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What is to be imported, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the files are.
    pub language: Language,
    /// The files.
    pub files: Vec<Input>,
    /// What `ipset save` has printed.
    pub ipset: Option<Input>,
    /// The name of the role that comes out.
    pub role: String,
    /// Limits are taken for never reached.
    pub without_limits: bool,
}

/// Something to know that is no loss.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// What.
    pub text: String,
    /// The lines that it is about.
    pub places: Vec<Place>,
}

/// What has come out.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The role file.
    pub policy: String,
    /// What is not in it, or not in full.
    pub not_carried: Vec<NotCarried>,
    /// What else there is to know.
    pub notes: Vec<Note>,
    /// Rules of the file.
    pub rules: usize,
    /// Tests of the file.
    pub tests: usize,
}

/// Bytes of a file that is imported.
pub const MAX_BYTES: usize = 32 << 20;

/// Imports rules.
///
/// # Errors
///
/// A [`Report`] if a file is not what it is said to be.
pub fn import(request: &Request) -> Result<Imported, Report> {
    let imported = read(request).and_then(|program| translated(&program, request));
    imported.map_err(|diagnostic| Report { diagnostics: vec![*diagnostic], hidden: 0 })
}

type Failed = Box<Diagnostic>;

/// The text of a file.
fn source(input: &Input) -> Result<Arc<Source>, Failed> {
    let Input { name, bytes } = input;
    let whole = |text: String| {
        let source = Arc::new(Source { name: name.clone(), text });
        let end = source.text.find('\n').unwrap_or(source.text.len());
        Span { source, start: 0, end }
    };
    if bytes.len() > MAX_BYTES {
        let message = format!("{name} has more than {} MiB", MAX_BYTES >> 20);
        return Err(Box::new(
            Diagnostic::new(Code::Import, message)
                .at(&whole(String::new()), "too long to be imported"),
        ));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            // A byte order mark says nothing here.
            let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
            Ok(Arc::new(Source { name: name.clone(), text }))
        }
        Err(error) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let start = error.valid_up_to();
            let span =
                Span { end: start + char::REPLACEMENT_CHARACTER.len_utf8(), start, ..whole(text) };
            let message = format!("{name} is not UTF-8 text");
            Err(Box::new(
                Diagnostic::new(Code::NotUtf8, message).at(&span, "begins no UTF-8 character"),
            ))
        }
    }
}

fn read(request: &Request) -> Result<Program, Failed> {
    let sets = match &request.ipset {
        Some(input) => ipset::Sets::read(&source(input)?)?,
        None => ipset::Sets::default(),
    };
    let sources: Vec<Arc<Source>> = request.files.iter().map(source).collect::<Result<_, _>>()?;
    match request.language {
        Language::Iptables => iptables_files(&sources, &sets, request.without_limits),
        Language::Nft => nft::read(&sources, request.without_limits),
        Language::Firewalld => firewalld::read(&sources, request.without_limits),
        Language::Ufw => ufw::read(&sources, &sets, request.without_limits),
    }
}

fn iptables_files(
    sources: &[Arc<Source>],
    sets: &ipset::Sets,
    without_limits: bool,
) -> Result<Program, Failed> {
    let mut program = Program::default();
    for source in &iptables::parts(sources)? {
        let is_v6 = iptables::is_v6(source);
        let reading = iptables::Reading { is_v6, sets, without_limits };
        let one = iptables::read(std::slice::from_ref(source), &[], reading)?;
        program.append(one.program());
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        program.remarks.note(format!("{} is read as rules for {family}", source.name), None);
    }
    Ok(program)
}

fn translated(program: &Program, request: &Request) -> Result<Imported, Failed> {
    if let Some((chain, line)) = program.cycle() {
        let name = &program.chains[chain].name;
        let message = format!("chain {name} leads back to itself");
        return Err(Box::new(at_line(line, &message, "this jump closes the circle")));
    }
    let mut remarks = program.remarks.clone();
    program.list_aside(&mut remarks);
    let mut book = write::Book::default();
    let mut sides = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut side = side(program, direction, &mut remarks)?;
        join::tunnels(&mut side, &mut remarks);
        book.side(&side);
        sides.push((direction, side.default));
    }
    if book.rules.is_empty() && sides.iter().all(|(_, default)| *default == Action::Allow) {
        let text = "there are NO RULES in what was read: everything passes. Are they kept by another program?";
        remarks.note(text, None);
    }
    let (tests, count) = proof::tests(program, &book.rules);
    remarks.sort();
    let notes = remarks.notes.into_iter().map(|(text, places)| Note { text, places }).collect();
    let imported = Imported {
        policy: String::new(),
        not_carried: remarks.not_carried,
        notes,
        rules: book.rules.len(),
        tests: count,
    };
    let policy = file::file(&book, &sides, &tests, request, &imported);
    if policy.len() > crate::text::MAX_BYTES {
        let message =
            format!("the role file would have {} KiB; 1,024 are possible", policy.len() >> 10);
        let span = Span {
            source: Arc::new(Source { name: request.role.clone(), text: String::new() }),
            start: 0,
            end: 0,
        };
        return Err(Box::new(
            Diagnostic::new(Code::TooLong, message)
                .at(&span, "sets of this size need lists, which are not supported yet")
                .help("take the largest sets out and import again"),
        ));
    }
    Ok(Imported { policy, ..imported })
}

/// One direction, family by family unless both have the same chains.
fn side<'p>(
    program: &'p Program,
    direction: Direction,
    remarks: &mut Remarks,
) -> Result<Side<'p>, Failed> {
    let families = [iptables::family(false), iptables::family(true)];
    let entered = families.clone().map(|family| {
        let bases = program.bases.iter().enumerate().filter(|(_, base)| {
            base.direction == direction && !base.families.intersect(&family).is_empty()
        });
        bases.map(|(index, _)| index).collect::<Vec<_>>()
    });
    let filters = |bases: &[usize]| bases.iter().any(|&base| !program.bases[base].rewrites);
    let wanted = if entered[0] == entered[1] {
        vec![(AddrSet::any(), &entered[0])]
    } else {
        families.into_iter().zip(&entered).collect()
    };
    let mut flows = Vec::new();
    let word = if direction == Direction::Ingress { "arrives" } else { "is sent" };
    for (family, bases) in wanted {
        if !filters(bases) {
            let which = match (family.v4.is_empty(), family.v6.is_empty()) {
                (false, false) => "",
                (true, _) => " by IPv6",
                (_, true) => " by IPv4",
            };
            remarks.note(format!("no chain judges what {word}{which}: it gets the default"), None);
            continue;
        }
        let flow = flatten::flow(program, direction, &family, remarks).map_err(
            |flatten::TooLong(line)| {
                let message = "the jumps of these chains lead to too many lines";
                Box::new(match line {
                    Some(line) => at_line(line, message, "given up here"),
                    None => Diagnostic::new(Code::Import, message),
                })
            },
        )?;
        flows.push(flow);
    }
    Ok(translate::side(direction, flows, remarks))
}

/// An error about a line of what is imported.
fn at_line(line: &program::Line, message: &str, label: &str) -> Diagnostic {
    // Of the file, only this line is known here, and where it stands.
    let before = "\n".repeat(line.place.line.saturating_sub(1));
    let text = format!("{before}{}", line.text);
    let source = Arc::new(Source { name: line.place.file.clone(), text });
    let span = Span { start: before.len(), end: source.text.len(), source };
    Diagnostic::new(Code::Import, format!("{}: {message}", line.place.words())).at(&span, label)
}

impl Imported {
    /// What is not carried, reason by reason: the lines, in words.
    #[must_use]
    pub fn losses(&self) -> Vec<(&str, Vec<String>)> {
        let mut losses: Vec<(&str, Vec<String>)> = Vec::new();
        for one in &self.not_carried {
            let line = format!("{}  {}", one.place.words(), one.text);
            match losses.iter_mut().find(|(reason, _)| *reason == one.reason) {
                Some((_, lines)) => lines.push(line),
                None => losses.push((&one.reason, vec![line])),
            }
        }
        losses
    }
}

impl Note {
    /// In one line.
    #[must_use]
    pub fn words(&self) -> String {
        let places: Vec<String> = self.places.iter().take(4).map(Place::words).collect();
        let more = match self.places.len().saturating_sub(4) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        if places.is_empty() {
            self.text.clone()
        } else {
            format!("{} ({}{more})", self.text, places.join(", "))
        }
    }
}

impl Place {
    /// `file:line:column`, with the object if there is one.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { file, line, column, object } = self;
        let column = if *column == 1 { String::new() } else { format!(":{column}") };
        let object = object.as_ref().map_or(String::new(), |object| format!(" ({object})"));
        format!("{file}:{line}{column}{object}")
    }
}

impl Language {
    /// Its word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nft => "nft",
            Self::Ufw => "ufw",
            Self::Firewalld => "firewalld",
        }
    }
}
