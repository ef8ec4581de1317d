//! Whether this host has a socket for a packet: the kernel knows, if it is asked by a
//! segment as it arrives.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie};
use firewall_common::abi::flow::FlowKey;
use firewall_common::packet::{Family, Packet};

/// `TCP_LISTEN` of `enum` in `net/tcp_states.h`.
const TCP_LISTEN: u32 = 10;

/// Whether the kernel has a TCP socket for a tuple that does not listen.
#[inline(never)]
pub(crate) fn has_socket(ctx: *mut c_void, key: &FlowKey) -> bool {
    let mut headers = Headers::of(key);
    headers.look_up(ctx, key.family, false)
}

/// As [`has_socket`]; true also if a listening one would take the segment for the
/// end of a handshake, because it brings back a SYN cookie.
#[inline(always)]
pub(crate) fn has_connection(ctx: *mut c_void, key: &FlowKey, packet: &Packet) -> bool {
    let mut headers = Headers::of(key);
    headers.complete(packet);
    headers.look_up(ctx, key.family, true)
}

/// IP and TCP header of a segment from the remote end, as far as look-ups read
/// them. In either family the addresses and ports in the middle are what
/// `struct bpf_sock_tuple` is: one piece of stack serves two helpers.
struct Headers([u32; TCP + 5]);

/// Where in [`Headers`] the TCP header begins, in words.
const TCP: usize = 10;

impl Headers {
    /// Those of any segment of a flow.
    #[inline(always)]
    fn of(key: &FlowKey) -> Self {
        let [remote_hi, remote_lo] = key.remote;
        let [local_hi, local_lo] = key.local;
        let mut words = [0; TCP + 5];
        words[TCP] = (u32::from(key.remote_port) << 16 | u32::from(key.local_port)).to_be();
        if key.family == Family::V4 as u8 {
            words[TCP - 5] = (4_u32 << 28).to_be();
            words[TCP - 2] = ((remote_hi >> 32) as u32).to_be();
            words[TCP - 1] = ((local_hi >> 32) as u32).to_be();
        } else {
            words[0] = (6_u32 << 28).to_be();
            [words[2], words[3], words[4], words[5]] = halves(remote_hi, remote_lo);
            [words[6], words[7], words[8], words[9]] = halves(local_hi, local_lo);
        }
        Self(words)
    }

    /// Adds what only this segment has.
    #[inline(always)]
    fn complete(&mut self, packet: &Packet) {
        self.0[TCP + 1] = packet.seq.to_be();
        self.0[TCP + 2] = packet.ack.to_be();
        self.0[TCP + 3] = (5 << 28 | u32::from(packet.tcp_flags) << 16).to_be();
    }

    /// Looks for a socket of this namespace, the way an arriving segment would.
    #[inline(always)]
    fn look_up(&mut self, ctx: *mut c_void, family: u8, cookies: bool) -> bool {
        // The verifier wants to know each place on the stack as a number.
        if family == Family::V4 as u8 {
            self.look_up_at::<5, 8>(ctx, cookies)
        } else {
            self.look_up_at::<0, 2>(ctx, cookies)
        }
    }

    /// The same, of headers with the IP header and the addresses at these words.
    #[inline(always)]
    fn look_up_at<const IP: usize, const TUPLE: usize>(
        &mut self,
        ctx: *mut c_void,
        cookies: bool,
    ) -> bool {
        let (tuple, size) = (&raw mut self.0[TUPLE], (TCP + 1 - TUPLE) as u32 * 4);
        // SAFETY: the helper reads `size` bytes of the tuple.
        let socket = unsafe { bpf_skc_lookup_tcp(ctx, tuple.cast(), size, u64::MAX, 0) };
        if socket.is_null() {
            return false;
        }
        // SAFETY: the reference that the look-up took is held.
        let state = unsafe { (*socket).state };
        let mut found = state != TCP_LISTEN;
        if !found && cookies {
            let (ip, tcp) = (&raw mut self.0[IP], &raw mut self.0[TCP]);
            let size = (TCP - IP) as u32 * 4;
            // SAFETY: the helper reads both headers, which are as long as it is told.
            let checked =
                unsafe { bpf_tcp_check_syncookie(socket.cast(), ip.cast(), size, tcp.cast(), 20) };
            found = checked == 0;
        }
        // SAFETY: gives the reference back.
        unsafe { bpf_sk_release(socket.cast()) };
        found
    }
}

/// An IPv6 address as four words in network order.
#[inline(always)]
const fn halves(hi: u64, lo: u64) -> [u32; 4] {
    [
        ((hi >> 32) as u32).to_be(),
        (hi as u32).to_be(),
        ((lo >> 32) as u32).to_be(),
        (lo as u32).to_be(),
    ]
}
