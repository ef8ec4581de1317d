//! Rates: a history of samples, read.

use firewall_common::verdict::{Direction, Reason, Verdict};
use firewall_policy::compile::{List as RuleList, RuleInfo};

use super::sample::{Known, Sample, Series, unit_of};
use crate::report::history::{History, Window};
use crate::report::snapshot::{Rate, Recent, Unit, Way};

/// Busiest rules shown beside the named series.
const BUSIEST: usize = 10;

/// What was added in the last minute; `None` before the second sample.
pub(super) fn recent(
    sample: &Sample,
    known: Option<&Known>,
    history: &History<Series>,
) -> Option<Recent> {
    let mut recent = Recent::default();
    let minute = Window::Minute.length();
    for way in Way::BOTH {
        for reason in Reason::ALL {
            let Some((added, time)) = history.latest(&Series::Reason(way, *reason as u8), minute)
            else {
                continue;
            };
            recent.seconds = recent.seconds.max(time.as_secs_f64());
            match reason.verdict() {
                Verdict::Pass => recent.allowed += added,
                Verdict::Drop => recent.dropped += added,
            }
            if *reason == Reason::Banned {
                recent.banned += added;
            }
        }
    }
    let watched = history.watched(minute)?;
    recent.seconds = watched.as_secs_f64();
    for info in known.map_or(&[][..], |known| &known.meta.rules) {
        // What this host asks of others is not what it serves.
        if Way::from(info.direction) == Way::Egress && serves(known, info) {
            continue;
        }
        for unit in Unit::REQUESTS {
            let counted = sample.total(info, unit).is_some();
            let added = history.latest(&Series::Rule(info.slot, unit), minute);
            if counted && let Some((added, time)) = added {
                let per_second = crate::report::units::as_f64(added) / time.as_secs_f64();
                *recent.requests.entry(unit.name().to_owned()).or_default() += per_second;
            }
        }
    }
    Some(recent)
}

/// Whether some ingress rule counts what an egress rule counts.
fn serves(known: Option<&Known>, info: &RuleInfo) -> bool {
    let units =
        |rule: &RuleInfo| rule.counts.iter().map(|count| unit_of(count.0)).collect::<Vec<_>>();
    let wanted = units(info);
    known.is_some_and(|known| {
        known.meta.rules.iter().any(|rule| {
            Way::from(rule.direction) == Way::Ingress
                && units(rule).iter().any(|unit| wanted.contains(unit))
        })
    })
}

/// Named series, then the busiest rules, then the defaults.
pub(super) fn rates(sample: &Sample, known: &Known, history: &History<Series>) -> Vec<Rate> {
    let rate = |name: &str, rule: &str, direction, unit, series: Option<Series>| {
        let over = |window| series.and_then(|series| history.rate(&series, window));
        Rate {
            name: name.to_owned(),
            named: false,
            rule: rule.to_owned(),
            direction,
            unit,
            total: None,
            second: over(Window::Second),
            ten_seconds: over(Window::TenSeconds),
            minute: over(Window::Minute),
            quarter_hour: over(Window::QuarterHour),
            hour_median: series.and_then(|series| history.hour_median(&series)),
        }
    };
    let mut rates = Vec::new();
    for series in &known.remembered.rates {
        let info = known.meta.rules.iter().find(|info| {
            Way::from(info.direction) == series.direction
                && (info.name == series.rule || info.full_name() == series.rule)
        });
        let total = info.and_then(|info| sample.total(info, series.unit));
        let slot =
            info.filter(|_| total.is_some()).map(|info| Series::Rule(info.slot, series.unit));
        let rate = rate(&series.name, &series.rule, series.direction, series.unit, slot);
        rates.push(Rate { named: true, total, ..rate });
    }
    rates.extend(busiest(sample, known).into_iter().map(|(info, name)| {
        let series = Series::Rule(info.slot, Unit::Packets);
        let unit = if info.list == RuleList::Deny { Unit::Drops } else { Unit::Packets };
        let total = sample.total(info, Unit::Packets);
        Rate { total, ..rate(name, name, info.direction.into(), unit, Some(series)) }
    }));
    for (direction, word) in
        [Direction::Ingress, Direction::Egress].into_iter().zip(&known.meta.defaults)
    {
        let (reason, unit) = match word.as_str() {
            "allow" => (Reason::DefaultAllow, Unit::Packets),
            _ => (Reason::DefaultDrop, Unit::Drops),
        };
        let way = Way::from(direction);
        let series = Series::Reason(way, reason as u8);
        let name = way.default_name();
        let total = Some(sample.outcomes.total(direction, reason).packets);
        rates.push(Rate { total, ..rate(name, name, way, unit, Some(series)) });
    }
    rates
}

/// The rules that have decided most packets, most first.
fn busiest<'a>(sample: &Sample, known: &'a Known) -> Vec<(&'a RuleInfo, &'a String)> {
    let mut rules: Vec<_> = known
        .meta
        .rules
        .iter()
        .zip(&known.names)
        .filter(|(info, _)| sample.total(info, Unit::Packets).is_some_and(|packets| packets > 0))
        .collect();
    rules.sort_by_key(|(info, _)| std::cmp::Reverse(sample.total(info, Unit::Packets)));
    rules.truncate(BUSIEST);
    rules
}
