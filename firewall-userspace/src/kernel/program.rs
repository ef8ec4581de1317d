//! `bpf(2)` calls about programs: loading, test runs, and what the kernel knows of
//! one.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_insn, bpf_prog_info, bpf_prog_type};

use super::sys::{self, attr, bpf, owned, set_name};

/// A program as the kernel takes it.
pub(super) struct Source<'a> {
    /// Its name; the kernel keeps 15 bytes.
    pub(super) name: &'a str,
    /// Its type.
    pub(super) kind: bpf_prog_type,
    /// `BPF_F_*`.
    pub(super) flags: u32,
    /// Licence, as the kernel knows it.
    pub(super) license: &'a CStr,
    /// Instructions, linked.
    pub(super) code: &'a [bpf_insn],
    /// Records that name the type of each function.
    pub(super) functions: Records,
    /// Records of source lines, for the verifier's log.
    pub(super) lines: Records,
    /// The type information that both refer to.
    pub(super) btf: BorrowedFd<'a>,
}

/// Records of one size.
pub(super) struct Records {
    /// All of them.
    pub(super) bytes: Vec<u8>,
    /// Bytes of one.
    pub(super) size: usize,
}

/// Why the kernel did not take a program.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The kernel's error.
    pub(super) error: io::Error,
    /// What the verifier wrote.
    pub(super) log: String,
}

/// Room for the verifier's log: what it says of the largest of our programs.
const LOG: usize = 1 << 24;

/// Loads a program.
///
/// # Errors
/// What the kernel and its verifier say.
pub(super) fn load(source: &Source<'_>) -> Result<OwnedFd, Refusal> {
    try_load(source, &mut []).or_else(|error| {
        // Only now, because writing a log takes the verifier longer than its work.
        let mut log = vec![0; LOG];
        try_load(source, &mut log).map_err(|_same| {
            let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
            Refusal { error, log: String::from_utf8_lossy(text).into_owned() }
        })
    })
}

fn try_load(source: &Source<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = attr();
    // SAFETY: writing fields of a zeroed union whose fields are plain data.
    let program = unsafe { &mut attr.__bindgen_anon_3 };
    set_name(&mut program.prog_name, source.name);
    program.prog_type = source.kind as u32;
    program.prog_flags = source.flags;
    if source.kind == bpf_prog_type::BPF_PROG_TYPE_XDP {
        program.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
    }
    program.license = source.license.as_ptr() as u64;
    program.insns = source.code.as_ptr() as u64;
    program.insn_cnt = count(source.code.len())?;
    program.prog_btf_fd = count(source.btf.as_raw_fd())?;
    program.func_info = source.functions.bytes.as_ptr() as u64;
    (program.func_info_cnt, program.func_info_rec_size) = source.functions.counts()?;
    program.line_info = source.lines.bytes.as_ptr() as u64;
    (program.line_info_cnt, program.line_info_rec_size) = source.lines.counts()?;
    if !log.is_empty() {
        program.log_level = 1;
        program.log_size = count(log.len())?;
        program.log_buf = log.as_mut_ptr() as u64;
    }
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned)
}

impl Records {
    /// The same with one record, the first, for an instruction, as the kernel wants them: an
    /// assembly template that is a comment has a line and no instruction of its own.
    pub(super) fn one_each(mut self) -> Self {
        let records: Vec<&[u8]> = self.bytes.chunks_exact(self.size.max(1)).collect();
        let alike = records.chunk_by(|one, next| place(one) == place(next));
        self.bytes = alike.filter_map(|same| same.first().copied()).flatten().copied().collect();
        self
    }

    /// How many there are, and the bytes of one.
    fn counts(&self) -> io::Result<(u32, u32)> {
        let records = self.bytes.len().checked_div(self.size).unwrap_or(0);
        Ok((count(records)?, count(self.size)?))
    }
}

/// The instruction that a record is about: its first word.
fn place(record: &[u8]) -> Option<&[u8; 4]> {
    record.first_chunk()
}

fn count<T: TryInto<u32>>(number: T) -> io::Result<u32> {
    number.try_into().ok().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Loads type information.
///
/// # Errors
/// The kernel's.
pub(super) fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = attr();
    // SAFETY: as in `try_load`.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = btf.as_ptr() as u64;
    load.btf_size = count(btf.len())?;
    bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr).map(owned)
}

/// Runs a program on a frame, `repeat` times; returns what it returned.
///
/// `context` is what is known of the frame beside its bytes, in the hook's own
/// type.
///
/// # Errors
/// The kernel's: frames under 14 bytes are refused, for instance.
pub fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: Option<&[u8]>,
    repeat: u32,
) -> io::Result<u32> {
    let mut attr = attr();
    // SAFETY: as in `try_load`.
    let test = unsafe { &mut attr.test };
    test.prog_fd = count(program.as_raw_fd())?;
    test.data_in = frame.as_ptr() as u64;
    test.data_size_in = count(frame.len())?;
    test.repeat = repeat;
    if let Some(context) = context {
        test.ctx_in = context.as_ptr() as u64;
        test.ctx_size_in = count(context.len())?;
    }
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the member that was written above, and by the kernel.
    Ok(unsafe { attr.test.retval })
}

/// The context of a test run at TC whose frame is on an interface: `struct __sk_buff`
/// up to `ifindex`, all else 0.
#[must_use]
pub fn skb_on(ifindex: u32) -> [u8; 44] {
    let mut context = [0; 44];
    if let Some(last) = context.last_chunk_mut() {
        *last = ifindex.to_ne_bytes();
    }
    context
}

/// What the kernel knows of a loaded program.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Instructions that the verifier walked; 0 before Linux 5.16.
    pub verified: u32,
    /// Bytes of machine code.
    pub code_bytes: u32,
}

/// Asks what the kernel knows of a loaded program.
///
/// # Errors
/// The kernel's.
pub fn facts(program: BorrowedFd<'_>) -> Result<Facts> {
    let info = info(program)?;
    Ok(Facts { verified: info.verified_insns, code_bytes: info.jited_prog_len })
}

/// The kernel's number for a loaded program: no other has it until the next boot.
///
/// # Errors
/// The kernel's.
pub fn id(program: BorrowedFd<'_>) -> Result<u32> {
    Ok(info(program)?.id)
}

fn info(program: BorrowedFd<'_>) -> Result<bpf_prog_info> {
    sys::info(program).context("could not ask what a program is")
}
