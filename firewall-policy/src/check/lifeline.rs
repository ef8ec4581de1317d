//! What a host dies of later if it is forgotten: name resolution, time, updates,
//! a way in for its administrators.
//!
//! Judged only where nothing else is wrong, since a broken rule may be the one
//! that is missed.

use firewall_common::service::ServiceIndex;

use super::Context;
use super::exposure::is_everybody;
use super::rules::Resolved;
use crate::assemble::Book;
use crate::check::compose::Agreed;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::Action;
use crate::set::ServiceSet;
use crate::source::Span;

/// Ports by which packages are fetched: FTP, HTTP(S), rsync, proxies, apt-cacher.
const PACKAGES: [u32; 8] = [21, 80, 443, 873, 3128, 3142, 8080, 8081];

/// Warns of what is missing; reports what locks people out.
pub(crate) fn check(
    context: &mut Context<'_>,
    book: &Book<'_>,
    settings: &Agreed<'_>,
    start: &Span,
) {
    let drops = |written: Option<&crate::source::Spanned<Action>>| {
        (written.is_none_or(|one| one.value == Action::Drop))
            .then(|| written.map_or(start, |one| &one.span).clone())
    };
    if let Some(span) = drops(settings.default_egress) {
        way_out(context, book, &span);
    }
    if let Some(span) = drops(settings.default_ingress) {
        way_in(context, book, settings, &span);
    }
    failsafe(context, book, settings);
}

fn way_out(context: &mut Context<'_>, book: &Book<'_>, default: &Span) {
    let one = |port: u32| (port, port);
    let dns = ServiceSet::from_ranges(vec![one(53), one(853), one(ServiceIndex::UDP + 53)]);
    let ntp = ServiceSet::from_ranges(vec![one(ServiceIndex::UDP + 123), one(4460)]);
    let packages = ServiceSet::from_ranges(PACKAGES.map(one).to_vec());
    let lifelines = [
        (Code::NoDns, dns, "DNS", "host names stop resolving", "dns, to: resolvers, service: dns"),
        (
            Code::NoNtp,
            ntp,
            "NTP",
            "the clock drifts until certificates fail",
            "ntp, to: time-servers, service: ntp",
        ),
        (
            Code::NoPackages,
            packages,
            "packages",
            "security updates stop",
            "packages, to: package-mirror, service: http",
        ),
    ];
    for (code, wanted, what, effect, rule) in lifelines {
        if reaches(&book.egress.allow, &wanted) || reaches(&book.egress.failsafe, &wanted) {
            continue;
        }
        context.sink.push(
            Diagnostic::new(code, format!("no egress rule allows {what}"))
                .at(default, format!("and what no rule allows is dropped: {effect}"))
                .help(format!("- {{ name: {rule} }}")),
        );
    }
}

fn way_in(context: &mut Context<'_>, book: &Book<'_>, settings: &Agreed<'_>, default: &Span) {
    let ssh = ServiceSet::range(22, 22);
    let mut rules = [&book.ingress.allow, &book.ingress.failsafe].into_iter();
    let is_way_in = |rules: &Vec<Resolved<'_>>| {
        reaches(rules, &ssh) || rules.iter().any(|rule| rule.rule.service_text.contains("ssh"))
    };
    // Whoever writes `failsafe: { ingress: [] }` has been asked, and is warned.
    if settings.no_failsafe.is_some() || rules.any(is_way_in) {
        return;
    }
    context.sink.push(
        Diagnostic::new(Code::NoWayIn, "no ingress rule lets an administrator in")
            .at(default, "and what no rule allows is dropped: no rule allows ssh (22)")
            .help(
                "failsafe: { ingress: [ { name: failsafe-ssh, from: bastion, service: ssh } ] }\n\
                 or, on a host that has a console only, failsafe: { ingress: [] }",
            ),
    );
}

fn failsafe(context: &mut Context<'_>, book: &Book<'_>, settings: &Agreed<'_>) {
    if let Some(span) = &settings.no_failsafe {
        context.sink.push(
            Diagnostic::new(Code::NoFailsafe, "there is no failsafe rule")
                .at(span, "if a rule is wrong, nobody may get in to mend it")
                .help("failsafe: { ingress: [ { name: failsafe-ssh, from: bastion, service: ssh } ] }"),
        );
    }
    for rule in book.ingress.failsafe.iter().filter(|rule| is_everybody(&rule.rule.remote)) {
        let message = format!("failsafe rule `{}` lets everybody in", rule.rule.name);
        context.sink.push(
            Diagnostic::new(Code::FailsafeFromAny, message)
                .at(&rule.rule.remote_span, "before bans, and whatever a deny says")
                .help("from: bastion"),
        );
    }
}

/// Whether a rule names one of the services.
fn reaches(rules: &[Resolved<'_>], wanted: &ServiceSet) -> bool {
    rules.iter().any(|rule| !rule.rule.services.is_disjoint(wanted))
}
