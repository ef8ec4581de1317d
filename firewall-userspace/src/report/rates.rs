//! `firewall rates`: series per second.

use serde::Serialize;

use super::history::Window;
use super::snapshot::{Rate, SCHEMA, Snapshot, Source, Unit};
use super::table::{Align, Table};
use super::units;

/// `firewall rates --json`.
#[derive(Debug, Serialize)]
pub struct RatesDocument<'a> {
    schema: u32,
    source: Source,
    time_ms: u64,
    rates: &'a [Rate],
}

/// The series of a snapshot.
#[must_use]
pub fn json(snapshot: &Snapshot) -> RatesDocument<'_> {
    let Snapshot { source, time_ms, .. } = *snapshot;
    RatesDocument { schema: SCHEMA, source, time_ms, rates: &snapshot.rates }
}

impl Rate {
    /// The rate over a window.
    #[must_use]
    pub const fn over(&self, window: Window) -> Option<f64> {
        match window {
            Window::Second => self.second,
            Window::TenSeconds => self.ten_seconds,
            Window::Minute => self.minute,
            Window::QuarterHour => self.quarter_hour,
        }
    }
}

impl Unit {
    /// Per second, for people.
    const fn per_second(self) -> &'static str {
        match self {
            Self::Packets => "packets/s",
            Self::Drops => "drops/s",
            Self::Bytes => "B/s",
            Self::NewFlows => "new-flows/s",
            Self::HttpRequests => "http-requests/s",
            Self::TlsHandshakes => "tls-handshakes/s",
            Self::MysqlCommands => "mysql-commands/s",
            Self::DnsQueries => "dns-queries/s",
        }
    }
}

/// The table; `window` shows one column instead of three.
#[must_use]
pub fn text(snapshot: &Snapshot, window: Option<Window>) -> String {
    let first = match window {
        None | Some(Window::Second) => "now",
        Some(Window::TenSeconds) => "10 s",
        Some(Window::Minute) => "1 min",
        Some(Window::QuarterHour) => "15 min",
    };
    let (right, left) = (Align::Right, Align::Left);
    let mut table = match window {
        None => Table::new([
            ("", left),
            (first, right),
            ("1 min", right),
            ("15 min", right),
            ("unit", left),
            ("vs 1 h median", right),
        ]),
        Some(_) => {
            Table::new([("", left), (first, right), ("unit", left), ("vs 1 h median", right)])
        }
    };
    for rate in &snapshot.rates {
        let shown = rate.over(window.unwrap_or(Window::Second));
        let unit = rate.unit.per_second().to_owned();
        let change = units::change(shown, rate.hour_median);
        let (name, now) = (rate.name.clone(), units::maybe_rate(shown));
        match window {
            None => table.row([
                name,
                now,
                units::maybe_rate(rate.minute),
                units::maybe_rate(rate.quarter_hour),
                unit,
                change,
            ]),
            Some(_) => table.row([name, now, unit, change]),
        }
    }
    if table.is_empty() {
        return "no policy is loaded: nothing is counted\n".to_owned();
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{assert_stored, snapshot};
    use super::*;

    #[test]
    fn the_table_has_a_unit_on_every_line() {
        assert_eq!(
            text(&snapshot(), None),
            "                  now    1 min   15 min  unit             vs 1 h median
web-qps       3,982.0  3,871.4  3,790.2  http-requests/s           +3 %
app-qps             –        –        –  http-requests/s              –
http-from-lb   41.1 k   40.2 k   39.8 k  packets/s                    –
default-in       20.1     19.8        –  drops/s                      –
"
        );
    }

    #[test]
    fn one_window_is_one_column() {
        let text = text(&snapshot(), Some(Window::TenSeconds));
        assert!(text.starts_with("                 10 s  unit"), "{text}");
        assert!(text.contains("3,950.0"), "{text}");
    }

    #[test]
    fn json_is_as_stored() {
        let json = serde_json::to_string_pretty(&json(&snapshot())).unwrap();
        assert_stored("rates.json", &(json + "\n"));
    }
}
