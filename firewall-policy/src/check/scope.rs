//! What the names of a file mean: its own, those of the files it includes, and
//! the built-in ones.
//!
//! A file sees itself and what it includes, and nothing of who includes it. So a
//! shared file means the same to every role, and its rules are one rule.

use std::collections::BTreeMap;
use std::rc::Rc;

use firewall_common::service::ServiceIndex;

use super::Context;
use super::lists;
use super::units::Units;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::Count;
use crate::schema::named::Group;
use crate::schema::peer::Item;
use crate::set::{AddrSet, ServiceSet};
use crate::source::{Span, Spanned};
use crate::suggest;

/// Names of address sets that need no definition.
pub(crate) const BUILT_IN: [&str; 3] = ["any", "self", "private"];

/// Groups inside groups.
const MAX_NESTING: usize = 32;

/// A named set of addresses.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) name: String,
    /// Where the name was given.
    pub(crate) span: Span,
    /// `None` if the definition was reported as broken.
    pub(crate) set: Option<AddrSet>,
    /// Groups inside each other; 1 for a group of addresses.
    depth: usize,
    /// A list is in it, whose content changes without the rules.
    pub(crate) changes: bool,
}

/// A named set of services.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) span: Span,
    /// `None` if the definition was reported as broken.
    pub(crate) set: Option<ServiceSet>,
    pub(crate) count: Option<Spanned<Count>>,
}

/// The names that one file sees.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scope {
    pub(crate) addresses: BTreeMap<String, Rc<Addresses>>,
    pub(crate) services: BTreeMap<String, Rc<Service>>,
    /// Names of included files, for messages.
    files: Vec<String>,
}

/// The scopes of all units, by index.
pub(crate) fn scopes(context: &mut Context<'_>, units: &Units) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::with_capacity(units.all.len());
    for (index, unit) in units.all.iter().enumerate() {
        let mut scope = Scope::default();
        for &included in &unit.includes {
            scope.import(context, &scopes[included]);
        }
        for &included in &units.closure(index)[1..] {
            let name = &units.all[included].file.source.name;
            scope.files.push(name.rsplit('/').next().unwrap_or(name).to_owned());
        }
        scope.define_services(context, &unit.file.services);
        for list in &unit.file.lists {
            let set = list.sound.then(|| lists::read(context, &unit.path, list)).flatten();
            let (name, span) = (list.name.value.clone(), list.name.span.clone());
            scope.define(context, Addresses { name, span, set, depth: 1, changes: true });
        }
        scope.define_groups(context, &unit.file.groups);
        scopes.push(scope);
    }
    scopes
}

impl Scope {
    fn import(&mut self, context: &mut Context<'_>, other: &Self) {
        for (name, addresses) in &other.addresses {
            match self.addresses.get(name) {
                Some(known) if Rc::ptr_eq(known, addresses) => {}
                Some(known) => context.sink.push(twice(name, &addresses.span, &known.span)),
                None => drop(self.addresses.insert(name.clone(), addresses.clone())),
            }
        }
        for (name, service) in &other.services {
            match self.services.get(name) {
                Some(known) if Rc::ptr_eq(known, service) => {}
                Some(known) => context.sink.push(twice(name, &service.span, &known.span)),
                None => drop(self.services.insert(name.clone(), service.clone())),
            }
        }
    }

    fn define(&mut self, context: &mut Context<'_>, addresses: Addresses) {
        let name = addresses.name.clone();
        if BUILT_IN.contains(&name.as_str()) {
            context.sink.push(
                Diagnostic::new(Code::BuiltIn, format!("`{name}` is built in"))
                    .at(&addresses.span, "and cannot be defined again")
                    .help("choose another name"),
            );
            return;
        }
        if let Some(known) = self.addresses.get(&name) {
            context.sink.push(twice(&name, &addresses.span, &known.span));
            return;
        }
        self.addresses.insert(name, Rc::new(addresses));
    }

    fn define_services(
        &mut self,
        context: &mut Context<'_>,
        services: &[crate::schema::named::Service],
    ) {
        for service in services {
            let Spanned { value: name, span } = service.name.clone();
            if name == "all" {
                context.sink.push(
                    Diagnostic::new(Code::BuiltIn, "`all` is built in")
                        .at(&span, "and cannot be defined again")
                        .help("choose another name"),
                );
                continue;
            }
            if let Some(known) = self.services.get(&name) {
                context.sink.push(twice(&name, &span, &known.span));
                continue;
            }
            let set = service.sound.then(|| service.set.clone());
            let count = service.count.clone();
            self.services.insert(name.clone(), Rc::new(Service { name, span, set, count }));
        }
    }

    fn define_groups(&mut self, context: &mut Context<'_>, groups: &[Group]) {
        let own: BTreeMap<&str, &Group> =
            groups.iter().map(|group| (group.name.value.as_str(), group)).collect();
        let mut open = Vec::new();
        for group in groups {
            self.define_group(context, &own, group, &mut open);
        }
    }

    /// Defines a group after the groups it contains. `open` are the groups whose
    /// definition led here.
    fn define_group<'g>(
        &mut self,
        context: &mut Context<'_>,
        own: &BTreeMap<&str, &'g Group>,
        group: &'g Group,
        open: &mut Vec<&'g str>,
    ) {
        let name = group.name.value.as_str();
        let known = self.addresses.get(name);
        if known.is_some_and(|known| known.span.is_same_place(&group.name.span)) {
            return;
        }
        open.push(name);
        let mut sound = group.sound;
        for item in &group.items {
            let Item::Name(inner) = &item.value else { continue };
            if let Some(at) = open.iter().position(|outer| outer == inner) {
                context.sink.push(circle(&open[at..], item));
                sound = false;
            } else if let Some(inner) = own.get(inner.as_str()) {
                if open.len() > MAX_NESTING {
                    context.sink.push(too_deep(item));
                    sound = false;
                } else {
                    self.define_group(context, own, inner, open);
                }
            }
        }
        open.pop();
        let set = if sound { self.set(context, &group.items) } else { None };
        let depth = 1 + self.deepest(&group.items);
        if let (true, Some(item)) = (depth == MAX_NESTING + 1, group.items.first()) {
            context.sink.push(too_deep(item));
        }
        let (name, span) = (group.name.value.clone(), group.name.span.clone());
        let changes = group.items.iter().any(|item| self.is_changing(item));
        self.define(context, Addresses { name, span, set, depth, changes });
    }

    fn deepest(&self, items: &[Spanned<Item>]) -> usize {
        let depth = |item: &Spanned<Item>| match &item.value {
            Item::Name(name) => self.addresses.get(name).map_or(0, |inner| inner.depth),
            Item::Addresses(_) => 0,
        };
        items.iter().map(depth).max().unwrap_or(0)
    }

    /// The union of items; `None` if a part of it is broken.
    pub(crate) fn set(
        &self,
        context: &mut Context<'_>,
        items: &[Spanned<Item>],
    ) -> Option<AddrSet> {
        let mut sets = Vec::with_capacity(items.len());
        let mut sound = true;
        for item in items {
            match self.item(context, item) {
                Some(set) => sets.push(set),
                None => sound = false,
            }
        }
        sound.then(|| AddrSet::union_all(&sets))
    }

    fn item(&self, context: &mut Context<'_>, item: &Spanned<Item>) -> Option<AddrSet> {
        let name = match &item.value {
            Item::Addresses(set) => return Some(set.clone()),
            Item::Name(name) => name.as_str(),
        };
        match name {
            "any" => Some(AddrSet::any()),
            "private" => Some(private()),
            "self" => Some(own(context, &item.span)),
            _ => {
                let found = self.addresses.get(name);
                if found.is_none() {
                    context.sink.push(self.unknown_group(name, &item.span));
                }
                found?.set.clone()
            }
        }
    }

    fn unknown_group(&self, name: &str, span: &Span) -> Diagnostic {
        let diagnostic =
            Diagnostic::new(Code::UnknownGroup, format!("no group or list is called `{name}`"))
                .at(span, format!("not defined {}", self.where_looked()));
        let names = self.addresses.keys().map(String::as_str).chain(BUILT_IN);
        match suggest::nearest(name, names) {
            Some(near) => diagnostic.help(match self.addresses.get(near) {
                Some(known) => format!("did you mean `{near}`?  ({})", known.span.place()),
                None => format!("did you mean `{near}`?"),
            }),
            None if self.services.contains_key(name) => {
                diagnostic.help(format!("`{name}` is a service: service: {name}"))
            }
            None => diagnostic.help(format!("groups:\n  {name}: [10.0.0.1]")),
        }
    }

    /// Whether a list is in the item, whose content changes without the rules.
    pub(crate) fn is_changing(&self, item: &Spanned<Item>) -> bool {
        match &item.value {
            Item::Addresses(_) => false,
            Item::Name(name) => self.addresses.get(name).is_some_and(|known| known.changes),
        }
    }

    /// The service of a name, reported if there is none.
    pub(crate) fn service(
        &self,
        context: &mut Context<'_>,
        name: &Spanned<String>,
    ) -> Option<&Rc<Service>> {
        let found = self.services.get(&name.value);
        if found.is_none() {
            context.sink.push(self.unknown_service(name));
        }
        found
    }

    fn unknown_service(&self, name: &Spanned<String>) -> Diagnostic {
        let Spanned { value: name, span } = name;
        if let Ok(port) = name.parse::<u16>() {
            return self.port_as_service(port, span);
        }
        let diagnostic =
            Diagnostic::new(Code::UnknownService, format!("no service is called `{name}`"))
                .at(span, format!("not defined {}", self.where_looked()));
        let names = self.services.keys().map(String::as_str).chain(["all"]);
        match suggest::nearest(name, names) {
            Some(near) => diagnostic.help(match self.services.get(near) {
                Some(known) => format!("did you mean `{near}`?  ({})", known.span.place()),
                None => format!("did you mean `{near}`?"),
            }),
            None if name == "any" => diagnostic.help("service: all"),
            None => diagnostic.help(format!("services:\n  {name}: {{ tcp: 80 }}")),
        }
    }

    fn port_as_service(&self, port: u16, span: &Span) -> Diagnostic {
        let diagnostic =
            Diagnostic::new(Code::UnknownService, format!("`{port}` is not a service"))
                .at(span, "services are named, so that rules and counters say what they are for");
        let index = u32::from(port);
        let exact = |service: &&Rc<Service>| {
            let set = service.set.as_ref();
            set.is_some_and(|set| set.contains(index) || set.contains(index + ServiceIndex::UDP))
        };
        match self.services.values().find(exact) {
            Some(service) => diagnostic.help(format!(
                "did you mean `{}`?  ({})",
                service.name,
                service.span.place()
            )),
            None => diagnostic.help(format!("services:\n  my-service: {{ tcp: {port} }}")),
        }
    }

    fn where_looked(&self) -> String {
        let files = self.files.join(", ");
        if files.is_empty() {
            "here, or built in".into()
        } else {
            format!("here, in {files}, or built in")
        }
    }
}

fn twice(name: &str, second: &Span, first: &Span) -> Diagnostic {
    Diagnostic::new(Code::DuplicateName, format!("`{name}` is defined twice"))
        .at(second, "again here")
        .at(first, "first here")
        .help("rename one: a definition that silently replaces another is a trap")
}

fn circle(open: &[&str], item: &Spanned<Item>) -> Diagnostic {
    let first = open.first().copied().unwrap_or_default();
    let message = match open {
        [_] => format!("group `{first}` contains itself"),
        _ => format!("groups contain each other: {} → {first}", open.join(" → ")),
    };
    Diagnostic::new(Code::GroupCycle, message).at(&item.span, "this closes the circle")
}

fn too_deep(item: &Spanned<Item>) -> Diagnostic {
    let message = format!("more than {MAX_NESTING} groups inside each other");
    Diagnostic::new(Code::GroupCycle, message).at(&item.span, "one too many")
}

/// RFC 1918 and RFC 4193: addresses that no public network routes.
fn private() -> AddrSet {
    let network = |text: &str| crate::value::address::parse(text).unwrap_or_default();
    AddrSet::union_all(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"].map(network))
}

fn own(context: &mut Context<'_>, span: &Span) -> AddrSet {
    if let Some(own) = context.own_addresses {
        return own.clone();
    }
    context.sink.push(
        Diagnostic::new(Code::SelfUnknown, "`self` is not known off the host")
            .at(span, "counts as no address here; on the host, as its addresses"),
    );
    AddrSet::empty()
}
