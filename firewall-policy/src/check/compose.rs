//! Settings that several files may write: the nearest file settles one, else all
//! must agree.

use super::Context;
use super::units::Units;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::{Action, Baseline, Direction, Interfaces, State};
use crate::schema::host::HostFile;
use crate::schema::settings::Settings;
use crate::source::{Span, Spanned};

type Written<'u, T> = Option<&'u Spanned<T>>;

/// The settings in force, each with the place that settled it.
pub(crate) struct Agreed<'u> {
    pub(crate) interfaces: Written<'u, Interfaces>,
    pub(crate) default_ingress: Written<'u, Action>,
    pub(crate) default_egress: Written<'u, Action>,
    pub(crate) baseline: Written<'u, Baseline>,
    pub(crate) state: Written<'u, State>,
    pub(crate) memory_max: Written<'u, u64>,
    /// Where `failsafe: { ingress: [] }` was written, if that holds.
    pub(crate) no_failsafe: Option<&'u Span>,
    /// `breaks-ipv6: accepted` was written.
    pub(crate) breaks_ipv6: bool,
}

impl<'u> Agreed<'u> {
    /// What holds for these roles on this host.
    pub(crate) fn new(
        context: &mut Context<'_>,
        units: &'u Units,
        roles: &[usize],
        host: Option<&'u HostFile>,
    ) -> Self {
        let host = host.map(|host| &host.settings);
        let no_failsafe = no_failsafe(units, roles, host);
        let mut files = roles.iter().flat_map(|&role| units.closure(role));
        let breaks_ipv6 = files.any(|unit| units.all[unit].file.settings.breaks_ipv6.is_some());
        let mut settler = Settler { context, units, roles, host };
        Self {
            interfaces: settler.settle("`interfaces`", |one| one.interfaces.as_ref()),
            default_ingress: settler
                .settle("`default: { ingress }`", |one| one.default_ingress.as_ref()),
            default_egress: settler
                .settle("`default: { egress }`", |one| one.default_egress.as_ref()),
            baseline: settler.settle("`baseline`", |one| one.baseline.as_ref()),
            state: settler.settle("`state`", |one| one.state.as_ref()),
            memory_max: settler.settle("`memory-max`", |one| one.memory_max.as_ref()),
            no_failsafe,
            breaks_ipv6,
        }
    }
}

/// Whether a file says what the failsafe rules of a direction are.
pub(crate) fn says_failsafe(settings: &Settings, direction: Direction) -> bool {
    match direction {
        Direction::Ingress => settings.failsafe_ingress.is_some(),
        Direction::Egress => settings.failsafe_egress.is_some(),
    }
}

/// The files whose failsafe rules hold: of each role its own if it has any to
/// say, else those of every file it includes.
pub(crate) fn failsafe_members(units: &Units, roles: &[usize], direction: Direction) -> Vec<usize> {
    let mut members = Vec::new();
    for &role in roles {
        let says = |unit: &usize| says_failsafe(&units.all[*unit].file.settings, direction);
        let of_role = if says(&role) { vec![role] } else { units.closure(role) };
        for unit in of_role.into_iter().filter(says) {
            if !members.contains(&unit) {
                members.push(unit);
            }
        }
    }
    members
}

/// Where it is written that there is no way in but the rules.
fn no_failsafe<'u>(
    units: &'u Units,
    roles: &[usize],
    host: Option<&'u Settings>,
) -> Option<&'u Span> {
    let of_host = host.filter(|host| says_failsafe(host, Direction::Ingress));
    let of_roles = failsafe_members(units, roles, Direction::Ingress).into_iter();
    let written: Vec<&Settings> = match of_host {
        Some(host) => vec![host],
        None => of_roles.map(|unit| &units.all[unit].file.settings).collect(),
    };
    let written = written.iter().filter_map(|settings| settings.failsafe_ingress.as_ref());
    let mut empty = None;
    for rules in written {
        if !rules.value.is_empty() {
            return None;
        }
        empty = empty.or(Some(&rules.span));
    }
    empty
}

struct Settler<'a, 'c, 'u> {
    context: &'a mut Context<'c>,
    units: &'u Units,
    roles: &'a [usize],
    host: Option<&'u Settings>,
}

impl<'u> Settler<'_, '_, 'u> {
    fn settle<T: PartialEq>(
        &mut self,
        what: &str,
        get: impl Fn(&'u Settings) -> Written<'u, T>,
    ) -> Written<'u, T> {
        let mut of_roles = Vec::new();
        for &role in self.roles {
            let mut written = self
                .units
                .closure(role)
                .into_iter()
                .map(|unit| get(&self.units.all[unit].file.settings));
            let own = written.next().flatten();
            let included: Vec<_> = written.flatten().collect();
            of_roles.extend(match own {
                Some(own) => Some(own),
                None => self.agree(what, &included, "write it in the role file, which settles it"),
            });
        }
        let of_host = self.host.and_then(get);
        of_host.or_else(|| {
            self.agree(
                what,
                &of_roles,
                "make them equal, or write it in host.yaml, which settles it",
            )
        })
    }

    fn agree<T: PartialEq>(
        &mut self,
        what: &str,
        written: &[&'u Spanned<T>],
        way_out: &str,
    ) -> Written<'u, T> {
        let (&first, rest) = written.split_first()?;
        if let Some(other) = rest.iter().find(|other| other.value != first.value) {
            self.context.sink.push(
                Diagnostic::new(Code::SettingsDiffer, format!("{what} is set in two ways"))
                    .at(&other.span, "here")
                    .at(&first.span, "and differently here")
                    .help(way_out),
            );
        }
        Some(first)
    }
}
