//! Files that were read, put together to one policy.

use std::collections::HashMap;

use crate::check::Context;
use crate::check::compose::{Agreed, failsafe_members, says_failsafe};
use crate::check::references::{self, Reference, RuleNames};
use crate::check::rules::{self, Resolved, Stage};
use crate::check::scope::{self, Addresses, Scope};
use crate::check::units::{Unit, Units};
use crate::check::{counting, expiry, exposure, impossible, lifeline, shadow, vital};
use crate::codes::Code;
use crate::compile::parallel;
use crate::diagnostic::{Diagnostic, Sink};
use crate::fold;
use crate::ir::{self, Action, Direction, Policy};
use crate::load::{Loaded, Named, Names};
use crate::schema::file::Kind;
use crate::schema::host::HostFile;
use crate::schema::named::Service;
use crate::schema::rule::{Chain, Rule};
use crate::schema::settings::{Settings, default_baseline, default_interfaces, default_state};
use crate::source::{MemoryFiles, Sources, Span, Spanned};

/// The rules of one file or of one policy, in one direction.
pub(crate) struct Lists<'u> {
    pub(crate) direction: Direction,
    pub(crate) failsafe: Vec<Resolved<'u>>,
    pub(crate) deny: Vec<Resolved<'u>>,
    pub(crate) allow: Vec<Resolved<'u>>,
}

/// Both directions of one file or of one policy.
pub(crate) struct Book<'u> {
    pub(crate) ingress: Lists<'u>,
    pub(crate) egress: Lists<'u>,
}

impl<'u> Book<'u> {
    fn of(&self, direction: Direction) -> &Lists<'u> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    fn of_mut(&mut self, direction: Direction) -> &mut Lists<'u> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

/// The policy of some roles; `None` if an error was reported that leaves none.
pub(crate) fn policy(
    context: &mut Context<'_>,
    units: &Units,
    roles: &[usize],
    host: Option<&HostFile>,
) -> Option<Loaded> {
    let Some(&first) = roles.first() else {
        if context.sink.errors() == 0 {
            context.sink.push(Diagnostic::new(Code::EmptySet, "no role is named"));
        }
        return None;
    };
    let names = scope::Names::new(context, units);
    let mut books = books(context, &names, units);
    for (index, unit) in units.all.iter().enumerate() {
        syn_flood(context, names.scope(index), unit);
    }
    let settings = Agreed::new(context, units, roles, host);
    let members = members(units, roles);
    let whole = Book {
        ingress: union(units, (roles, &members), &mut books, Direction::Ingress),
        egress: union(units, (roles, &members), &mut books, Direction::Egress),
    };
    let host_failsafe = host.map(|host| failsafe(context, names.scope(first), "", &host.settings));
    let mut whole = override_failsafe(whole, host_failsafe, host);
    let mut expired = Vec::new();
    for lists in [&mut whole.ingress, &mut whole.egress] {
        for rules in [&mut lists.failsafe, &mut lists.deny, &mut lists.allow] {
            expired.extend(rules.extract_if(.., |rule| !expiry::is_in_force(context, rule)));
        }
    }
    let services: usize = units.all.iter().map(|unit| unit.file.services.len()).sum();
    let keep_services = context.keep_services;
    let ((names, is_doubtful), ()) = parallel::both(
        services > WORTH_A_THREAD,
        || (named(&names, &members, keep_services), is_doubtful(units, &whole)),
        || meaning(context, &whole, &settings, &units.all[first]),
    );
    let series = series(context, (units, is_doubtful), &members, (&whole, &expired));
    let start = Span { source: units.all[first].file.source.clone(), start: 0, end: 0 };
    let policy = Policy {
        roles: roles.iter().map(|&role| units.all[role].role().to_owned()).collect(),
        ingress: chain(whole.ingress, settings.default_ingress, &start),
        egress: chain(whole.egress, settings.default_egress, &start),
        baseline: settings.baseline.map_or_else(default_baseline, |one| one.value.clone()),
        state: settings.state.map_or_else(default_state, |one| one.value.clone()),
        interfaces: settings.interfaces.map_or_else(default_interfaces, |one| one.value.clone()),
        rates: named_apart(series.rates),
        tests: series.tests,
        memory_max: settings.memory_max.map(|one| one.value),
    };
    Some(Loaded {
        policy,
        warnings: Vec::new(),
        sources: Sources::new(),
        names,
        memory_max: settings.memory_max.map(|one| one.span.clone()),
        state: settings.state.map(|one| one.span.clone()),
        interfaces: settings.interfaces.map(|one| one.span.clone()),
        acknowledged: host.map(|host| host.acknowledge.clone()).unwrap_or_default(),
    })
}

/// What the rules in force mean, by themselves and together.
fn meaning(context: &mut Context<'_>, whole: &Book<'_>, settings: &Agreed<'_>, role: &Unit) {
    for lists in [&whole.ingress, &whole.egress] {
        for rule in lists.failsafe.iter().chain(&lists.deny).chain(&lists.allow) {
            impossible::check(context, rule);
        }
        for rule in &lists.allow {
            exposure::check(context, rule);
        }
        shadow::check(context, lists);
        counting::check(context, lists);
        vital::check(context, lists, settings);
    }
    vital::baseline(context, settings);
    if context.sink.errors() == 0
        && let Kind::Role(name) = &role.file.kind
    {
        for lists in [&whole.ingress, &whole.egress] {
            shadow::warn(context, lists);
        }
        lifeline::check(context, whole, settings, &name.span);
    }
}

/// Every file of the policy once. Roles come first: of several allow rules that
/// match, a role's own gets the hit, before those it includes.
fn members(units: &Units, roles: &[usize]) -> Vec<usize> {
    let mut members = roles.to_vec();
    for &role in roles {
        for unit in units.closure(role) {
            if !members.contains(&unit) {
                members.push(unit);
            }
        }
    }
    members
}

/// Rules whose resolving is worth a thread, or services.
const WORTH_A_THREAD: usize = 2_000;

/// The rules of every file, their names resolved.
fn books<'u>(
    context: &mut Context<'_>,
    names: &scope::Names<'u>,
    units: &'u Units,
) -> Vec<Book<'u>> {
    let Context { now, own_addresses, allow_unsupported, keep_services, .. } = *context;
    let of = |index: usize| {
        // Names are known by now, so that no file is asked for.
        let (files, mut found) = (MemoryFiles::new(), Sink::default());
        let mut context = Context {
            files: &files,
            sink: &mut found,
            sources: None,
            now,
            own_addresses,
            allow_unsupported,
            keep_services,
        };
        let book = book(&mut context, names.scope(index), &units.all[index]);
        (book, found)
    };
    let size = |index: &usize| {
        let chains = [&units.all[*index].file.ingress, &units.all[*index].file.egress];
        chains.map(|chain| chain.deny.len() + chain.allow.len()).iter().sum()
    };
    let books = parallel::each((0..units.all.len()).collect(), size, WORTH_A_THREAD, of);
    let one = |(book, found)| {
        context.sink.absorb(found);
        book
    };
    books.into_iter().map(one).collect()
}

fn book<'u>(context: &mut Context<'_>, scope: Scope<'_>, unit: &'u Unit) -> Book<'u> {
    let file = &unit.file;
    let (ingress, egress) = failsafe(context, scope, unit.role(), &file.settings);
    let mut lists = |chain: &'u Chain, failsafe: Vec<Resolved<'u>>, direction| {
        let mut of = |rules: &'u [Rule], stage| {
            rules::resolve(context, scope, unit.role(), rules, (stage, direction))
        };
        Lists {
            direction,
            failsafe,
            deny: of(&chain.deny, Stage::Deny),
            allow: of(&chain.allow, Stage::Allow),
        }
    };
    Book {
        ingress: lists(&file.ingress, ingress, Direction::Ingress),
        egress: lists(&file.egress, egress, Direction::Egress),
    }
}

/// SYN floods concern services of TCP.
fn syn_flood(context: &mut Context<'_>, scope: Scope<'_>, unit: &Unit) {
    for name in unit.file.syn_flood.iter().flat_map(|one| &one.protect) {
        let Some(service) = scope.service(context, name) else { continue };
        let is_tcp = !service.sound || service.set.is_subset(&rules::tcp());
        if !is_tcp {
            let message = format!("service `{}` is not only TCP", name.value);
            context.sink.push(
                Diagnostic::new(Code::FlagsWithoutTcp, message)
                    .at(&name.span, "only TCP connections begin with a SYN"),
            );
        }
    }
}

fn failsafe<'u>(
    context: &mut Context<'_>,
    scope: Scope<'_>,
    role: &str,
    settings: &'u Settings,
) -> (Vec<Resolved<'u>>, Vec<Resolved<'u>>) {
    let mut of = |written: &'u Option<Spanned<Vec<Rule>>>, direction| {
        let rules = written.as_ref().map_or(&[][..], |written| &written.value);
        rules::resolve(context, scope, role, rules, (Stage::Failsafe, direction))
    };
    (
        of(&settings.failsafe_ingress, Direction::Ingress),
        of(&settings.failsafe_egress, Direction::Egress),
    )
}

/// The rules of all files, in the order of the files, taken out of their books.
fn union<'u>(
    units: &Units,
    (roles, members): (&[usize], &[usize]),
    books: &mut [Book<'u>],
    direction: Direction,
) -> Lists<'u> {
    let mut whole = Lists { direction, failsafe: Vec::new(), deny: Vec::new(), allow: Vec::new() };
    let allows = members.iter().map(|&unit| books[unit].of(direction).allow.len());
    whole.allow.reserve_exact(allows.sum());
    for unit in failsafe_members(units, roles, direction) {
        whole.failsafe.append(&mut books[unit].of_mut(direction).failsafe);
    }
    for &unit in members {
        let lists = books[unit].of_mut(direction);
        whole.deny.append(&mut lists.deny);
        whole.allow.append(&mut lists.allow);
    }
    whole
}

/// Where host.yaml says what the failsafe rules are, nothing else does.
fn override_failsafe<'u>(
    mut whole: Book<'u>,
    rules: Option<(Vec<Resolved<'u>>, Vec<Resolved<'u>>)>,
    host: Option<&HostFile>,
) -> Book<'u> {
    let (Some((ingress, egress)), Some(host)) = (rules, host) else { return whole };
    for (lists, rules) in [(&mut whole.ingress, ingress), (&mut whole.egress, egress)] {
        if says_failsafe(&host.settings, lists.direction) {
            lists.failsafe = rules;
        }
    }
    whole
}

/// Rates and tests, their rules resolved.
#[derive(Default)]
struct Series {
    /// Each with the role it belongs to.
    rates: Vec<(String, ir::Rate)>,
    tests: Vec<ir::Test>,
}

/// `whole` is what is in force, beside it what has expired.
fn series<'u>(
    context: &mut Context<'_>,
    (units, is_doubtful): (&'u Units, bool),
    members: &[usize],
    (whole, expired): (&Book<'u>, &[Resolved<'u>]),
) -> Series {
    if is_doubtful {
        // Rules of shared files have no role to tell them apart by.
        let is_shared = |unit: &&usize| units.all[**unit].role().is_empty();
        let shared: Vec<usize> = members.iter().filter(is_shared).copied().collect();
        rule_names(context, units, &shared, whole);
    }
    let mut series = Series::default();
    let mut in_force = None;
    for &index in members {
        let unit = &units.all[index];
        let asks = !unit.file.rates.is_empty() || !unit.file.tests.is_empty();
        if !asks && !is_doubtful {
            continue;
        }
        let closure = units.closure(index);
        let names = rule_names(context, units, &closure, whole);
        let in_force = in_force.get_or_insert_with(|| InForce::of(whole));
        let rates: Vec<_> = unit.file.rates.iter().map(|rate| &rate.name).collect();
        let tests: Vec<_> = unit.file.tests.iter().map(|test| &test.name).collect();
        references::unique(context, "rates", &rates);
        references::unique(context, "tests", &tests);
        for rate in &unit.file.rates {
            let Some(reference) = names.of_rate(context, rate) else { continue };
            let lists = whole.of(reference.direction);
            let mut rules = lists.allow.iter().chain(&lists.deny).chain(expired);
            let rule = rules.find(|rule| {
                rule.rule.name == reference.name
                    && rule.direction == reference.direction
                    && closure.contains(&rule.unit)
            });
            references::check_unit(context, rate, &reference, rule);
            // A rule that has expired is not there to be read.
            let Some(rule) = in_force.known_as(&reference) else { continue };
            let resolved = ir::Rate {
                name: rate.name.value.clone(),
                rule,
                direction: reference.direction,
                unit: rate.unit.value,
                span: rate.span.clone(),
            };
            series.rates.push((unit.role().to_owned(), resolved));
        }
        for test in &unit.file.tests {
            let by = match &test.by {
                None => None,
                Some(by) => match names.of_test(context, by, test.direction) {
                    Some(reference) => in_force.known_as(&reference).or(Some(reference.name)),
                    None => continue,
                },
            };
            series.tests.extend(test.resolved(unit.role(), by));
        }
    }
    series
}

/// The names that a file sees, of rules sound or broken; names given twice are
/// reported. The first of `closure` is the file.
fn rule_names<'u>(
    context: &mut Context<'_>,
    units: &'u Units,
    closure: &[usize],
    whole: &Book<'u>,
) -> RuleNames<'u> {
    let mut names = RuleNames::default();
    // What is included was there first: a role that takes a name again is at fault.
    for &index in closure.iter().rev() {
        let unit = &units.all[index];
        for direction in [Direction::Ingress, Direction::Egress] {
            let chain = unit.chain(direction);
            for rule in chain.deny.iter().chain(&chain.allow) {
                names.add(context, unit.role(), rule, direction);
            }
        }
    }
    let role = closure.first().map_or("", |&file| units.all[file].role());
    for direction in [Direction::Ingress, Direction::Egress] {
        for failsafe in &whole.of(direction).failsafe {
            let owner = failsafe.rule.role.as_str();
            if owner.is_empty() || owner == role {
                names.add(
                    context,
                    if owner.is_empty() { "" } else { role },
                    failsafe.written,
                    direction,
                );
            }
        }
    }
    names
}

/// Whether a name is given to two rules of one direction, or built in: seldom, and
/// then which file sees what has to be looked at. Two names of one hash are taken for one,
/// and looked at in vain.
fn is_doubtful(units: &Units, whole: &Book<'_>) -> bool {
    [Direction::Ingress, Direction::Egress].into_iter().any(|direction| {
        let failsafe = &whole.of(direction).failsafe;
        let chains: Vec<&Chain> = units.all.iter().map(|unit| unit.chain(direction)).collect();
        let names = || {
            let written = chains.iter().flat_map(|chain| chain.deny.iter().chain(&chain.allow));
            let all = written.chain(failsafe.iter().map(|rule| rule.written));
            all.map(|rule| rule.name.value.as_str())
        };
        let mut hashes: Vec<u64> = names().map(fold::hash).collect();
        hashes.sort_unstable();
        hashes.windows(2).any(|two| two[0] == two[1]) || names().any(references::is_built_in)
    })
}

/// How many rules in force have a name, by direction.
struct InForce<'u> {
    ingress: HashMap<&'u str, usize>,
    egress: HashMap<&'u str, usize>,
}

impl<'u> InForce<'u> {
    fn of(whole: &Book<'u>) -> Self {
        let count = |lists: &Lists<'u>| {
            let mut count = HashMap::new();
            for rule in lists.failsafe.iter().chain(&lists.deny).chain(&lists.allow) {
                *count.entry(rule.written.name.value.as_str()).or_default() += 1;
            }
            count
        };
        Self { ingress: count(&whole.ingress), egress: count(&whole.egress) }
    }

    /// The name that is unique in the policy: `role/name` where two roles have rules
    /// of one name. `None` for a rule that is not in force.
    fn known_as(&self, reference: &Reference) -> Option<String> {
        let Reference { name, role, direction } = reference;
        let count = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        match (count.get(name.as_str()).copied().unwrap_or(0), role.as_str()) {
            (0, _) if !references::is_built_in(name) => None,
            (0 | 1, _) | (_, "") => Some(name.clone()),
            (_, role) => Some(format!("{role}/{name}")),
        }
    }
}

/// Series of one name from two roles become `role/name`.
fn named_apart(rates: Vec<(String, ir::Rate)>) -> Vec<ir::Rate> {
    let mut count: HashMap<String, usize> = HashMap::new();
    for (_, rate) in &rates {
        *count.entry(rate.name.clone()).or_default() += 1;
    }
    let named = |(role, rate): (String, ir::Rate)| {
        let is_alone = role.is_empty() || count.get(&rate.name) == Some(&1);
        let name = if is_alone { rate.name } else { format!("{role}/{}", rate.name) };
        ir::Rate { name, ..rate }
    };
    rates.into_iter().map(named).collect()
}

fn chain(lists: Lists<'_>, default: Option<&Spanned<Action>>, start: &Span) -> ir::Chain {
    let rules = |rules: Vec<Resolved<'_>>| rules.into_iter().map(|rule| rule.rule).collect();
    ir::Chain {
        failsafe: rules(lists.failsafe),
        deny: rules(lists.deny),
        allow: rules(lists.allow),
        default: default.map_or(Action::Drop, |default| default.value),
        default_span: default.map_or(start, |default| &default.span).clone(),
    }
}

/// Named sets of every file in force, by name; services if they are kept.
fn named(known: &scope::Names<'_>, members: &[usize], keep_services: bool) -> Names {
    let group = |known: &Addresses| {
        let (name, span) = (known.name.clone(), known.span.clone());
        Some(Named { name, set: known.set.clone()?, span })
    };
    let service = |known: &&Service| {
        let Spanned { value: name, span } = known.name.clone();
        known.sound.then(|| Named { name, set: known.set.clone(), span })
    };
    let services = if keep_services { known.services_in(members) } else { Vec::new() };
    Names {
        groups: known.groups_in(members).into_iter().filter_map(group).collect(),
        services: services.into_iter().filter_map(service).collect(),
    }
}
