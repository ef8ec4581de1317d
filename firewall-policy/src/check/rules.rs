//! Rules with every name replaced by what it stands for.

use firewall_common::service::ServiceIndex;

use super::Context;
use super::scope::Scope;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::{self, Count, Direction};
use crate::schema::peer::Peer;
use crate::schema::reader::written_place;
use crate::schema::rule::Rule;
use crate::set::{AddrSet, ServiceSet};
use crate::source::{Span, Spanned};

/// The list that a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Failsafe,
    Deny,
    Allow,
}

/// A resolved rule, beside the text it came from.
#[derive(Clone, Debug)]
pub(crate) struct Resolved<'u> {
    pub(crate) written: &'u Rule,
    pub(crate) rule: Box<ir::Rule>,
    pub(crate) direction: Direction,
    /// The unit it is written in.
    pub(crate) unit: usize,
    /// A list is in it, so that what it covers today says nothing of tomorrow.
    pub(crate) changes: bool,
}

impl Resolved<'_> {
    /// Where the service was written.
    pub(crate) fn service_span(&self) -> &Span {
        self.written.service.as_ref().map_or(&self.written.name.span, |service| &service.span)
    }
}

/// Resolves the rules of one list of a file; broken ones are left out.
pub(crate) fn resolve<'u>(
    context: &mut Context<'_>,
    scope: Scope<'_>,
    role: &str,
    written: &'u [Rule],
    (stage, direction): (Stage, Direction),
) -> Vec<Resolved<'u>> {
    let mut rules = Vec::with_capacity(written.len());
    for rule in written {
        // A rule that was reported broken is still resolved, for the sake of
        // what else is wrong with it.
        if let Some(resolved) = one(context, scope, (rule, role), (stage, direction))
            && rule.sound
        {
            rules.push(resolved);
        }
    }
    rules
}

fn one<'u>(
    context: &mut Context<'_>,
    scope: Scope<'_>,
    (written, of_role): (&'u Rule, &str),
    (stage, direction): (Stage, Direction),
) -> Option<Resolved<'u>> {
    let remote = peer(context, scope, written.remote(direction), stage);
    let local = peer(context, scope, written.local(direction), stage);
    let services = services(context, scope, written);
    let (remote, local, (services, counts)) = (remote?, local?, services?);
    let remote_peer = written.remote(direction);
    let rule = Box::new(ir::Rule {
        name: written.name.value.clone(),
        role: of_role.to_owned(),
        remote,
        local,
        services,
        counts,
        interfaces: written.interfaces.clone(),
        vlans: written.vlans.clone(),
        tcp_flags: written.tcp_flags.as_ref().map(|flags| flags.value),
        log: written.log,
        span: written.span.clone(),
        remote_span: remote_peer.map_or(&written.name.span, |peer| &peer.span).clone(),
        remote_text: remote_peer.map_or_else(|| "any".into(), Peer::words),
        service_text: service_words(written),
        owner: written.owner.clone(),
        reason: written.reason.clone(),
        ticket: written.ticket.clone(),
    });
    let changes = [&written.from, &written.to].into_iter().flatten().any(|peer| {
        let items = peer.items.iter().chain(&peer.except);
        items.into_iter().any(|item| scope.is_changing(item))
    });
    Some(Resolved { written, rule, direction, unit: scope.unit, changes })
}

/// The addresses of `from:` or `to:`; any if not written.
fn peer(
    context: &mut Context<'_>,
    scope: Scope<'_>,
    peer: Option<&Peer>,
    stage: Stage,
) -> Option<AddrSet> {
    let Some(peer) = peer else { return Some(AddrSet::any()) };
    let (set, except) = (scope.set(context, &peer.items), scope.set(context, &peer.except));
    let (set, except) = (set?, except?);
    let rest = set.subtract(&except);
    if !rest.is_empty() {
        return Some(rest);
    }
    if peer.items.is_empty() || stage != Stage::Deny {
        let label = match (&*peer.items, set.is_empty()) {
            ([], _) => "no address is named: matches nothing, never everything",
            (_, false) => "`except` takes away every address",
            ([_], true) => "it is empty: matches nothing, never everything",
            (_, true) => "they are empty: match nothing, never everything",
        };
        let message = match stage {
            Stage::Deny => "a deny that matches no address",
            Stage::Allow | Stage::Failsafe => "an allow that matches no address",
        };
        context.sink.push(
            Diagnostic::new(Code::EmptySet, message)
                .at(&written_place(&peer.span), label)
                .help("name addresses, write `any`, or delete the rule"),
        );
        return None;
    }
    Some(rest)
}

type Counts = Vec<(ServiceSet, Count)>;

fn services(
    context: &mut Context<'_>,
    scope: Scope<'_>,
    written: &Rule,
) -> Option<(ServiceSet, Counts)> {
    let wanted = written.service.as_ref()?;
    let Some(names) = &wanted.names else {
        let all = ServiceSet::full();
        // Only TCP has flags, so `all` stands for all of TCP here.
        let set = if written.tcp_flags.is_some() { all.intersect(&tcp()) } else { all };
        return Some((set, Vec::new()));
    };
    let mut set = ServiceSet::empty();
    let mut counted: Vec<Counted<'_>> = Vec::new();
    let mut sound = true;
    for name in names {
        let service = scope.service(context, name);
        let Some(service) = service.filter(|one| one.sound) else {
            sound = false;
            continue;
        };
        let part = &service.set;
        set = set.union(part);
        if let Some(count) = &service.count {
            sound &= add_count(context, &mut counted, Counted { name, part, count: count.value });
        }
    }
    sound.then(|| (set, by_count(&counted)))
}

/// A service of a rule whose requests are counted.
struct Counted<'n> {
    name: &'n Spanned<String>,
    part: &'n ServiceSet,
    count: Count,
}

/// Takes a counted service in, unless another counts its ports in another way.
fn add_count<'n>(
    context: &mut Context<'_>,
    counted: &mut Vec<Counted<'n>>,
    new: Counted<'n>,
) -> bool {
    for known in counted.iter().filter(|known| known.count != new.count) {
        let both = new.part.intersect(known.part);
        if let Some(&(port, _)) = both.ranges().first() {
            let (this, that) = (count_word(new.count), count_word(known.count));
            context.sink.push(
                Diagnostic::new(
                    Code::Count,
                    format!("port {} is counted in two ways", port & 0xffff),
                )
                .at(&new.name.span, format!("as `{this}`"))
                .at(&known.name.span, format!("as `{that}`"))
                .help("give each service ports of its own, or remove one `count:`"),
            );
            return false;
        }
    }
    counted.push(new);
    true
}

/// One entry per way of counting.
fn by_count(counted: &[Counted<'_>]) -> Counts {
    let mut counts: Counts = Vec::new();
    for Counted { part, count, .. } in counted {
        match counts.iter_mut().find(|(_, other)| other == count) {
            Some((known, _)) => *known = known.union(part),
            None => counts.push(((*part).clone(), *count)),
        }
    }
    counts
}

/// The word of a rule file for a way of counting.
pub(crate) fn count_word(count: Count) -> &'static str {
    match count {
        Count::Http1 => "http1",
        Count::Tls => "tls",
        Count::Mysql => "mysql",
        Count::Dns => "dns",
    }
}

/// Every TCP port.
pub(crate) fn tcp() -> ServiceSet {
    ServiceSet::range(0, ServiceIndex::UDP - 1)
}

fn service_words(written: &Rule) -> String {
    match written.service.as_ref().and_then(|services| services.names.as_ref()) {
        None => "all".into(),
        Some(names) if names.len() == 1 => names[0].value.clone(),
        Some(names) => names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(", "),
    }
}
