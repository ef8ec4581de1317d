//! Packet bytes in the kernel: all packet `unsafe` is here.
//!
//! The verifier accepts a read behind `pointer + N <= data_end`, with the offset
//! bounded; that comparison is the safety argument of every block.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_skb_load_bytes, bpf_skb_pull_data, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
};
use aya_ebpf::maps::ProgramArray;
use firewall_common::frame::{Frame, Header};
use firewall_common::packet::Packet;
use firewall_common::pipeline::Arrival;
use firewall_common::policy::Context;
use firewall_common::request::{Entry, Kind, Tally};
use firewall_common::verdict::{Direction, Reason};

use crate::{maps, outline};

/// No header lies beyond; keeps offsets in what the verifier tracks.
const MAX_OFFSET: usize = 0x7fff;

/// `N` bytes of packet memory, compared with `data_end`.
pub(crate) struct PacketHeader<const N: usize>(usize);

/// The header at `data + offset`, if it ends before `data_end`.
#[inline(always)]
fn header<const N: usize>(data: usize, data_end: usize, offset: usize) -> Option<PacketHeader<N>> {
    if offset > MAX_OFFSET {
        return None;
    }
    let start = data + offset;
    if start + N > data_end { None } else { Some(PacketHeader(start)) }
}

/// Loads one field in one instruction: a BPF load needs no alignment, which Rust
/// has no other word for.
macro_rules! load {
    ($header:expr, $width:literal, $type:ty, $offset:ident) => {{
        const { assert!($offset + size_of::<$type>() <= N) };
        let value: u64;
        // SAFETY: the field lies inside the header, which was compared with
        // `data_end`; the load has no other effect.
        #[cfg(target_arch = "bpf")]
        unsafe {
            core::arch::asm!(
                concat!("{value} = *(", $width, " *)({start} + {offset})"),
                value = out(reg) value,
                start = in(reg) $header.0,
                offset = const $offset,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        // SAFETY: as above; for the linter, which reads this crate on the host.
        #[cfg(not(target_arch = "bpf"))]
        unsafe {
            value = (($header.0 + $offset) as *const $type).read_unaligned() as u64;
        }
        // SAFETY: a load fills the rest of the register with zeros.
        unsafe { core::hint::assert_unchecked(<$type>::try_from(value).is_ok()) };
        <$type>::from_be(value as $type)
    }};
}

impl<const N: usize> Header for PacketHeader<N> {
    #[inline(always)]
    fn u8<const OFFSET: usize>(&self) -> u8 {
        load!(self, "u8", u8, OFFSET)
    }

    #[inline(always)]
    fn wide<const OFFSET: usize>(&self) -> u32 {
        maps::opaque(load!(self, "u8", u8, OFFSET).into()) as u32
    }

    #[inline(always)]
    fn u16<const OFFSET: usize>(&self) -> u16 {
        load!(self, "u16", u16, OFFSET)
    }

    #[inline(always)]
    fn u32<const OFFSET: usize>(&self) -> u32 {
        load!(self, "u32", u32, OFFSET)
    }

    #[inline(always)]
    fn u64<const OFFSET: usize>(&self) -> u64 {
        load!(self, "u64", u64, OFFSET)
    }

    #[inline(always)]
    fn again(&self) -> Self {
        Self(maps::opaque(self.0 as u64) as usize)
    }
}

/// A copy of `N` bytes at `data + offset`, if they end before `data_end`.
#[inline(always)]
fn copy<const N: usize>(data: usize, data_end: usize, offset: usize) -> Option<[u8; N]> {
    let PacketHeader::<N>(start) = header(data, data_end, offset)?;
    // SAFETY: the N bytes from `start` lie before `data_end`, as just compared.
    Some(unsafe { (start as *const [u8; N]).read_unaligned() })
}

/// A frame, and what differs between hooks beside it.
pub(crate) trait Hook: Frame {
    /// The context of the running program.
    fn context(&self) -> *mut c_void;
    /// Index of the interface.
    fn ifindex(&self) -> u32;
    /// What the hook knows of the frame.
    fn arrival(&self, direction: Direction) -> Arrival;
    /// Wire packets the frame stands for, at least 1.
    fn segments(&self) -> u32;
    /// [`has_connection`](crate::sockets::has_connection) of the scratch packet, out of line.
    fn has_connection(&self) -> bool;
    /// The programs of no generation at this hook, by
    /// [`stage`](firewall_common::abi::scratch::stage).
    fn stages() -> &'static ProgramArray;
    /// The programs that answer for a generation, by slot.
    fn answers() -> &'static ProgramArray;
}

/// A packet pointer, which the context declares as 32 bits: to be kept as 64, even
/// where only a difference is asked, for the verifier.
#[inline(always)]
fn address(pointer: u32) -> usize {
    maps::opaque(u64::from(pointer)) as usize
}

/// Bytes between two packet pointers.
#[inline(always)]
fn length(data: usize, data_end: usize) -> u32 {
    let length = data_end - data;
    // SAFETY: no frame comes near; it saves whoever widens the number two
    // instructions.
    unsafe { core::hint::assert_unchecked(u32::try_from(length).is_ok()) };
    length as u32
}

/// A frame at the XDP hook.
pub(crate) struct XdpFrame {
    ctx: *mut xdp_md,
    data: usize,
    data_end: usize,
}

impl XdpFrame {
    /// The frame of a context.
    #[inline(always)]
    pub(crate) fn new(ctx: *mut xdp_md) -> Self {
        // SAFETY: `ctx` is the context of the running program.
        let xdp = unsafe { &*ctx };
        Self { ctx, data: address(xdp.data), data_end: address(xdp.data_end) }
    }
}

impl Hook for XdpFrame {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.ctx.cast()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: `ctx` is the context of the running program.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn arrival(&self, direction: Direction) -> Arrival {
        Arrival {
            direction,
            ifindex: self.ifindex(),
            tag: Context::UNTAGGED,
            segments: self.segments(),
            length: length(self.data, self.data_end),
        }
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        1
    }

    #[inline(always)]
    fn has_connection(&self) -> bool {
        outline::has_connection_xdp(self.ctx) != 0
    }

    #[inline(always)]
    fn stages() -> &'static ProgramArray {
        &maps::STAGES_XDP
    }

    #[inline(always)]
    fn answers() -> &'static ProgramArray {
        &maps::ANSWERS_XDP
    }
}

impl Frame for XdpFrame {
    type Header<const N: usize> = PacketHeader<N>;

    #[inline(always)]
    fn header<const N: usize>(&self, offset: usize) -> Option<PacketHeader<N>> {
        header(self.data, self.data_end, offset)
    }

    #[inline(always)]
    fn reaches(&self, end: usize) -> bool {
        self.data_end - self.data >= end || self.length() >= end
    }

    #[inline(always)]
    fn offset(&self, offset: usize) -> usize {
        maps::opaque(offset as u64) as usize & MAX_OFFSET
    }

    #[inline(always)]
    fn again(&self) -> Self {
        Self::new(self.ctx)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: `ctx` is the context of the running program.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = copy(self.data, self.data_end, offset) {
            return Some(bytes);
        }
        let mut bytes = [0; N];
        // SAFETY: the helper writes N bytes to `bytes`, or fails.
        let failed = unsafe {
            bpf_xdp_load_bytes(self.ctx, offset as u32, bytes.as_mut_ptr().cast(), N as u32)
        };
        if failed == 0 { Some(bytes) } else { None }
    }

    #[inline(always)]
    fn parse_v6(&self, _: &mut Packet, offset: usize) -> Result<(), Reason> {
        // The packet is the scratch that the global function finds by itself.
        outline::result(outline::parse_v6_xdp(self.ctx, offset as u64))
    }

    #[inline(always)]
    fn next_unit(&self, kind: Kind, entry: &mut Entry, _: &Packet, tally: &mut Tally) -> bool {
        outline::next_unit_xdp(self.ctx, entry, tally, kind as u32) != 0
    }
}

/// A frame at a TC hook.
pub(crate) struct TcFrame {
    skb: *mut __sk_buff,
    data: usize,
    data_end: usize,
}

/// Bytes of headers, and of the packet inside an ICMP error, that must be
/// directly readable.
const HEADERS: u32 = 192;

impl TcFrame {
    /// The frame of a context; pulls its headers into the linear part.
    #[inline(always)]
    pub(crate) fn new(skb: *mut __sk_buff) -> Self {
        let frame = Self::pulled(skb);
        let linear = (frame.data_end - frame.data) as u32;
        let length = frame.length() as u32;
        if linear >= HEADERS || linear >= length {
            return frame;
        }
        // SAFETY: `skb` is the context of the running program. A failure leaves
        // the frame as it is, and the parser finds it truncated.
        unsafe { bpf_skb_pull_data(skb, if length < HEADERS { length } else { HEADERS }) };
        Self::pulled(skb)
    }

    /// The frame of a context whose headers are in the linear part.
    #[inline(always)]
    pub(crate) fn pulled(skb: *mut __sk_buff) -> Self {
        // SAFETY: `skb` is the context of the running program.
        let context = unsafe { &*skb };
        Self { skb, data: address(context.data), data_end: address(context.data_end) }
    }
}

impl Hook for TcFrame {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.skb.cast()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: `skb` is the context of the running program.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn arrival(&self, direction: Direction) -> Arrival {
        // SAFETY: `skb` is the context of the running program.
        let skb = unsafe { &*self.skb };
        Arrival {
            direction,
            ifindex: self.ifindex(),
            tag: if skb.vlan_present != 0 {
                (skb.vlan_tci & 0xfff) as u16
            } else {
                Context::UNTAGGED
            },
            segments: self.segments(),
            length: skb.len,
        }
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        // SAFETY: `skb` is the context of the running program.
        let segments = unsafe { (*self.skb).gso_segs };
        if segments > 1 { segments } else { 1 }
    }

    #[inline(always)]
    fn has_connection(&self) -> bool {
        outline::has_connection_tc(self.skb) != 0
    }

    #[inline(always)]
    fn stages() -> &'static ProgramArray {
        &maps::STAGES_TC
    }

    #[inline(always)]
    fn answers() -> &'static ProgramArray {
        &maps::ANSWERS_TC
    }
}

impl Frame for TcFrame {
    type Header<const N: usize> = PacketHeader<N>;

    #[inline(always)]
    fn header<const N: usize>(&self, offset: usize) -> Option<PacketHeader<N>> {
        header(self.data, self.data_end, offset)
    }

    #[inline(always)]
    fn reaches(&self, end: usize) -> bool {
        self.length() >= end
    }

    #[inline(always)]
    fn offset(&self, offset: usize) -> usize {
        maps::opaque(offset as u64) as usize & MAX_OFFSET
    }

    #[inline(always)]
    fn again(&self) -> Self {
        Self::pulled(self.skb)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: `skb` is the context of the running program.
        unsafe { (*self.skb).len as usize }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = copy(self.data, self.data_end, offset) {
            return Some(bytes);
        }
        let mut bytes = [0; N];
        // SAFETY: the helper writes N bytes to `bytes`, or fails.
        let failed = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), offset as u32, bytes.as_mut_ptr().cast(), N as u32)
        };
        if failed == 0 { Some(bytes) } else { None }
    }

    #[inline(always)]
    fn parse_v6(&self, _: &mut Packet, offset: usize) -> Result<(), Reason> {
        // The packet is the scratch that the global function finds by itself.
        outline::result(outline::parse_v6_tc(self.skb, offset as u64))
    }

    #[inline(always)]
    fn next_unit(&self, kind: Kind, entry: &mut Entry, _: &Packet, tally: &mut Tally) -> bool {
        outline::next_unit_tc(self.skb, entry, tally, kind as u32) != 0
    }
}
