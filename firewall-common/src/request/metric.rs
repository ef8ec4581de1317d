//! What is counted, by number.

use crate::abi::counter::METRICS;

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What one event adds one to.
        ///
        /// Numbered and append-only: the number is the index in a row of request
        /// counters. One event is one metric; [`is_request`](Self::is_request)
        /// says which ones add up to requests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Metric { $($(#[$doc])* $name = $number,)* }

        impl Metric {
            /// Every metric, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Stable name, as printed and exported.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The metric with a number, if there is one.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

metrics! {
    /// HTTP requests.
    Requests = 0, "requests";
    /// What looked like the start of a request and was not counted: pipelined, a
    /// body that imitates one, or no connection behind it. A request sent again
    /// is none.
    Suspects = 1, "suspects";
    /// TLS connections begun: the first `ClientHello` of each.
    Handshakes = 2, "handshakes";
    /// DNS queries.
    DnsQueries = 3, "dns_queries";
    /// Bytes that never came by and were answered nevertheless.
    Gaps = 4, "gaps";
    /// A connection of which the first payload seen is no beginning, and framing
    /// given up and begun anew, other than for a gap.
    Resyncs = 5, "resyncs";
    /// MySQL connections that turned to TLS: no commands are counted on them.
    MysqlTls = 6, "mysql_tls";
    /// MySQL connections that compress: no commands are counted on them.
    MysqlCompressed = 7, "mysql_compressed";
    /// `COM_QUERY`.
    MysqlQuery = 8, "mysql_query";
    /// `COM_STMT_EXECUTE`.
    MysqlStmtExecute = 9, "mysql_stmt_execute";
    /// `COM_STMT_PREPARE`.
    MysqlStmtPrepare = 10, "mysql_stmt_prepare";
    /// `COM_PING`.
    MysqlPing = 11, "mysql_ping";
    /// `COM_QUIT`.
    MysqlQuit = 12, "mysql_quit";
    /// `COM_INIT_DB`.
    MysqlInitDb = 13, "mysql_init_db";
    /// `COM_BINLOG_DUMP` and `COM_BINLOG_DUMP_GTID`.
    MysqlBinlogDump = 14, "mysql_binlog_dump";
    /// Any other command.
    MysqlOther = 15, "mysql_other";
}

const _: () = assert!(Metric::COUNT <= METRICS as usize);
const _: () = assert!(Metric::COUNT <= 2 * Tally::LANES as usize);

impl Metric {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether this is a request of its protocol: the sum over these metrics is
    /// the request rate of a service.
    #[inline(always)]
    #[must_use]
    pub const fn is_request(self) -> bool {
        matches!(
            self,
            Self::Requests | Self::DnsQueries | Self::MysqlQuery | Self::MysqlStmtExecute
        )
    }
}

/// What one packet added: a small number per [`Metric`], eight bits each.
///
/// No packet adds more than 255 to a metric: framing stops at 64 units. In the
/// kernel it lies in a map: on the stack the verifier would follow every sum on
/// its own, unit after unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tally {
    /// Metrics 0 to 7.
    low: u64,
    /// Metrics 8 to 15.
    high: u64,
}

impl Tally {
    /// Metrics in a word.
    const LANES: u32 = 8;

    /// A tally of nothing.
    pub const EMPTY: Self = Self { low: 0, high: 0 };

    /// Adds one.
    #[inline(always)]
    pub(super) const fn add(&mut self, metric: Metric) {
        let one = 1 << Self::shift(metric);
        if (metric as u32) < Self::LANES {
            self.low = self.low.wrapping_add(one);
        } else {
            self.high = self.high.wrapping_add(one);
        }
    }

    /// What was added to a metric.
    #[inline(always)]
    #[must_use]
    pub const fn get(self, metric: Metric) -> u64 {
        let word = if (metric as u32) < Self::LANES { self.low } else { self.high };
        word >> Self::shift(metric) & 0xff
    }

    /// Calls `add` for each metric that was added to. The commonest come first,
    /// so that one request costs one turn of the loop.
    #[inline(always)]
    pub fn for_each(self, mut add: impl FnMut(Metric, u64)) {
        for (mut word, first) in [(self.low, 0), (self.high, Self::LANES)] {
            for lane in first..first + Self::LANES {
                if word == 0 {
                    break;
                }
                if word & 0xff != 0
                    && let Some(metric) = Metric::from_number(lane)
                {
                    add(metric, word & 0xff);
                }
                word >>= 8;
            }
        }
    }

    #[inline(always)]
    const fn shift(metric: Metric) -> u32 {
        (metric as u32 % Self::LANES) * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (number, metric) in (0..).zip(Metric::ALL) {
            assert_eq!(*metric as u32, number);
            assert_eq!(Metric::from_number(number), Some(*metric));
            assert!(Metric::ALL.iter().filter(|other| other.name() == metric.name()).count() == 1);
        }
        assert_eq!(Metric::from_number(16), None);
    }

    #[test]
    fn a_tally_keeps_metrics_apart() {
        let mut tally = Tally::EMPTY;
        for metric in Metric::ALL {
            for _ in 0..200 - *metric as u32 {
                tally.add(*metric);
            }
        }
        let mut seen = 0;
        tally.for_each(|metric, added| {
            assert_eq!(added, 200 - metric as u64);
            assert_eq!(tally.get(metric), added);
            seen += 1;
        });
        assert_eq!(seen, Metric::COUNT);
    }

    #[test]
    fn an_empty_tally_calls_nobody() {
        Tally::EMPTY.for_each(|metric, _| panic!("{metric:?}"));
    }
}
