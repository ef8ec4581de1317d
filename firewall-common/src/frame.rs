//! Byte access, the only abstract thing of the parser.

use crate::packet::Packet;
use crate::parse::parse_v6;
use crate::request;
use crate::verdict::Reason;

/// A frame from its Ethernet header on.
///
/// The kernel implements it over `data..data_end`, the host over a slice.
pub trait Frame {
    /// A header of `N` bytes that is known to be there.
    type Header<const N: usize>: Header;

    /// The `N` bytes at `offset`; `None` if the directly readable part ends
    /// before.
    fn header<const N: usize>(&self, offset: usize) -> Option<Self::Header<N>>;
    /// Whether the frame, with any part not directly readable, reaches `end`.
    fn reaches(&self, end: usize) -> bool;
    /// Bytes of the whole frame.
    fn length(&self) -> usize;
    /// The same frame, of which nothing is known to be there yet: where many ways meet, what
    /// each has found is of no use, but tells the verifier to follow them apart.
    #[must_use]
    fn again(&self) -> Self;
    /// An offset below 0x8000: in the kernel all that is known of it from here on.
    #[inline(always)]
    fn offset(&self, offset: usize) -> usize {
        offset
    }
    /// A copy of `N` bytes at `offset`, wherever they lie; slower than
    /// [`header`](Self::header).
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
    /// Parses the IPv6 packet at `offset`: [`parse_v6`], which the kernel calls
    /// out of line.
    ///
    /// # Errors
    /// The malformed [`Reason`].
    fn parse_v6(&self, packet: &mut Packet, offset: usize) -> Result<(), Reason>
    where
        Self: Sized,
    {
        parse_v6(self, packet, offset)
    }
    /// The next unit of a packet's payload:
    /// [`next_unit_of`](request::next_unit_of), which the kernel calls out of line.
    fn next_unit(
        &self,
        kind: request::Kind,
        entry: &mut request::Entry,
        packet: &Packet,
        tally: &mut request::Tally,
    ) -> bool
    where
        Self: Sized,
    {
        request::next_unit_of(self, kind, entry, packet, tally)
    }
}

/// Fields of a header, by their offset; network order becomes host order here
/// and nowhere else. An offset past the header does not compile in the kernel's
/// implementation, and reads zero in the host's.
pub trait Header {
    /// One byte.
    fn u8<const OFFSET: usize>(&self) -> u8;
    /// One byte, as a number of which the compiler does not know that it is one: it would
    /// reckon with eight bits, where the kernel's machine has 32 or 64.
    #[inline(always)]
    fn wide<const OFFSET: usize>(&self) -> u32 {
        self.u8::<OFFSET>().into()
    }
    /// Two bytes.
    fn u16<const OFFSET: usize>(&self) -> u16;
    /// Four bytes.
    fn u32<const OFFSET: usize>(&self) -> u32;
    /// Eight bytes.
    fn u64<const OFFSET: usize>(&self) -> u64;
    /// The same header, of which the compiler does not know what was read before.
    #[must_use]
    fn again(&self) -> Self;
}

impl Frame for &[u8] {
    type Header<const N: usize> = [u8; N];

    #[inline(always)]
    fn header<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk::<N>().copied()
    }

    #[inline(always)]
    fn reaches(&self, end: usize) -> bool {
        end <= self.len()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn again(&self) -> Self {
        self
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.header(offset)
    }
}

impl<const N: usize> Header for [u8; N] {
    #[inline(always)]
    fn u8<const OFFSET: usize>(&self) -> u8 {
        field::<N, 1>(self, OFFSET).map_or(0, u8::from_be_bytes)
    }

    #[inline(always)]
    fn u16<const OFFSET: usize>(&self) -> u16 {
        field::<N, 2>(self, OFFSET).map_or(0, u16::from_be_bytes)
    }

    #[inline(always)]
    fn u32<const OFFSET: usize>(&self) -> u32 {
        field::<N, 4>(self, OFFSET).map_or(0, u32::from_be_bytes)
    }

    #[inline(always)]
    fn u64<const OFFSET: usize>(&self) -> u64 {
        field::<N, 8>(self, OFFSET).map_or(0, u64::from_be_bytes)
    }

    #[inline(always)]
    fn again(&self) -> Self {
        *self
    }
}

#[inline(always)]
fn field<const N: usize, const WIDTH: usize>(
    bytes: &[u8; N],
    offset: usize,
) -> Option<[u8; WIDTH]> {
    bytes.get(offset..)?.first_chunk::<WIDTH>().copied()
}
