//! What a rule may know of a segment, and how it reads its payload.

use super::{Entry, Kind, Tally};

/// Payload bytes of one segment or datagram.
///
/// The kernel implements it over the packet, the host over a slice. What a rule
/// makes of it never depends on bytes outside the length that the IP header gives,
/// so padding of a short Ethernet frame is not taken for payload.
pub trait Payload {
    /// Eight bytes at `offset`, the first one lowest; `None` if they cannot be
    /// read. The offset may lie up to seven bytes before the payload, as a wrapped
    /// number: there is always a header, and what it holds does not matter.
    fn word(&self, offset: u32) -> Option<u64>;

    /// The same at the start of the payload, the one read that other packets cost,
    /// too: worth a faster way, if there is one.
    #[inline(always)]
    fn first_word(&self, offset: u32) -> Option<u64> {
        self.word(offset)
    }

    /// The next unit of a segment: [`next_unit`](super::next_unit),
    /// which the kernel calls out of line.
    fn next_unit(&self, kind: Kind, entry: &mut Entry, segment: &Segment, tally: &mut Tally) -> bool
    where
        Self: Sized,
    {
        super::next_unit(kind, entry, segment, self, tally)
    }
}

impl Payload for &[u8] {
    fn word(&self, offset: u32) -> Option<u64> {
        let mut bytes = [0; 8];
        for (index, byte) in (0..).zip(&mut bytes) {
            let at = offset.cast_signed().wrapping_add(index);
            *byte = match usize::try_from(at) {
                Ok(at) => *self.get(at)?,
                Err(_) => 0,
            };
        }
        Some(u64::from_le_bytes(bytes))
    }
}

/// A TCP segment on its way to the server, in host order.
///
/// FIN and RST are left out on purpose: a lost FIN is sent again together with
/// its data, so an entry outlives the connection until it is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; whatever the header holds if ACK is not set.
    pub ack: u32,
    /// SYN is set.
    pub syn: bool,
    /// Payload bytes by the IP header's length, never the frame's. Up to 64 KiB:
    /// generic XDP and TC see merged segments.
    pub payload_len: u32,
}

impl Segment {
    /// Sequence number of the first payload byte: a SYN takes one for itself.
    #[inline(always)]
    #[must_use]
    pub const fn start(&self) -> u32 {
        self.seq.wrapping_add(self.syn as u32)
    }

    /// Sequence number behind the last payload byte.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.start().wrapping_add(self.payload_len)
    }
}

/// How far behind the newest byte a retransmission can lie: the largest TCP
/// window, RFC 7323 section 2.3. What lies further is something else.
pub(super) const WINDOW: u32 = 1 << 30;

/// The first bytes of a header, up to eight, as one little-endian number: the
/// first byte is the lowest, what is not there is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The bytes.
    pub(super) bytes: u64,
    /// How many they are, at most [`Head::MOST`].
    pub(super) len: u32,
}

impl Head {
    /// Bytes that a head has room for.
    pub(super) const MOST: u32 = 8;

    /// The bytes from `offset` on, which is inside the payload. Of the last seven
    /// or less the word is read that ends with them.
    #[inline(always)]
    pub(super) fn read<P: Payload>(payload: &P, offset: u32, payload_len: u32) -> Option<Self> {
        let (len, missing) = Self::split(payload_len.wrapping_sub(offset));
        let word = payload.word(offset.wrapping_sub(missing))?;
        Some(Self { bytes: word >> (8 * missing), len })
    }

    /// The first bytes of a payload, which is not empty.
    #[inline(always)]
    pub(super) fn first<P: Payload>(payload: &P, payload_len: u32) -> Option<Self> {
        let (len, missing) = Self::split(payload_len);
        let word = payload.first_word(0_u32.wrapping_sub(missing))?;
        Some(Self { bytes: word >> (8 * missing), len })
    }

    /// Of a head's eight bytes, how many are there and how many are missing.
    #[inline(always)]
    fn split(left: u32) -> (u32, u32) {
        let len = left.min(Self::MOST);
        (len, (Self::MOST - len) & 7)
    }

    /// This head with the bytes that follow it, as many as there is room for.
    #[inline(always)]
    pub(super) fn then(self, more: Self) -> Self {
        Self {
            bytes: self.bytes | more.bytes << (8 * (self.len & 7)),
            len: (self.len + more.len).min(Self::MOST),
        }
    }

    /// Byte `index`, at most 7.
    #[inline(always)]
    pub(super) const fn byte(self, index: u32) -> u8 {
        (self.bytes >> ((8 * index) & 63) & 0xff) as u8
    }

    /// Two bytes at `index`, network order.
    #[inline(always)]
    pub(super) const fn u16_be(self, index: u32) -> u32 {
        (self.byte(index) as u32) << 8 | self.byte(index + 1) as u32
    }

    /// Whether the bytes that are there agree with `pattern` wherever `mask` has
    /// ones.
    #[inline(always)]
    pub(super) const fn agrees(self, pattern: u64, mask: u64) -> bool {
        let known = if self.len >= Self::MOST { u64::MAX } else { !(u64::MAX << (8 * self.len)) };
        (self.bytes ^ pattern) & mask & known == 0
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a wrong index fails the test, as it should")]
mod tests {
    use super::*;

    const BYTES: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 9];

    #[test]
    fn a_head_holds_as_many_bytes_as_there_are() {
        for (end, offset) in (1..10).flat_map(|end| (0..end).map(move |offset| (end, offset))) {
            let head = Head::read(&&BYTES[..end as usize], offset, end).unwrap();
            assert_eq!(head.len, (end - offset).min(8));
            for index in 0..8 {
                let byte = if index < head.len { offset + index + 1 } else { 0 };
                assert_eq!(u32::from(head.byte(index)), byte);
            }
        }
        assert_eq!(Head::read(&BYTES, 0, 20).unwrap().len, 8);
        assert_eq!(Head::read(&BYTES, 2, 20), None);
    }

    #[test]
    fn padding_of_the_frame_is_not_read() {
        for end in 1..8 {
            let padded = Head::read(&BYTES, 0, end).unwrap();
            assert_eq!(padded, Head::read(&&BYTES[..end as usize], 0, end).unwrap());
        }
    }

    #[test]
    fn two_pieces_of_a_head_make_a_whole() {
        let whole = Head::read(&BYTES, 0, 8).unwrap();
        for cut in 1..8 {
            let first = Head::read(&BYTES, 0, cut).unwrap();
            let second = Head::read(&BYTES, cut, 9).unwrap();
            assert_eq!(first.then(second), whole);
        }
    }

    #[test]
    fn agreement_is_asked_of_the_bytes_that_are_there() {
        let head = Head::read(&BYTES, 0, 3).unwrap();
        assert!(head.agrees(0xff_03_02_01, u64::MAX));
        assert!(!head.agrees(0x03_02_02, u64::MAX));
        assert!(head.agrees(0x03_02_02, 0xff_ff_00));
        assert!(Head::default().agrees(0xff, u64::MAX));
    }

    #[test]
    fn a_syn_takes_a_sequence_number() {
        let segment = Segment { seq: u32::MAX, ack: 0, syn: true, payload_len: 5 };
        assert_eq!((segment.start(), segment.end()), (0, 5));
    }
}
