//! Requests per second from packets alone: pure counters, one step per segment.
//!
//! A service names a [`Kind`]; its segments from client to server are counted by
//! the rule of that kind, whether this host is the server (ingress) or the client
//! (egress, with its own retransmissions and GSO super-packets).
//!
//! | module | counts | flow entry is looked up for |
//! | --- | --- | --- |
//! | `http1` | requests, by the turn rule | segments that begin with a method, or as another protocol does |
//! | `tls` | handshakes | segments that begin with a `ClientHello` |
//! | `mysql` | commands, by `framing` | all with payload |
//! | `dns` | queries; over TCP by `framing` | TCP segments with payload |
//!
//! # Who calls what
//!
//! [`count()`] does all of it, in this order. A SYN only clears an entry that
//! exists. An entry is made for the first payload that [`need`] asks it for, and
//! only if the kernel has a connection for the tuple, or the segment brings back
//! the SYN cookie of one: neither a SYN flood nor forged payload can churn the
//! table or be counted. [`step`] then judges the segment, and adds to a [`Tally`].
//!
//! Data in a SYN (TCP Fast Open, RFC 7413) is counted like any other by [`step`],
//! and a copy sent again after the handshake is not. The connection asked for
//! above exists at that moment where this host is the client, but not yet where
//! it serves: there the request in a SYN is suspect. Linux serves Fast Open only
//! if `net.ipv4.tcp_fastopen` has bit 1 set, which by default it has not.
//!
//! Entries are in a table that forgets what was used least recently. A flow that lost its own
//! counts on from its next request; only a retransmission right behind that is counted twice.
//!
//! TCP fragments count by what the first one holds, so framing may see a gap.

mod count;
mod dns;
mod entry;
mod framing;
mod http1;
mod metric;
mod mysql;
mod proxy;
mod segment;
mod table;
mod tls;

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a wrong index or number fails the test, as it should"
)]
mod tests;

use crate::abi::tables::features;

pub use count::{count, next_unit_of};
pub use entry::Entry;
pub use metric::{Metric, Tally};
pub use segment::{Payload, Segment};
pub use table::{BUCKETS, Bucket, WAYS};

/// How a service is counted, by number: part of a
/// [`Cell`](crate::abi::tables::Cell) and of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Not at all.
    None = 0,
    /// Requests of HTTP/1.x in clear.
    Http1 = 1,
    /// TLS handshakes.
    Tls = 2,
    /// MySQL commands in clear.
    Mysql = 3,
    /// DNS queries, UDP and TCP.
    Dns = 4,
    /// Requests of HTTP/2 in clear: the number is reserved, nothing is counted.
    H2c = 5,
}

impl Kind {
    /// The kind with a number, if there is one.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Http1,
            2 => Self::Tls,
            3 => Self::Mysql,
            4 => Self::Dns,
            5 => Self::H2c,
            _ => return None,
        })
    }
}

/// What a segment needs of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No look-up: it can neither count nor change anything.
    Nothing,
    /// If there is an entry, it is to be cleared: a connection begins.
    Clear,
    /// An entry, of a flow that begins here if SYN is set; if there is none of
    /// this kind, a new one, provided that the kernel has a connection.
    Entry,
}

/// Whether a segment or datagram with these first eight bytes, the first one lowest, may be
/// more than [`Need::Nothing`] to a service counted like that: all that bodies cost.
#[inline(always)]
#[must_use]
pub const fn may_begin(kind: u32, bytes: u64) -> bool {
    const HTTP1: u32 = Kind::Http1 as u32;
    const TLS: u32 = Kind::Tls as u32;
    match kind {
        HTTP1 => http1::may_begin(bytes),
        TLS => tls::may_begin(bytes),
        _ => true,
    }
}

/// The quick test before any look-up.
#[inline(always)]
#[must_use]
pub fn need<P: Payload>(kind: Kind, segment: &Segment, payload: &P) -> Need {
    let wanted = match kind {
        Kind::Http1 => http1::wants(segment, payload),
        Kind::Tls => tls::wants(segment, payload),
        Kind::Mysql | Kind::Dns => segment.payload_len != 0,
        Kind::None | Kind::H2c => return Need::Nothing,
    };
    if wanted {
        Need::Entry
    } else if segment.syn {
        Need::Clear
    } else {
        Need::Nothing
    }
}

/// Judges a segment for which [`need`] asks an entry.
///
/// Of the kinds that need much code, those not among the `enabled` [`features`] are
/// left out: the verifier deletes them.
#[inline(always)]
pub fn step<P: Payload>(
    enabled: u32,
    kind: Kind,
    entry: &mut Entry,
    segment: &Segment,
    payload: &P,
    tally: &mut Tally,
) {
    if segment.syn || !entry.is_of(kind) {
        *entry = Entry::new(kind);
    }
    if segment.payload_len != 0 {
        match kind {
            Kind::Http1 => http1::step(entry, segment, payload, tally),
            Kind::Tls => tls::step(entry, segment, payload, tally),
            Kind::Mysql if enabled & features::counts(Kind::Mysql as u32) != 0 => {
                framing::step::<mysql::Mysql, P>(kind, entry, segment, payload, tally);
            }
            Kind::Dns if enabled & features::counts(Kind::Dns as u32) != 0 => {
                framing::step::<dns::Dns, P>(kind, entry, segment, payload, tally);
            }
            _ => {}
        }
    }
}

/// Reads one unit of a framed stream; true if there is another in the segment.
#[inline(always)]
pub fn next_unit<P: Payload>(
    kind: Kind,
    entry: &mut Entry,
    segment: &Segment,
    payload: &P,
    tally: &mut Tally,
) -> bool {
    match kind {
        Kind::Mysql => framing::next_unit::<mysql::Mysql, P>(entry, segment, payload, tally),
        Kind::Dns => framing::next_unit::<dns::Dns, P>(entry, segment, payload, tally),
        _ => false,
    }
}

/// Judges a UDP datagram: nothing is kept, and nothing tells a forged one.
#[inline(always)]
pub fn datagram<P: Payload>(kind: Kind, payload_len: u32, payload: &P, tally: &mut Tally) {
    if kind == Kind::Dns {
        dns::datagram(payload_len, payload, tally);
    }
}
