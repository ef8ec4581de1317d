//! The clock of flows: jiffies, which programs read for nothing and nobody else at all.
//! So a program of a few instructions is asked.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_cmd, bpf_insn, bpf_prog_type};

use super::program;
use super::sys::{attr, bpf, owned};

/// Jiffies since the machine has started, and a few.
///
/// # Errors
/// If the kernel does not run programs for us.
pub fn now() -> Result<u64> {
    let reader = reader()?;
    let half = |shift| {
        program::test_run(reader.as_fd(), &[0; 14], Some(&context(shift)), 1)
            .context("the kernel would not tell its jiffies")
    };
    loop {
        let (upper, lower) = (half(32)?, half(0)?);
        if half(32)? == upper {
            return Ok(u64::from(upper) << 32 | u64::from(lower));
        }
    }
}

/// Jiffies in a second: the coarse clock ticks with them.
#[must_use]
pub fn per_second() -> u32 {
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `tick` is a valid place for the answer; this clock always exists.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    let nanos = u32::try_from(tick.tv_nsec).unwrap_or(0).max(1);
    (1_000_000_000 + nanos / 2) / nanos
}

/// Byte of `mark` in `struct __sk_buff`.
const MARK: i16 = 8;

/// `struct __sk_buff` of `linux/bpf.h`, in which nothing is set but `mark`.
fn context(mark: u32) -> [u8; 192] {
    let mut context = [0; 192];
    for (to, from) in context.iter_mut().skip(MARK.unsigned_abs().into()).zip(mark.to_ne_bytes()) {
        *to = from;
    }
    context
}

/// A program that returns jiffies, shifted by the packet's mark.
fn reader() -> Result<OwnedFd> {
    const JIFFIES64: i32 = 118;
    let instruction = |code, (to, from), off, imm| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(to, from),
        off,
        imm,
    };
    let code = [
        // r6 = r1
        instruction(0xbf, (6, 1), 0, 0),
        // r0 = bpf_jiffies64()
        instruction(0x85, (0, 0), 0, JIFFIES64),
        // r1 = *(u32 *)(r6 + mark)
        instruction(0x61, (1, 6), MARK, 0),
        // r0 >>= r1
        instruction(0x7f, (0, 1), 0, 0),
        // exit
        instruction(0x95, (0, 0), 0, 0),
    ];
    let mut attr = attr();
    // SAFETY: writing fields of a zeroed union whose fields are plain data.
    let program = unsafe { &mut attr.__bindgen_anon_3 };
    program.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    program.license = c"Dual MIT/GPL".as_ptr() as u64;
    program.insns = code.as_ptr() as u64;
    program.insn_cnt = u32::try_from(code.len())?;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
        .map(owned)
        .context("the kernel refuses the program that reads jiffies")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_ticks_a_hundred_times_a_second_at_least() {
        assert!((100..=1200).contains(&per_second()), "{}", per_second());
    }
}
