//! A role file or a shared file as a whole.

use std::sync::Arc;

use super::keys::{self, Level};
use super::named::{Group, List, Service};
use super::rate::{Rate, SynFlood};
use super::reader::{Fields, Reader};
use super::rule::Chain;
use super::settings::Settings;
use super::test::Test;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::read::{Node, Value};
use crate::source::{Source, Span, Spanned};

/// What a file is for.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A role, by name.
    Role(Spanned<String>),
    /// Included by roles, never applied alone.
    Shared,
}

/// A file as it was written; names are not resolved.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) source: Arc<Source>,
    pub(crate) kind: Kind,
    pub(crate) include: Vec<Spanned<String>>,
    pub(crate) settings: Settings,
    pub(crate) groups: Vec<Group>,
    pub(crate) lists: Vec<List>,
    pub(crate) services: Vec<Service>,
    pub(crate) ingress: Chain,
    pub(crate) egress: Chain,
    pub(crate) syn_flood: Option<SynFlood>,
    pub(crate) rates: Vec<Rate>,
    pub(crate) tests: Vec<Test>,
}

/// The only version of the language so far.
const VERSION: &str = "1";

impl Reader<'_> {
    /// A role file or a shared file.
    pub(crate) fn file(&mut self, source: &Arc<Source>, root: &Node<'_>) -> Option<File> {
        let Value::Map(entries) = &root.value else {
            self.no_policy(source, root);
            return None;
        };
        let has = |key: &str| entries.iter().any(|entry| entry.key.text == key);
        if has("roles") && !has("role") {
            self.sink.push(
                Diagnostic::new(Code::FileKind, "this is a host file, not a role file")
                    .at(&first_line(root), "`roles:` belongs in /etc/firewall/host.yaml"),
            );
            return None;
        }
        let level = if has("kind") && !has("role") { &keys::SHARED } else { &keys::ROLE };
        let fields = self.fields(root, level)?;
        self.version(&fields, root);
        let kind = self.kind(&fields, level, root);
        for key in ["description", "owner"] {
            if let Some(node) = fields.get(key) {
                self.text(node);
            }
        }
        let (ingress, egress) = self.chains(&fields, level);
        let file = File {
            source: source.clone(),
            include: self.include(&fields),
            settings: self.settings(&fields),
            groups: self.groups(&fields),
            lists: self.lists(&fields),
            services: self.all_services(&fields),
            ingress,
            egress,
            syn_flood: fields.get("syn-flood").and_then(|node| self.syn_flood(node)),
            rates: fields.get("rates").map(|node| self.rates(node)).unwrap_or_default(),
            tests: self.role_only(&fields, level),
            kind: kind?,
        };
        Some(file)
    }

    fn no_policy(&mut self, source: &Arc<Source>, root: &Node<'_>) {
        let diagnostic = match root.value {
            Value::Empty => Diagnostic::new(Code::Shape, format!("{} is empty", source.name))
                .at(&root.span, "nothing is written here"),
            _ => Diagnostic::new(Code::Shape, format!("{} is not a rule file", source.name))
                .at(&root.span, "a rule file consists of lines such as `role: web`"),
        };
        self.sink.push(diagnostic.help("version: 1\nrole: web"));
    }

    /// `version: 1`.
    pub(crate) fn version(&mut self, fields: &Fields<'_>, root: &Node<'_>) {
        let Some(node) = fields.get("version") else {
            self.sink.push(
                Diagnostic::new(Code::MissingKey, "`version:` is missing")
                    .at(&first_line(root), "it is looked for at the top of the file")
                    .help("version: 1"),
            );
            return;
        };
        let Some(word) = self.word(node, "1") else { return };
        if word.text == VERSION {
            return;
        }
        let is_later = word.text.parse::<u64>().is_ok_and(|version| version > 1);
        let message = format!("version {} of the language is not known", word.text);
        let diagnostic = Diagnostic::new(Code::Version, message);
        self.sink.push(if is_later {
            diagnostic
                .at(&node.span, concat!("firewall ", env!("CARGO_PKG_VERSION"), " reads version 1"))
                .help("a later firewall is needed on this host, or write version: 1")
        } else {
            diagnostic
                .at(&node.span, "a whole number, and 1 is the only one so far")
                .help("version: 1")
        });
    }

    fn kind(
        &mut self,
        fields: &Fields<'_>,
        level: &'static Level,
        root: &Node<'_>,
    ) -> Option<Kind> {
        if level.id == keys::SHARED.id {
            self.choice(fields.get("kind")?, &[("site", ())])?;
            return Some(Kind::Shared);
        }
        let Some(node) = fields.get("role") else {
            self.sink.push(
                Diagnostic::new(Code::MissingKey, "neither `role:` nor `kind: site` is written")
                    .at(&first_line(root), "what is this file for?")
                    .help("role: web   or, in a file that roles include, kind: site"),
            );
            return None;
        };
        self.name(node).map(Kind::Role)
    }

    /// The rules of a role, or those a shared file gives to every role.
    fn chains(&mut self, fields: &Fields<'_>, level: &'static Level) -> (Chain, Chain) {
        if level.id == keys::ROLE.id {
            return self.directions(fields);
        }
        let common = fields.get("common").filter(|node| !matches!(node.value, Value::Empty));
        match common.and_then(|node| self.fields(node, &keys::COMMON)) {
            Some(common) => self.directions(&common),
            None => <(Chain, Chain)>::default(),
        }
    }

    fn directions(&mut self, fields: &Fields<'_>) -> (Chain, Chain) {
        let mut of = |key| fields.get(key).map(|node| self.chain(node)).unwrap_or_default();
        (of("ingress"), of("egress"))
    }

    fn role_only(&mut self, fields: &Fields<'_>, level: &'static Level) -> Vec<Test> {
        if level.id != keys::ROLE.id {
            return Vec::new();
        }
        if let Some(node) = fields.get("mode") {
            self.mode(node);
        }
        fields.get("tests").map(|node| self.tests(node)).unwrap_or_default()
    }

    fn include(&mut self, fields: &Fields<'_>) -> Vec<Spanned<String>> {
        let Some(node) = fields.get("include") else { return Vec::new() };
        let items = self.list(node, "a list of files such as [site.yaml]");
        items.iter().filter_map(|item| self.text(item)).collect()
    }

    fn groups(&mut self, fields: &Fields<'_>) -> Vec<Group> {
        let Some(node) = fields.get("groups") else { return Vec::new() };
        let entries = self.entries(node, "lines such as `web-servers: [10.0.2.11]`");
        entries.iter().filter_map(|entry| self.group(entry)).collect()
    }

    fn lists(&mut self, fields: &Fields<'_>) -> Vec<List> {
        let Some(node) = fields.get("lists") else { return Vec::new() };
        let (lists, sound) = self.soundly(|reader| {
            let entries =
                reader.entries(node, "lines such as `abusers: { file: ../lists/abusers.txt }`");
            entries.iter().filter_map(|entry| reader.list_file(entry)).collect()
        });
        if sound && let Some(key) = fields.key_span("lists") {
            self.feature(crate::features::Feature::Lists, key);
        }
        lists
    }

    fn all_services(&mut self, fields: &Fields<'_>) -> Vec<Service> {
        let Some(node) = fields.get("services") else { return Vec::new() };
        let entries = self.entries(node, "lines such as `http: { tcp: 80 }`");
        entries.iter().filter_map(|entry| self.service(entry)).collect()
    }
}

/// The first line of a node: a place for what is missing in all of it.
fn first_line(node: &Node<'_>) -> Span {
    let length = node.span.text().split('\n').next().unwrap_or_default().trim_end().len();
    Span { end: node.span.start + length, ..node.span.clone() }
}
