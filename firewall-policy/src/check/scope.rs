//! What the names of a file mean: its own, those of the files it includes, and
//! the built-in ones.
//!
//! A file sees itself and what it includes, and nothing of who includes it. So a
//! shared file means the same to every role, and its rules are one rule.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use firewall_common::service::ServiceIndex;

use super::Context;
use super::lists;
use super::units::Units;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::fold::FoldMap;
use crate::schema::named::{Group, Service};
use crate::schema::peer::Item;
use crate::set::AddrSet;
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

/// What the names of all files mean. A file sees a part of it: see [`Scope`].
#[derive(Debug)]
pub(crate) struct Names<'u> {
    units: &'u Units,
    /// Of each unit: which units it sees, itself included.
    visible: Vec<Vec<bool>>,
    addresses: Table<'u, Addresses>,
    services: Table<'u, &'u Service>,
}

/// Definitions by name, each with the unit it stands in. Files that do not see
/// each other may give one name to different things.
type Table<'u, T> = FoldMap<&'u str, Vec1<(usize, T)>>;

/// One, and seldom more.
#[derive(Debug)]
struct Vec1<T> {
    first: T,
    more: Vec<T>,
}

impl<T> Vec1<T> {
    fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// The names that one file sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'n> {
    names: &'n Names<'n>,
    pub(crate) unit: usize,
}

impl<'u> Names<'u> {
    /// Of all units.
    pub(crate) fn new(context: &mut Context<'_>, units: &'u Units) -> Self {
        let services = units.all.iter().map(|unit| unit.file.services.len()).sum();
        let mut names = Self {
            units,
            visible: Vec::with_capacity(units.all.len()),
            addresses: Table::default(),
            services: Table::with_capacity_and_hasher(services, <_>::default()),
        };
        for (index, unit) in units.all.iter().enumerate() {
            names.visible.push(set_of(units, &units.closure(index)));
            names.included_twice(context, index);
            names.define_services(context, index, &unit.file.services);
            for list in &unit.file.lists {
                let set = list.sound.then(|| lists::read(context, &unit.path, list)).flatten();
                let (name, span) = (list.name.value.clone(), list.name.span.clone());
                let addresses = Addresses { name, span, set, depth: 1, changes: true };
                names.define(context, index, &list.name.value, addresses);
            }
            names.define_groups(context, index, &unit.file.groups);
        }
        names
    }

    /// What one unit sees.
    pub(crate) fn scope(&self, unit: usize) -> Scope<'_> {
        Scope { names: self, unit }
    }

    /// Groups and lists that are defined in some units, by name.
    pub(crate) fn groups_in(&self, units: &[usize]) -> Vec<&Addresses> {
        definitions_in(&self.addresses, units)
    }

    /// Services that are defined in some units, by name.
    pub(crate) fn services_in(&self, units: &[usize]) -> Vec<&&'u Service> {
        definitions_in(&self.services, units)
    }

    /// What a name means to a unit: to the first included file that sees it, else
    /// what the unit says itself.
    fn find<'t, T>(&self, table: &'t Table<'u, T>, unit: usize, name: &str) -> Option<&'t T> {
        let known = table.get(name)?;
        let seen = self.visible.get(unit)?;
        let mut inside = known.iter().filter(|(of, _)| seen[*of]);
        let first = inside.next()?;
        if inside.next().is_none() {
            return Some(&first.1);
        }
        let defines = |unit| known.iter().any(|(of, _)| *of == unit);
        let mut looked = vec![false; self.units.all.len()];
        let by = self.definer(&mut looked, unit, &defines);
        known.iter().find(|(of, _)| Some(*of) == by).map(|(_, found)| found)
    }

    /// The first unit that defines something, of those that `unit` includes and
    /// then itself. The units `looked` at led nowhere.
    fn definer(
        &self,
        looked: &mut [bool],
        unit: usize,
        defines: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if std::mem::replace(&mut looked[unit], true) {
            return None;
        }
        let mut included = self.units.all[unit].includes.iter();
        let found = included.find_map(|&unit| self.definer(looked, unit, defines));
        found.or_else(|| defines(unit).then_some(unit))
    }

    /// Reports names that mean one thing to one included file, and another to
    /// another.
    fn included_twice(&self, context: &mut Context<'_>, unit: usize) {
        let includes = &self.units.all[unit].includes;
        twice_in(context, self, &self.addresses, includes, |addresses| &addresses.span);
        twice_in(context, self, &self.services, includes, |service| &service.name.span);
    }

    fn define(
        &mut self,
        context: &mut Context<'_>,
        unit: usize,
        name: &'u str,
        addresses: Addresses,
    ) {
        if BUILT_IN.contains(&name) {
            context.sink.push(
                Diagnostic::new(Code::BuiltIn, format!("`{name}` is built in"))
                    .at(&addresses.span, "and cannot be defined again")
                    .help("choose another name"),
            );
            return;
        }
        if let Some(known) = self.find(&self.addresses, unit, name) {
            context.sink.push(twice(name, &addresses.span, &known.span));
            return;
        }
        insert(&mut self.addresses, unit, name, addresses);
    }

    fn define_services(&mut self, context: &mut Context<'_>, unit: usize, services: &'u [Service]) {
        for service in services {
            let Spanned { value: name, span } = &service.name;
            if name == "all" {
                context.sink.push(
                    Diagnostic::new(Code::BuiltIn, "`all` is built in")
                        .at(span, "and cannot be defined again")
                        .help("choose another name"),
                );
                continue;
            }
            // Of the thousands that there may be, almost all are new.
            if let Entry::Vacant(slot) = self.services.entry(name) {
                slot.insert(Vec1 { first: (unit, service), more: Vec::new() });
            } else if let Some(known) = self.find(&self.services, unit, name) {
                context.sink.push(twice(name, span, &known.name.span));
            } else {
                insert(&mut self.services, unit, name, service);
            }
        }
    }

    fn define_groups(&mut self, context: &mut Context<'_>, unit: usize, groups: &'u [Group]) {
        let own: BTreeMap<&str, &Group> =
            groups.iter().map(|group| (group.name.value.as_str(), group)).collect();
        let mut open = Vec::new();
        for group in groups {
            self.define_group(context, (unit, &own), group, &mut open);
        }
    }

    /// Defines a group after the groups it contains. `open` are the groups whose
    /// definition led here.
    fn define_group(
        &mut self,
        context: &mut Context<'_>,
        (unit, own): (usize, &BTreeMap<&str, &'u Group>),
        group: &'u Group,
        open: &mut Vec<&'u str>,
    ) {
        let name = group.name.value.as_str();
        let known = self.find(&self.addresses, unit, name);
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
                    self.define_group(context, (unit, own), inner, open);
                }
            }
        }
        open.pop();
        let scope = self.scope(unit);
        let set = if sound { scope.set(context, &group.items) } else { None };
        let depth = 1 + scope.deepest(&group.items);
        if let (true, Some(item)) = (depth == MAX_NESTING + 1, group.items.first()) {
            context.sink.push(too_deep(item));
        }
        let (owned, span) = (group.name.value.clone(), group.name.span.clone());
        let changes = group.items.iter().any(|item| scope.is_changing(item));
        let addresses = Addresses { name: owned, span, set, depth, changes };
        self.define(context, unit, name, addresses);
    }
}

fn insert<'u, T>(table: &mut Table<'u, T>, unit: usize, name: &'u str, definition: T) {
    match table.entry(name) {
        Entry::Occupied(known) => known.into_mut().more.push((unit, definition)),
        Entry::Vacant(slot) => {
            slot.insert(Vec1 { first: (unit, definition), more: Vec::new() });
        }
    }
}

fn definitions_in<'t, T>(table: &'t Table<'_, T>, units: &[usize]) -> Vec<&'t T> {
    let all = table.iter().flat_map(|(name, known)| known.iter().map(move |one| (name, one)));
    let in_units = all.filter_map(|(name, (of, found))| {
        let place = units.iter().position(|unit| unit == of)?;
        Some(((name, place), found))
    });
    let mut found: Vec<_> = in_units.collect();
    found.sort_unstable_by_key(|(key, _)| *key);
    found.into_iter().map(|(_, found)| found).collect()
}

fn set_of(units: &Units, members: &[usize]) -> Vec<bool> {
    let mut set = vec![false; units.all.len()];
    for &member in members {
        set[member] = true;
    }
    set
}

fn twice_in<'u, T>(
    context: &mut Context<'_>,
    names: &Names<'u>,
    table: &Table<'u, T>,
    includes: &[usize],
    span: impl Fn(&T) -> &Span,
) {
    if includes.len() < 2 {
        return;
    }
    let shared = table.iter().filter(|(_, known)| !known.more.is_empty());
    let mut shared: Vec<&str> = shared.map(|(name, _)| *name).collect();
    shared.sort_unstable();
    let mut first: HashMap<&str, &T> = HashMap::new();
    for &unit in includes {
        for name in &shared {
            let Some(found) = names.find(table, unit, name) else { continue };
            let known = *first.entry(name).or_insert(found);
            if !std::ptr::eq(known, found) {
                context.sink.push(twice(name, span(found), span(known)));
            }
        }
    }
}

impl<'n> Scope<'n> {
    fn addresses(&self, name: &str) -> Option<&'n Addresses> {
        self.names.find(&self.names.addresses, self.unit, name)
    }

    fn known_service(&self, name: &str) -> Option<&'n Service> {
        self.names.find(&self.names.services, self.unit, name).copied()
    }

    /// Names that are seen, in order.
    fn seen<T>(&self, table: &'n Table<'n, T>) -> Vec<&'n str> {
        let is_seen = |name: &&str| self.names.find(table, self.unit, name).is_some();
        let mut names: Vec<&str> = table.keys().copied().filter(is_seen).collect();
        names.sort_unstable();
        names
    }

    fn deepest(&self, items: &[Spanned<Item>]) -> usize {
        let depth = |item: &Spanned<Item>| match &item.value {
            Item::Name(name) => self.addresses(name).map_or(0, |inner| inner.depth),
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
        if let [only] = items {
            return self.item(context, only);
        }
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
                let found = self.addresses(name);
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
        let names = self.seen(&self.names.addresses).into_iter().chain(BUILT_IN);
        match suggest::nearest(name, names) {
            Some(near) => diagnostic.help(match self.addresses(near) {
                Some(known) => format!("did you mean `{near}`?  ({})", known.span.place()),
                None => format!("did you mean `{near}`?"),
            }),
            None if self.known_service(name).is_some() => {
                diagnostic.help(format!("`{name}` is a service: service: {name}"))
            }
            None => diagnostic.help(format!("groups:\n  {name}: [10.0.0.1]")),
        }
    }

    /// Whether a list is in the item, whose content changes without the rules.
    pub(crate) fn is_changing(&self, item: &Spanned<Item>) -> bool {
        match &item.value {
            Item::Addresses(_) => false,
            Item::Name(name) => self.addresses(name).is_some_and(|known| known.changes),
        }
    }

    /// The service of a name, reported if there is none.
    pub(crate) fn service(
        &self,
        context: &mut Context<'_>,
        name: &Spanned<String>,
    ) -> Option<&'n Service> {
        let found = self.known_service(&name.value);
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
        let names = self.seen(&self.names.services).into_iter().chain(["all"]);
        match suggest::nearest(name, names) {
            Some(near) => diagnostic.help(match self.known_service(near) {
                Some(known) => format!("did you mean `{near}`?  ({})", known.name.span.place()),
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
        let exact = |service: &&Service| {
            let set = &service.set;
            service.sound && (set.contains(index) || set.contains(index + ServiceIndex::UDP))
        };
        let seen = self.seen(&self.names.services).into_iter();
        match seen.filter_map(|name| self.known_service(name)).find(exact) {
            Some(service) => diagnostic.help(format!(
                "did you mean `{}`?  ({})",
                service.name.value,
                service.name.span.place()
            )),
            None => diagnostic.help(format!("services:\n  my-service: {{ tcp: {port} }}")),
        }
    }

    fn where_looked(&self) -> String {
        let units = self.names.units;
        let included = &units.closure(self.unit)[1..];
        let names = included.iter().map(|&unit| units.all[unit].file.source.name.as_str());
        let files: Vec<&str> = names.map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
        let files = files.join(", ");
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
