//! System calls of BPF that the instruments need, and nothing of the product.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use firewall_policy::ir::Direction;

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_CREATE: libc::c_int = 28;

/// `BPF_F_TEST_XDP_LIVE_FRAMES`: the frame is really sent where the program says.
const LIVE_FRAMES: u32 = 1 << 1;
/// Frames that a live run hands over at once; the kernel's own default.
const LIVE_BATCH: u32 = 64;
/// `BPF_F_XDP_HAS_FRAGS`.
const HAS_FRAGS: u32 = 1 << 5;
/// `BPF_XDP`, as an attach type.
const ATTACH_XDP: u32 = 37;
/// `BPF_TCX_EGRESS`, as an attach type.
const ATTACH_TCX_INGRESS: u32 = 46;
const ATTACH_TCX_EGRESS: u32 = 47;
/// `XDP_FLAGS_DRV_MODE`: native, or not at all.
const NATIVE: u32 = 1 << 2;

/// A pass after which no program behind is asked.
pub(super) const TC_ACT_OK: u32 = 0;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `BPF_PROG_TYPE_XDP`.
    Xdp,
    /// `BPF_PROG_TYPE_SCHED_CLS`.
    Tc,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Tc => 3,
            Self::Xdp => 6,
        }
    }

    /// Attach types and flags with which the programs of others may be loaded:
    /// one that tail-calls them must have the same.
    const fn variants(self) -> &'static [(u32, u32)] {
        match self {
            Self::Xdp => &[(ATTACH_XDP, HAS_FRAGS), (ATTACH_XDP, 0), (0, HAS_FRAGS), (0, 0)],
            // Neither, BPF_TCX_INGRESS, BPF_TCX_EGRESS.
            Self::Tc => &[(0, 0), (46, 0), (47, 0)],
        }
    }

    /// "Pass", as the product returns it: at TC programs behind it have their say
    /// (`TC_ACT_UNSPEC`).
    pub(super) const fn pass(self) -> u32 {
        match self {
            Self::Xdp => 2,
            Self::Tc => u32::MAX,
        }
    }

    /// "Drop", as a program returns it.
    pub(super) const fn drop(self) -> u32 {
        match self {
            Self::Xdp => 1,
            Self::Tc => 2,
        }
    }
}

/// `bpf_attr` of `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u64; 2],
    ifindex: u32,
    attach_type: u32,
}

/// Loads a program, as the first variant of its kind that the kernel takes.
pub(super) fn load(kind: Kind, name: &str, code: &[u64]) -> Result<OwnedFd> {
    let mut error = io::Error::from(io::ErrorKind::InvalidInput);
    for &(attach_type, flags) in kind.variants() {
        let mut attr = Load {
            kind: kind.number(),
            instruction_count: u32::try_from(code.len())?,
            instructions: code.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
            flags,
            attach_type,
            ..Load::default()
        };
        match bpf(PROG_LOAD, &mut attr) {
            Ok(fd) => return Ok(owned(fd)),
            Err(refusal) => error = refusal,
        }
    }
    let log = verifier_log(kind, code);
    Err(error).with_context(|| format!("the kernel refuses the instrument `{name}`: {log}"))
}

/// What the verifier has to say of a program that it refuses.
fn verifier_log(kind: Kind, code: &[u64]) -> String {
    let mut log = vec![0_u8; 1 << 16];
    let (attach_type, flags) = kind.variants().first().copied().unwrap_or_default();
    let mut attr = Load {
        kind: kind.number(),
        instruction_count: u32::try_from(code.len()).unwrap_or_default(),
        instructions: code.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 1,
        log_size: 1 << 16,
        log: log.as_mut_ptr() as u64,
        flags,
        attach_type,
        ..Load::default()
    };
    let loaded = bpf(PROG_LOAD, &mut attr).map(owned);
    drop(loaded);
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n")
}

/// `bpf_attr` of `BPF_MAP_CREATE`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Create {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    rest: [u32; 13],
}

/// Kinds of maps.
#[derive(Clone, Copy, Debug)]
pub(super) enum MapKind {
    /// One value that user space maps.
    Value = 2,
    /// Programs, for tail calls.
    Programs = 3,
    /// One value per CPU.
    PerCpu = 6,
}

/// Creates a map with one entry of `bytes` bytes.
pub(super) fn map(kind: MapKind, bytes: usize) -> Result<OwnedFd> {
    /// `BPF_F_MMAPABLE`.
    const MMAPABLE: u32 = 1 << 10;
    let mut attr = Create {
        kind: kind as u32,
        key: 4,
        value: u32::try_from(bytes)?,
        entries: 1,
        flags: if matches!(kind, MapKind::Value) { MMAPABLE } else { 0 },
        ..Create::default()
    };
    let fd = bpf(MAP_CREATE, &mut attr).with_context(|| format!("no map of {bytes} bytes"))?;
    Ok(owned(fd))
}

/// `bpf_attr` of element operations.
#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Puts a program into the first place of an array of programs.
pub(super) fn place(programs: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let (key, value) = (0_u32, u32::try_from(program.as_raw_fd())?);
    let mut attr = Element {
        map: u32::try_from(programs.as_raw_fd())?,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        ..Element::default()
    };
    bpf(MAP_UPDATE_ELEM, &mut attr).context("could not place a program")?;
    Ok(())
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

/// Runs a program `repeat` times on copies of a frame; returns what it returned.
pub(super) fn run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<u32> {
    let mut attr = test_run(program, frame, repeat)?;
    bpf(PROG_TEST_RUN, &mut attr)?;
    Ok(attr.result)
}

/// Runs a program `frames` times on frames that go where it sends them.
pub(super) fn send(program: BorrowedFd<'_>, frame: &[u8], frames: u32) -> io::Result<()> {
    let mut attr =
        TestRun { flags: LIVE_FRAMES, batch: LIVE_BATCH, ..test_run(program, frame, frames)? };
    bpf(PROG_TEST_RUN, &mut attr).map(drop)
}

fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<TestRun> {
    Ok(TestRun {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_in: frame.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    })
}

/// `bpf_attr` of `BPF_LINK_CREATE`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    rest: [u64; 4],
}

/// Attaches an XDP program natively; it is detached when the link is dropped.
pub(super) fn attach(program: BorrowedFd<'_>, ifindex: u32) -> Result<OwnedFd> {
    let mut attr = Link {
        program: u32::try_from(program.as_raw_fd())?,
        ifindex,
        attach_type: ATTACH_XDP,
        flags: NATIVE,
        ..Link::default()
    };
    Ok(owned(bpf(LINK_CREATE, &mut attr).context("could not attach natively")?))
}

/// Attaches a TC program to what enters or leaves an interface; it is detached when the link
/// is dropped.
pub(super) fn attach_tc(
    program: BorrowedFd<'_>,
    ifindex: u32,
    direction: Direction,
) -> Result<OwnedFd> {
    let mut attr = Link {
        program: u32::try_from(program.as_raw_fd())?,
        ifindex,
        attach_type: match direction {
            Direction::Ingress => ATTACH_TCX_INGRESS,
            Direction::Egress => ATTACH_TCX_EGRESS,
        },
        ..Link::default()
    };
    Ok(owned(bpf(LINK_CREATE, &mut attr).context("could not attach to TC")?))
}

/// Opens a loaded program by its number.
pub(super) fn by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = [id, 0, 0, 0];
    Ok(owned(bpf(PROG_GET_FD_BY_ID, &mut attr).with_context(|| format!("no program {id}"))?))
}

/// What the kernel knows of a loaded program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Instructions that the verifier walked.
    pub(super) verified: u32,
    /// Bytes of machine code.
    pub(super) code_bytes: u32,
}

/// `bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    place: u64,
}

/// Asks the kernel about a program.
pub(super) fn facts(program: BorrowedFd<'_>) -> Result<Facts> {
    // Words of `struct bpf_prog_info`: jited_prog_len and verified_insns.
    let mut info = [0_u32; 56];
    let mut attr = Info {
        fd: u32::try_from(program.as_raw_fd())?,
        length: u32::try_from(size_of_val(&info))?,
        place: info.as_mut_ptr() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr).context("could not ask what a program is")?;
    let [.., verified, _] = info;
    Ok(Facts { verified, code_bytes: info[4] })
}

/// A second descriptor of the same object.
pub(super) fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().context("could not duplicate a descriptor")
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
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
