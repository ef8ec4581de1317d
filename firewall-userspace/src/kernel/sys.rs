//! The few `bpf(2)` calls that aya does not offer: maps of a size known only at
//! run time, freezing, and pins of bare descriptors.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::{
    bpf_attr, bpf_cmd, bpf_link_info, bpf_map_info, bpf_map_type, bpf_prog_info,
};

/// What a map is, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Map type.
    pub kind: bpf_map_type,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Entries; bytes for a ring buffer.
    pub entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

pub(super) fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: `attr` is a whole attribute union; every pointer in it outlives the
    // call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, attr, size_of::<bpf_attr>())
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        RawFd::try_from(result).map_err(io::Error::other)
    }
}

pub(super) fn attr() -> bpf_attr {
    // SAFETY: all-zero is what the kernel takes for "not given".
    unsafe { std::mem::zeroed() }
}

pub(super) fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .with_context(|| format!("bad path {}", path.display()))
}

/// Names a map or program; the kernel wants a zero at the end.
pub(super) fn set_name(field: &mut [libc::c_char; 16], name: &str) {
    for (to, from) in field.iter_mut().zip(name.bytes().take(15)) {
        *to = from.cast_signed();
    }
}

/// Creates a map.
///
/// # Errors
/// The kernel's.
pub fn create_map(name: &str, shape: &Shape) -> io::Result<OwnedFd> {
    let mut attr = attr();
    // SAFETY: writing a field of a zeroed union whose fields are plain data.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = shape.kind as u32;
    create.key_size = shape.key;
    create.value_size = shape.value;
    create.max_entries = shape.entries;
    create.map_flags = shape.flags;
    set_name(&mut create.map_name, name);
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(owned)
}

/// Creates an array of so many maps that are like another.
///
/// # Errors
/// The kernel's.
pub fn create_map_of_maps(name: &str, like: BorrowedFd<'_>, entries: u32) -> io::Result<OwnedFd> {
    let mut attr = attr();
    // SAFETY: as in `create_map`.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS as u32;
    create.key_size = 4;
    create.value_size = 4;
    create.max_entries = entries;
    create.inner_map_fd = u32::try_from(like.as_raw_fd()).map_err(io::Error::other)?;
    set_name(&mut create.map_name, name);
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(owned)
}

/// Pins a map, program or link.
///
/// # Errors
/// The kernel's, with the path.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let c_path = c_path(path)?;
    let mut attr = attr();
    // SAFETY: as in `create_map`.
    let object = unsafe { &mut attr.__bindgen_anon_4 };
    object.pathname = c_path.as_ptr() as u64;
    object.bpf_fd = u32::try_from(fd.as_raw_fd())?;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr)
        .with_context(|| format!("could not pin at {}", path.display()))?;
    Ok(())
}

/// Opens a pin; `None` if there is nothing.
///
/// # Errors
/// The kernel's, with the path.
pub fn open(path: &Path) -> Result<Option<OwnedFd>> {
    let c_path = c_path(path)?;
    let mut attr = attr();
    // SAFETY: as in `create_map`.
    unsafe { &mut attr.__bindgen_anon_4 }.pathname = c_path.as_ptr() as u64;
    match bpf(bpf_cmd::BPF_OBJ_GET, &mut attr) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not open {}", path.display())),
    }
}

/// Bytes that the kernel accounts for a map or a program; 0 for a link.
///
/// # Errors
/// If /proc cannot be read.
pub fn memory(fd: BorrowedFd<'_>) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_default())
}

/// Sets an element of an array; in a program array the value is a descriptor.
///
/// # Errors
/// The kernel's.
pub fn set_element(array: BorrowedFd<'_>, index: u32, value: &[u8]) -> io::Result<()> {
    let mut attr = attr();
    // SAFETY: as in `create_map`.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = u32::try_from(array.as_raw_fd()).map_err(io::Error::other)?;
    element.key = (&raw const index) as u64;
    element.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(|_| ())
}

/// Takes a map or program out of an array of them; it may be none.
///
/// # Errors
/// The kernel's.
pub fn delete_element(array: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let mut attr = attr();
    // SAFETY: as in `create_map`.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = u32::try_from(array.as_raw_fd()).map_err(io::Error::other)?;
    element.key = (&raw const index) as u64;
    match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Makes a map read-only for user space, for good.
///
/// # Errors
/// The kernel's: a writable mapping is left.
pub fn freeze(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr();
    // SAFETY: as in `create_map`.
    unsafe { &mut attr.__bindgen_anon_2 }.map_fd =
        u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?;
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(|_| ())
}

/// The shape of an open map.
///
/// # Errors
/// If the kernel does not tell, or the map is of a type unknown here.
pub fn shape(fd: BorrowedFd<'_>) -> Result<Shape> {
    let info = map_info(fd)?;
    let kind = bpf_map_type::try_from(info.type_).ok().context("a map of a type unknown here")?;
    Ok(Shape {
        kind,
        key: info.key_size,
        value: info.value_size,
        entries: info.max_entries,
        flags: info.map_flags,
    })
}

/// The kernel's number for an open map: no other map has it until the next boot.
///
/// # Errors
/// If the kernel does not tell.
pub fn map_id(fd: BorrowedFd<'_>) -> Result<u32> {
    Ok(map_info(fd)?.id)
}

fn map_info(fd: BorrowedFd<'_>) -> Result<bpf_map_info> {
    info(fd).context("could not ask what a map is")
}

/// What `BPF_OBJ_GET_INFO_BY_FD` tells of an object: `bpf_map_info`, `bpf_prog_info` or
/// `bpf_link_info`.
pub(super) trait Info: Copy {}
impl Info for bpf_map_info {}
impl Info for bpf_prog_info {}
impl Info for bpf_link_info {}

/// Asks the kernel what it knows of a map, program or link.
///
/// # Errors
/// The kernel's.
pub(super) fn info<T: Info>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: all three are plain data, of which all-zero is a valid value.
    let mut info: T = unsafe { std::mem::zeroed() };
    let mut attr = attr();
    // SAFETY: as in `create_map`.
    let query = unsafe { &mut attr.info };
    query.bpf_fd = u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?;
    query.info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    query.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// A map's single value, mapped into memory.
///
/// The other side of the mapping is the datapath on every CPU, so everything is
/// read and written one aligned word at a time, unless the map is frozen.
#[derive(Debug)]
pub struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: the mapping is shared memory by design; accesses go through volatile
// reads and writes of single words.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of a map made with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// The kernel's: the map is not mappable, or frozen and `writable` asked.
    pub fn new(fd: BorrowedFd<'_>, length: usize, writable: bool) -> io::Result<Self> {
        let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// Maps it to write to, or only to read where this process may do no more.
    ///
    /// # Errors
    /// As [`Mapping::new`].
    pub fn at_best(fd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::new(fd, length, true).or_else(|_| Self::new(fd, length, false))
    }

    /// Place of a word of `T`.
    ///
    /// # Panics
    /// If the word is not inside: indexes come from our own layout.
    fn place<T>(&self, index: usize) -> *mut T {
        assert!(
            (index + 1) * size_of::<T>() <= self.length,
            "word {index} is past the map's value"
        );
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.start.cast::<T>().add(index) }
    }

    /// The 64-bit word at `index`.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        // SAFETY: an aligned place inside the mapping.
        unsafe { self.place::<u64>(index).read_volatile() }
    }

    /// Stores a 64-bit word in one go.
    pub fn set_word(&self, index: usize, value: u64) {
        // SAFETY: as above; the mapping is writable or the caller gets a fault.
        unsafe { self.place::<u64>(index).write_volatile(value) };
    }

    /// Stores a 64-bit word in one go, behind all that was stored before.
    pub fn publish_word(&self, index: usize, value: u64) {
        self.atomic(index).store(value, Ordering::Release);
    }

    /// Bytes of the mapping.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The whole value, if nobody writes to it any more.
    ///
    /// # Safety
    /// The map is frozen, and no program writes to it.
    #[must_use]
    pub unsafe fn frozen(&self) -> &[u8] {
        // SAFETY: inside the mapping, which lives as long as `self`, and never changes.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    /// Sets bits of a 64-bit word, whoever else does so.
    pub fn set_bits(&self, index: usize, bits: u64) {
        if self.word(index) & bits != bits {
            self.atomic(index).fetch_or(bits, Ordering::Release);
        }
    }

    /// Clears bits of a 64-bit word, whoever else does so.
    pub fn clear_bits(&self, index: usize, bits: u64) {
        if self.word(index) & bits != 0 {
            self.atomic(index).fetch_and(!bits, Ordering::Release);
        }
    }

    /// Puts a 64-bit word in the place of another; false if something else stands there.
    #[must_use]
    pub fn swap(&self, index: usize, old: u64, new: u64) -> bool {
        let word = self.atomic(index);
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn atomic(&self, index: usize) -> &AtomicU64 {
        // SAFETY: an aligned place inside the mapping, which lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.place::<u64>(index)) }
    }

    /// Fills the start of the value, which nobody may read meanwhile.
    ///
    /// # Panics
    /// If it is too short: sizes come from our own layout.
    pub fn fill<T: Plain>(&self, content: &[T]) {
        assert!(size_of_val(content) <= self.length, "more than the map's value holds");
        // SAFETY: checked to fit, plain, and aligned as pages are; source and mapping do
        // not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(content.as_ptr(), self.start.cast::<T>(), content.len());
        }
    }
}

/// What a map's value may be filled with: no byte of it is padding.
pub trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u32 {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, no reference to which is left.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// A number that nobody can guess.
///
/// # Errors
/// If the kernel has none.
pub fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: the call fills at most as many bytes as the buffer has.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    ensure!(
        usize::try_from(filled) == Ok(bytes.len()),
        "could not draw a random number: {}",
        io::Error::last_os_error()
    );
    Ok(u64::from_ne_bytes(bytes))
}

/// The lower and the upper half of a word.
#[must_use]
pub fn halves(word: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the other half is the other one")]
    [word, word >> 32].map(|half| half as u32)
}

/// Keeps a descriptor usable as a borrowed one.
///
/// # Errors
/// If the process has no descriptor left.
pub fn duplicate(fd: &impl AsFd) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().context("could not duplicate a descriptor")
}
