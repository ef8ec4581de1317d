//! MySQL and MariaDB in clear: commands, by framing.
//!
//! A packet has a 24-bit length and an 8-bit sequence id; a command is a packet
//! with id 0, and its first byte says which. Statements above 16 MiB go on in
//! packets with ids 1, 2, ...; the login has id 1.
//!
//! The login also tells when nothing more can be read: an `SSLRequest` asks for
//! TLS, and a capability for compression. Such a flow is counted once as
//! [`MysqlTls`](Metric::MysqlTls) or
//! [`MysqlCompressed`](Metric::MysqlCompressed), and left alone.

use super::Entry;
use super::framing::{Framed, OPENING, Unit};
use super::metric::{Metric, Tally};
use super::segment::Head;

/// Header: length, sequence id.
const HEADER: u32 = 4;

/// Header and first byte: a command can be told.
const COMMAND: u32 = HEADER + 1;

/// Header and the capabilities of a login.
const LOGIN: u32 = HEADER + 4;

/// Payload of an `SSLRequest`, and the fixed part of a `HandshakeResponse41`.
const LOGIN_FIXED: u32 = 32;

/// Capabilities of the client, MySQL `mysql_com.h`.
mod client {
    /// Compresses with zlib.
    pub(super) const COMPRESS: u64 = 1 << 5;
    /// Speaks the protocol of 4.1, which all servers demand today.
    pub(super) const PROTOCOL_41: u64 = 1 << 9;
    /// Turns to TLS.
    pub(super) const SSL: u64 = 1 << 11;
    /// Compresses with zstd.
    pub(super) const ZSTD: u64 = 1 << 26;
}

/// First byte of what a replica returns to a semi-synchronous source
/// (`ReplSemiSyncBase::kPacketMagicNum`): id 0, but no command.
const SEMI_SYNC: u8 = 0xef;

/// A sender cuts a packet only where a segment is full; none is smaller than
/// this, RFC 9293 section 3.7.1, less the room that options take.
const FULL: u32 = 536 - 40;

/// The protocol, as framing sees it. [`Entry::state`] is the last sequence id.
pub(super) enum Mysql {}

impl Framed for Mysql {
    #[inline(always)]
    fn unit(entry: &mut Entry, head: Head, tally: &mut Tally) -> Unit {
        if head.len < HEADER {
            return Unit::Short;
        }
        let (length, id) = (length(head), head.byte(3));
        if id == 0 && length != 0 {
            if head.len < COMMAND {
                return Unit::Short;
            }
            // Data of LOAD DATA LOCAL count on from 255 to 0.
            if entry.state != u8::MAX && head.byte(4) != SEMI_SYNC {
                tally.add(command(head.byte(4)));
            }
        } else if id == 1 && entry.sync == OPENING && length >= LOGIN_FIXED {
            if head.len < LOGIN {
                return Unit::Short;
            }
            if let Some(why) = opaque(head) {
                tally.add(why);
                return Unit::Opaque;
            }
        }
        // An empty packet ends data, and a statement of a multiple of 16 MiB.
        entry.state = if length == 0 { 0 } else { id };
        Unit::Length(HEADER + length)
    }

    /// The login, a command, or too little to tell.
    #[inline(always)]
    fn opens(head: Head, payload_len: u32) -> bool {
        let login = head.byte(3) == 1
            && length(head) >= LOGIN_FIXED
            && HEADER + length(head) >= payload_len
            && (head.len < LOGIN || capabilities(head) & client::PROTOCOL_41 != 0);
        login || head.len < COMMAND || Self::begins(head, payload_len, false)
    }

    #[inline(always)]
    fn begins(head: Head, payload_len: u32, turn: bool) -> bool {
        head.len >= COMMAND
            && head.byte(3) == 0
            && length(head) != 0
            && is_command(head.byte(4))
            && ends_well(head, payload_len, turn)
    }
}

/// The packet ends where the segment does or, if it may, behind a full one.
#[inline(always)]
const fn ends_well(head: Head, payload_len: u32, may_go_on: bool) -> bool {
    let end = HEADER + length(head);
    end == payload_len || (may_go_on && end > payload_len && payload_len >= FULL)
}

/// Bytes behind the header.
#[inline(always)]
const fn length(head: Head) -> u32 {
    (head.bytes & 0xff_ffff) as u32
}

/// Capabilities of a login.
#[inline(always)]
const fn capabilities(head: Head) -> u64 {
    head.bytes >> 32
}

/// Why nothing behind a login can be read.
#[inline(always)]
const fn opaque(head: Head) -> Option<Metric> {
    let capabilities = capabilities(head);
    if length(head) == LOGIN_FIXED && capabilities & client::SSL != 0 {
        Some(Metric::MysqlTls)
    } else if capabilities & (client::COMPRESS | client::ZSTD) != 0 {
        Some(Metric::MysqlCompressed)
    } else {
        None
    }
}

/// Commands of MySQL up to `COM_SUBSCRIBE_GROUP_REPLICATION_STREAM`, and those
/// of MariaDB at the other end.
#[inline(always)]
const fn is_command(byte: u8) -> bool {
    matches!(byte, 0x01..=0x21 | 0xfa..=0xfe)
}

/// The metric of a command; the whole byte is compared.
#[inline(always)]
const fn command(byte: u8) -> Metric {
    match byte {
        0x01 => Metric::MysqlQuit,
        0x02 => Metric::MysqlInitDb,
        0x03 => Metric::MysqlQuery,
        0x0e => Metric::MysqlPing,
        0x12 | 0x1e => Metric::MysqlBinlogDump,
        0x16 => Metric::MysqlStmtPrepare,
        0x17 => Metric::MysqlStmtExecute,
        _ => Metric::MysqlOther,
    }
}
