//! What packets seldom need.

/// Marks the code that follows as cold: the build lays it out behind what packets go through
/// more often, where a packet does not have to jump over it.
///
/// On BPF the mark is a jump to the next instruction, which no compiler makes by itself. It says
/// where code lies, not how likely it is: registers are the same with and without it. It costs
/// nothing, for verifiers remove such jumps (`opt_remove_nops`, Linux 5.1). On the host there is none.
#[inline(always)]
pub fn cold() {
    // SAFETY: nothing happens.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!("goto +0", options(nomem, nostack, preserves_flags));
    }
}
