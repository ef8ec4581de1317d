//! The PROXY header: what a load balancer says of a connection, in front of the
//! client's own bytes.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, sections 2.1 and
//! 2.2. Balancers send it in a segment of its own. Version 1, a line of text, is
//! recognised only so: its end stands nowhere, and would have to be searched.

use super::segment::{Head, Payload, Segment};

/// Version 1 begins with `PROXY ` and has at most so many bytes, a line's end last.
const LINE: (u64, u32) = (0x20_59_58_4f_52_50, 107);
/// The bytes of it that are fixed.
const LINE_MASK: u64 = 0xff_ff_ff_ff_ff_ff;

/// The first eight of the twelve bytes that version 2 begins with.
const SIGNATURE: u64 = 0x51_0a_0d_00_0a_0d_0a_0d;
/// Bytes up to the length of the rest, and with it.
const FIXED: (u32, u32) = (12, 16);

/// Length of the PROXY header that a payload begins with, if that is what `head`,
/// its first bytes, says. Version 2 may reach beyond the segment.
#[inline(always)]
pub(super) fn length<P: Payload>(head: Head, segment: &Segment, payload: &P) -> Option<u32> {
    let len = segment.payload_len;
    if head.len < Head::MOST {
        None
    } else if head.bytes == SIGNATURE && len >= FIXED.1 {
        Some(FIXED.1 + Head::read(payload, FIXED.0, len)?.u16_be(2))
    } else if head.agrees(LINE.0, LINE_MASK) && len <= LINE.1 {
        let end = Head::read(payload, len - 4, len)?;
        // With an empty line at the end it is a request, too.
        (end.u16_be(2) == 0x0d_0a && end.u16_be(0) != 0x0d_0a).then_some(len)
    } else {
        None
    }
}
