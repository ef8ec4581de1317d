//! Programs that measure: the floors, and those that vary and send frames.
//!
//! Hand-assembled, so that no compiler can merge, delete or add what is priced.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use firewall_userspace::kernel::sys::Mapping;

use super::assembly::{Code, Size};
use super::bpf::{self, Kind, MapKind};

/// `XDP_ABORTED`, and no verdict of TC either: the instrument itself failed.
const BROKEN: i32 = 0;

/// Length up to which instruments write: Ethernet, IPv6, TCP.
const V6_HEADERS: i32 = 14 + 40 + 20;
/// The same with IPv4.
const V4_HEADERS: i32 = 14 + 20 + TCP;
/// Of TCP and UDP.
const TCP: i32 = 20;
const UDP: i32 = 8;

/// Drops everything: the floor.
pub(super) fn bare(kind: Kind) -> Result<OwnedFd> {
    always(kind, "bare drop", kind.drop())
}

/// Passes everything with one verdict: what a hook costs without anything to do.
pub(super) fn idle(kind: Kind, verdict: u32) -> Result<OwnedFd> {
    always(kind, "idle", verdict)
}

fn always(kind: Kind, name: &str, verdict: u32) -> Result<OwnedFd> {
    let verdict = verdict.cast_signed();
    bpf::load(kind, name, &Code::default().set(0, verdict).exit().finish(verdict))
}

/// Drops UDP over IPv4 where it enters, and passes the rest: what a machine needs to be found.
pub(super) fn sink() -> Result<OwnedFd> {
    let code = headers(Kind::Tc, V4_HEADERS - TCP + UDP)
        .load(Size::Two, 3, 8, 12)
        .bail_unless(3, i32::from(0x0800_u16.to_be()))
        .load(Size::One, 3, 8, 23)
        .bail_unless(3, 17)
        .set(0, i32::try_from(Kind::Tc.drop())?)
        .exit()
        .finish(Kind::Tc.pass().cast_signed());
    bpf::load(Kind::Tc, "sink", &code)
}

/// Parses Ethernet, IPv4 and the ports of a protocol, counts packets and bytes per CPU, and drops
/// or passes: the least that a firewall can do.
pub(super) fn parse_and_count(kind: Kind, protocol: u8, verdict: u32) -> Result<OwnedFd> {
    let counter = bpf::map(MapKind::PerCpu, 16)?;
    let code = headers(kind, V4_HEADERS)
        // EtherType, version and length, fragment offset, protocol.
        .load(Size::Two, 3, 8, 12)
        .bail_unless(3, i32::from(0x0800_u16.to_be()))
        .load(Size::One, 3, 8, 14)
        .bail_unless(3, 0x45)
        .load(Size::Two, 3, 8, 20)
        .and(3, i32::from(0x3fff_u16.to_be()))
        .bail_unless(3, 0)
        .load(Size::One, 3, 8, 23)
        .bail_unless(3, protocol.into())
        // Addresses and ports, compared with what never comes, to keep them alive.
        .load(Size::Four, 3, 8, 26)
        .bail_if(3, 0)
        .load(Size::Four, 3, 8, 30)
        .bail_if(3, 0)
        .load(Size::Four, 3, 8, 34)
        .bail_if(3, 0)
        .set(3, 0)
        .store(Size::Four, 10, -4, 3)
        .copy(2, 10)
        .add_number(2, -4)
        .map(1, counter.as_fd())
        .look_up()
        .bail_if(0, 0)
        .load(Size::Eight, 3, 0, 0)
        .add_number(3, 1)
        .store(Size::Eight, 0, 0, 3)
        .load(Size::Eight, 3, 0, 8)
        .add_number(3, 60)
        .store(Size::Eight, 0, 8, 3)
        .set(0, verdict.cast_signed())
        .exit()
        .finish(BROKEN);
    bpf::load(kind, "parse and count", &code)
}

/// `r6` = context, `r8` = start of the frame, which has at least `length` bytes.
fn headers(kind: Kind, length: i32) -> Code {
    // Offsets of `data` and `data_end` in `struct xdp_md` and `struct __sk_buff`.
    let (data, end) = match kind {
        Kind::Xdp => (0, 4),
        Kind::Tc => (76, 80),
    };
    Code::default()
        .copy(6, 1)
        .load(Size::Four, 8, 1, data)
        .load(Size::Four, 9, 1, end)
        .copy(3, 8)
        .add_number(3, length)
        .bail_if_above(3, 9)
}

/// Bytes of a record.
pub(super) const RECORD: usize = 16;
/// Bytes in front of the records: the number of the next one.
const HEAD: i16 = 64;

/// What a record of 16 bytes replaces in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// IPv4: source, destination, ports, protocol, TCP flags, header checksum.
    V4,
    /// IPv6: upper half of the source, ports, lowest word of the source.
    V6,
    /// The TCP sequence number behind an IPv4 header.
    Sequence,
}

impl Fields {
    /// Place in the record, place in the frame, size.
    const fn stores(self) -> &'static [(i16, i16, Size)] {
        match self {
            Self::V4 => &[
                (0, 26, Size::Four),
                (4, 30, Size::Four),
                (8, 34, Size::Four),
                (12, 23, Size::One),
                (13, 47, Size::One),
                (14, 24, Size::Two),
            ],
            Self::V6 => &[(0, 22, Size::Eight), (8, 54, Size::Four), (12, 34, Size::Four)],
            Self::Sequence => &[(0, 38, Size::Four)],
        }
    }

    const fn headers(self) -> i32 {
        match self {
            Self::V6 => V6_HEADERS,
            Self::V4 | Self::Sequence => V4_HEADERS,
        }
    }
}

/// Records in the kernel, written through a mapping.
pub(super) struct Records {
    map: OwnedFd,
    count: usize,
    fields: Fields,
}

impl Records {
    /// Puts records into the kernel; their number is a power of two.
    pub(super) fn new(fields: Fields, records: &[[u32; 4]]) -> Result<Self> {
        ensure!(records.len().is_power_of_two(), "{} is no power of two", records.len());
        let bytes = records.len() * RECORD + HEAD as usize;
        let map = bpf::map(MapKind::Value, bytes)?;
        let mut words = vec![0; HEAD as usize / 4];
        words.extend(records.iter().flatten());
        Mapping::new(map.as_fd(), bytes, true).context("could not map the records")?.fill(&words);
        Ok(Self { map, count: records.len(), fields })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(u32::MAX)
    }

    /// What they replace.
    pub(super) fn fields(&self) -> Fields {
        self.fields
    }

    /// Writes the next record into the frame at `r8`. Uses `r2`, `r4` and `r7`.
    fn vary(&self, code: Code) -> Result<Code> {
        let mask = i32::try_from(self.count - 1)?;
        let code = code
            .value(2, self.map.as_fd())
            .load(Size::Four, 7, 2, 0)
            .copy(4, 7)
            .add_number(4, 1)
            .store(Size::Four, 2, 0, 4)
            .and(7, mask)
            .shift(7, 4)
            .add_register(2, 7);
        Ok(self.fields.stores().iter().fold(code, |code, &(from, to, size)| {
            code.load(size, 4, 2, HEAD + from).store(size, 8, to, 4)
        }))
    }
}

/// Gives each packet the next record, then goes on in `target`.
///
/// Also returned: the array that holds `target`, which empties itself when its
/// last descriptor goes.
pub(super) fn varying(
    kind: Kind,
    records: &Records,
    target: BorrowedFd<'_>,
) -> Result<(OwnedFd, OwnedFd)> {
    let programs = bpf::map(MapKind::Programs, 4)?;
    bpf::place(programs.as_fd(), target)?;
    let code = records.vary(headers(kind, records.fields.headers()))?;
    let code = code.copy(1, 6).tail_call(programs.as_fd()).finish(BROKEN);
    Ok((bpf::load(kind, "varying frames", &code)?, programs))
}

/// Gives each frame the next record, then sends it from an interface; without
/// one drops it, which is what sending costs by itself.
pub(super) fn sender(records: &Records, ifindex: Option<u32>) -> Result<OwnedFd> {
    let code = records.vary(headers(Kind::Xdp, records.fields.headers()))?;
    let code = match ifindex {
        Some(ifindex) => code.redirect(i32::try_from(ifindex)?).exit(),
        None => code.set(0, i32::try_from(Kind::Xdp.drop())?).exit(),
    };
    bpf::load(Kind::Xdp, "sender", &code.finish(BROKEN))
}
