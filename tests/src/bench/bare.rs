//! A bare `XDP_DROP`: two instructions, the floor of every measurement.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// `r0 = XDP_DROP; exit`
const DROP: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// `bpf_attr` of `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version: u32,
    flags: u32,
    name: [u64; 2],
    ifindex: u32,
    attach_type: u32,
}

/// `bpf_attr` of `BPF_PROG_TEST_RUN`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context: [u64; 3],
    flags: u32,
    cpu: u32,
    batch: u32,
    reserved: u32,
}

/// The loaded program.
pub(super) struct Bare(OwnedFd);

impl Bare {
    pub(super) fn load() -> Result<Self> {
        let mut attr = Load {
            kind: BPF_PROG_TYPE_XDP,
            instruction_count: 2,
            instructions: DROP.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..Load::default()
        };
        let fd = bpf(BPF_PROG_LOAD, &mut attr).context("could not load a bare XDP_DROP")?;
        // SAFETY: the kernel has just given us this descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn run(&self, frame: &[u8], repeat: u32) -> Result<()> {
        let mut attr = TestRun {
            program: u32::try_from(self.0.as_raw_fd())?,
            size_in: u32::try_from(frame.len())?,
            data_in: frame.as_ptr() as u64,
            repeat,
            ..TestRun::default()
        };
        bpf(BPF_PROG_TEST_RUN, &mut attr).context("could not run a bare XDP_DROP")?;
        Ok(())
    }
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is as long as said, and what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        libc::c_int::try_from(result).map_err(io::Error::other)
    }
}
