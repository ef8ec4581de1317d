//! Bytes shared through BPF maps: one file per map family.
//!
//! Every type here is `repr(C)`, has no padding, accepts any bit pattern, and
//! asserts its size. A change to any of them raises
//! [`ABI_VERSION`](crate::ABI_VERSION), which is part of the pin path, so that
//! programs and maps of two layouts never meet.

pub mod ban;
pub mod control;
pub mod counter;
pub mod event;
pub mod flow;
pub mod opening;
pub mod scratch;
pub mod tables;

/// Asserts size and alignment of a shared type at compile time.
macro_rules! assert_layout {
    ($type:ty, $size:expr, $align:expr) => {
        const _: () = assert!(size_of::<$type>() == $size);
        const _: () = assert!(align_of::<$type>() == $align);
    };
}
pub(crate) use assert_layout;
