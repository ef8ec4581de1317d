//! Metric families as Prometheus text or `OpenMetrics`.
//!
//! Prometheus text 0.0.4 and `OpenMetrics` 1.0 differ in the name that a counter's
//! `# TYPE` line carries and in the end mark; prometheus-client writes only the
//! second, so both are written here.

use std::fmt::{Display, Write as _};

/// The two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header asks for; text where it does not say.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let quality = |wanted: &str| {
            accept
                .split(',')
                .filter_map(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let matches = parts.next()?.eq_ignore_ascii_case(wanted);
                    let quality = parts.find_map(|part| part.strip_prefix("q="));
                    let quality = quality.map_or(Some(1.0), |value| value.parse::<f32>().ok());
                    quality.filter(|_| matches)
                })
                .fold(0.0, f32::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of the format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of number a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples are named `<name>_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Whole.
    Whole(u64),
    /// Of seconds.
    Real(f64),
}

impl Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
        }
    }
}

/// Labels and a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: Value,
}

/// Samples of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name, without `_total`.
    pub name: &'static str,
    /// What is counted, with its unit.
    pub help: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Samples; a family without is not written.
    pub samples: Vec<Sample>,
}

impl Family {
    /// A counter without samples yet.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    /// A gauge without samples yet.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    /// Adds a whole number.
    pub fn add<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: u64) {
        self.push(labels, Value::Whole(value));
    }

    /// Adds a number of seconds.
    pub fn add_real<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: f64) {
        self.push(labels, Value::Real(value));
    }

    /// With one sample that has no labels.
    #[must_use]
    pub fn single(mut self, value: u64) -> Self {
        self.add([], value);
        self
    }

    /// With one sample, if it was measured.
    #[must_use]
    pub fn maybe(self, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.single(value),
            None => self,
        }
    }

    fn push<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: Value) {
        let labels = labels.map(|(name, value)| (name, value.to_owned())).into();
        self.samples.push(Sample { labels, value });
    }
}

/// Writes families in a format.
#[must_use]
pub fn write(families: &[Family], format: Format) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let Family { name, help, kind, samples } = family;
        let (suffix, word) = match kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
        };
        let declared = match format {
            Format::Text => suffix,
            Format::OpenMetrics => "",
        };
        let _ = writeln!(text, "# HELP {name}{declared} {}", escaped(help));
        let _ = writeln!(text, "# TYPE {name}{declared} {word}");
        for sample in samples {
            let _ = write!(text, "{name}{suffix}");
            let mut separator = '{';
            for (label, value) in &sample.labels {
                let _ = write!(text, "{separator}{label}=\"{}\"", escaped(value));
                separator = ',';
            }
            if !sample.labels.is_empty() {
                text.push('}');
            }
            let _ = writeln!(text, " {}", sample.value);
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        let mut packets = Family::counter("firewall_packets", "Wire packets");
        packets.add([("interface", "eth0"), ("verdict", "drop")], 3);
        let mut start = Family::gauge("process_start_time_seconds", "Seconds since 1970");
        start.add_real([], 1.5);
        vec![packets, start, Family::counter("firewall_nothing", "Never written")]
    }

    #[test]
    fn the_formats_differ_in_type_names_and_end() {
        assert_eq!(
            write(&families(), Format::Text),
            "# HELP firewall_packets_total Wire packets\n\
             # TYPE firewall_packets_total counter\n\
             firewall_packets_total{interface=\"eth0\",verdict=\"drop\"} 3\n\
             # HELP process_start_time_seconds Seconds since 1970\n\
             # TYPE process_start_time_seconds gauge\n\
             process_start_time_seconds 1.5\n"
        );
        let open = write(&families(), Format::OpenMetrics);
        assert!(open.contains("# TYPE firewall_packets counter\nfirewall_packets_total{"));
        assert!(open.ends_with("# EOF\n"));
    }

    #[test]
    fn label_values_are_escaped() {
        let mut family = Family::gauge("firewall_x", "x");
        family.add([("role", "a\"b\\c\nd")], 1);
        let text = write(&[family], Format::Text);
        assert!(text.contains(r#"{role="a\"b\\c\nd"} 1"#), "{text}");
    }

    #[test]
    fn the_accept_header_chooses() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
        assert_eq!(Format::accepted("text/plain"), Format::Text);
        assert_eq!(Format::accepted("application/openmetrics-text;q=0"), Format::Text);
    }
}
