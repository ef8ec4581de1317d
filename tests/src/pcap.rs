//! Captures: pcap and pcapng, both byte orders, read; pcap written.
//!
//! Formats: [pcap] and [pcapng], IETF drafts of the opsawg working group.
//!
//! [pcap]: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/
//! [pcapng]: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/

use std::fmt;

/// Link type of Ethernet frames.
pub const ETHERNET: u32 = 1;
/// Link type of bare IP packets.
pub const RAW_IP: u32 = 101;

/// One captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Nanoseconds since 1970; 0 if the capture does not say.
    pub time_ns: u64,
    /// Link type: [`ETHERNET`], [`RAW_IP`], or another.
    pub link_type: u32,
    /// Length on the wire, bytes; more than `data` if the capture cut it.
    pub original_length: u32,
    /// The bytes captured.
    pub data: Vec<u8>,
}

/// Why a capture cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Byte of the file where the offending header starts.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The file starts like neither format.
    NotACapture,
    /// The file ends within a header or a packet.
    Truncated,
    /// A length that its block cannot have.
    BadLength,
    /// A packet of an interface that the section does not describe.
    NoSuchInterface,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::NotACapture => "this is neither pcap nor pcapng",
            Problem::Truncated => "the file ends within a header or a packet",
            Problem::BadLength => "a length that cannot be",
            Problem::NoSuchInterface => "a packet of an interface that is not described",
        };
        write!(f, "at byte {}: {problem}", self.offset)
    }
}

impl std::error::Error for Error {}

/// Reads a capture of either format.
///
/// # Errors
///
/// If it is no capture or is damaged; nothing of it is returned then.
pub fn read(file: &[u8]) -> Result<Vec<Packet>, Error> {
    let magic: [u8; 4] = Input::new(file, false).array(0)?;
    let (swapped, nanoseconds) = match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => return read_pcapng(file),
        [0xd4, 0xc3, 0xb2, 0xa1] => (true, false),
        [0xa1, 0xb2, 0xc3, 0xd4] => (false, false),
        [0x4d, 0x3c, 0xb2, 0xa1] => (true, true),
        [0xa1, 0xb2, 0x3c, 0x4d] => (false, true),
        _ => return Err(Error { offset: 0, problem: Problem::NotACapture }),
    };
    read_pcap(&Input::new(file, swapped), nanoseconds)
}

/// Writes frames as a pcap file with nanosecond times, a microsecond apart.
#[must_use]
pub fn write(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let size = |frame: &Vec<u8>| u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut file = Vec::new();
    file.extend(0xa1b2_3c4d_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(0x4_0000_u32.to_le_bytes());
    file.extend(link_type.to_le_bytes());
    for (number, frame) in (0_u32..).zip(frames) {
        file.extend((number / 1_000_000).to_le_bytes());
        file.extend((number % 1_000_000 * 1000).to_le_bytes());
        file.extend(size(frame));
        file.extend(size(frame));
        file.extend(frame);
    }
    file
}

/// A file, and the order of the bytes of its numbers.
#[derive(Clone, Copy)]
struct Input<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Input<'a> {
    fn new(bytes: &'a [u8], little: bool) -> Self {
        Self { bytes, little }
    }

    fn slice(&self, offset: usize, length: usize) -> Result<&'a [u8], Error> {
        let end = offset.checked_add(length);
        end.and_then(|end| self.bytes.get(offset..end))
            .ok_or(Error { offset, problem: Problem::Truncated })
    }

    fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(offset, N)?);
        Ok(array)
    }

    fn u16(&self, offset: usize) -> Result<u16, Error> {
        let array = self.array(offset)?;
        Ok(if self.little { u16::from_le_bytes(array) } else { u16::from_be_bytes(array) })
    }

    fn u32(&self, offset: usize) -> Result<u32, Error> {
        let array = self.array(offset)?;
        Ok(if self.little { u32::from_le_bytes(array) } else { u32::from_be_bytes(array) })
    }

    fn size(&self, offset: usize) -> Result<usize, Error> {
        usize::try_from(self.u32(offset)?).or(Err(Error { offset, problem: Problem::BadLength }))
    }
}

fn read_pcap(input: &Input<'_>, nanoseconds: bool) -> Result<Vec<Packet>, Error> {
    const FILE_HEADER: usize = 24;
    const PACKET_HEADER: usize = 16;
    // The upper bits hold the length of a frame check sequence.
    let link_type = input.u32(20)? & 0x0fff_ffff;
    let unit = if nanoseconds { 1 } else { 1000 };
    let mut packets = Vec::new();
    let mut offset = FILE_HEADER;
    while offset < input.bytes.len() {
        let seconds = u64::from(input.u32(offset)?);
        let fraction = u64::from(input.u32(offset + 4)?);
        let captured = input.size(offset + 8)?;
        packets.push(Packet {
            time_ns: seconds * 1_000_000_000 + fraction * unit,
            link_type,
            original_length: input.u32(offset + 12)?,
            data: input.slice(offset + PACKET_HEADER, captured)?.to_vec(),
        });
        offset += PACKET_HEADER + captured;
    }
    Ok(packets)
}

/// An interface of a pcapng section.
#[derive(Clone, Copy)]
struct Interface {
    link_type: u32,
    snap_length: u32,
    /// Time units per second.
    resolution: u64,
}

fn read_pcapng(file: &[u8]) -> Result<Vec<Packet>, Error> {
    const SECTION: u32 = 0x0a0d_0d0a;
    const INTERFACE: u32 = 1;
    const OLD_PACKET: u32 = 2;
    const SIMPLE_PACKET: u32 = 3;
    const PACKET: u32 = 6;
    let mut packets = Vec::new();
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut input = Input::new(file, false);
    let mut offset = 0;
    while offset < file.len() {
        let kind = input.u32(offset)?;
        if kind == SECTION {
            input.little = match input.array(offset + 8)? {
                [0x4d, 0x3c, 0x2b, 0x1a] => true,
                [0x1a, 0x2b, 0x3c, 0x4d] => false,
                _ => return Err(Error { offset, problem: Problem::NotACapture }),
            };
            interfaces.clear();
        }
        let length = input.size(offset + 4)?;
        if length < 12 || !length.is_multiple_of(4) {
            return Err(Error { offset, problem: Problem::BadLength });
        }
        input.slice(offset, length)?;
        if input.size(offset + length - 4)? != length {
            return Err(Error { offset, problem: Problem::BadLength });
        }
        let block = Block {
            input: Input::new(&file[..offset + length - 4], input.little),
            body: offset + 8,
        };
        match kind {
            INTERFACE => interfaces.push(block.interface()?),
            OLD_PACKET => {
                let index = usize::from(block.input.u16(block.body)?);
                packets.push(block.packet(interfaces.get(index))?);
            }
            PACKET => {
                let index = block.input.size(block.body)?;
                packets.push(block.packet(interfaces.get(index))?);
            }
            SIMPLE_PACKET => packets.push(block.simple_packet(interfaces.first())?),
            _ => {}
        }
        offset += length;
    }
    Ok(packets)
}

/// A block of a pcapng file: `input` ends where its body ends.
struct Block<'a> {
    input: Input<'a>,
    body: usize,
}

impl Block<'_> {
    fn interface(&self) -> Result<Interface, Error> {
        let (input, body) = (&self.input, self.body);
        let mut interface = Interface {
            link_type: input.u16(body)?.into(),
            snap_length: input.u32(body + 4)?,
            resolution: 1_000_000,
        };
        let mut option = body + 8;
        while option < input.bytes.len() {
            let (code, length) = (input.u16(option)?, usize::from(input.u16(option + 2)?));
            let value = input.slice(option + 4, length)?;
            match (code, value) {
                (0, _) => break,
                // if_tsresol: a power of ten, or with the top bit of two.
                (9, [exponent]) => {
                    let base: u64 = if exponent & 0x80 == 0 { 10 } else { 2 };
                    let exponent = u32::from(exponent & 0x7f);
                    interface.resolution = base
                        .checked_pow(exponent)
                        .ok_or(Error { offset: option, problem: Problem::BadLength })?;
                }
                _ => {}
            }
            option += 4 + length.next_multiple_of(4);
        }
        Ok(interface)
    }

    fn packet(&self, interface: Option<&Interface>) -> Result<Packet, Error> {
        let (input, body) = (&self.input, self.body);
        let interface = interface.ok_or(self.no_interface())?;
        let units = u64::from(input.u32(body + 4)?) << 32 | u64::from(input.u32(body + 8)?);
        let captured = input.size(body + 12)?;
        let time_ns = u128::from(units) * 1_000_000_000 / u128::from(interface.resolution);
        Ok(Packet {
            time_ns: u64::try_from(time_ns).unwrap_or(u64::MAX),
            link_type: interface.link_type,
            original_length: input.u32(body + 16)?,
            data: input.slice(body + 20, captured)?.to_vec(),
        })
    }

    fn simple_packet(&self, interface: Option<&Interface>) -> Result<Packet, Error> {
        let interface = interface.ok_or(self.no_interface())?;
        let original_length = self.input.u32(self.body)?;
        // A snap length of 0 means that nothing was cut.
        let captured = match interface.snap_length {
            0 => original_length,
            snap => original_length.min(snap),
        };
        let offset = self.body + 4;
        let captured =
            usize::try_from(captured).or(Err(Error { offset, problem: Problem::BadLength }))?;
        Ok(Packet {
            time_ns: 0,
            link_type: interface.link_type,
            original_length,
            data: self.input.slice(offset, captured)?.to_vec(),
        })
    }

    fn no_interface(&self) -> Error {
        Error { offset: self.body - 8, problem: Problem::NoSuchInterface }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in one byte order.
    struct Writer {
        bytes: Vec<u8>,
        little: bool,
    }

    impl Writer {
        fn new(little: bool) -> Self {
            Self { bytes: Vec::new(), little }
        }

        fn u16(mut self, value: u16) -> Self {
            self.bytes.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
            self
        }

        fn u32(mut self, value: u32) -> Self {
            self.bytes.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
            self
        }

        fn raw(mut self, bytes: &[u8]) -> Self {
            self.bytes.extend(bytes);
            self
        }

        fn block(self, kind: u32, body: impl FnOnce(Writer) -> Writer) -> Self {
            let mut body = body(Writer::new(self.little)).bytes;
            body.resize(body.len().next_multiple_of(4), 0);
            let length = u32::try_from(body.len() + 12).unwrap();
            self.u32(kind).u32(length).raw(&body).u32(length)
        }

        fn section(self) -> Self {
            self.block(0x0a0d_0d0a, |w| {
                w.u32(0x1a2b_3c4d).u16(1).u16(0).u32(u32::MAX).u32(u32::MAX)
            })
        }
    }

    fn pcap(little: bool, magic: u32) -> Vec<u8> {
        Writer::new(little)
            .u32(magic)
            .u16(2)
            .u16(4)
            .u32(0)
            .u32(0)
            .u32(65_535)
            .u32(ETHERNET)
            .u32(3)
            .u32(500_000)
            .u32(3)
            .u32(1500)
            .raw(b"abc")
            .bytes
    }

    fn pcapng(little: bool) -> Vec<u8> {
        Writer::new(little)
            .section()
            .block(1, |w| w.u16(1).u16(0).u32(4))
            // Nanoseconds, after an option that is skipped.
            .block(1, |w| {
                w.u16(101)
                    .u16(0)
                    .u32(0)
                    .u16(2)
                    .u16(3)
                    .raw(b"lo\0\0")
                    .u16(9)
                    .u16(1)
                    .raw(&[9, 0, 0, 0])
                    .u16(0)
                    .u16(0)
            })
            .block(0xbad, |w| w.u32(1))
            .block(6, |w| w.u32(1).u32(0).u32(77).u32(3).u32(9).raw(b"abc"))
            .block(6, |w| w.u32(0).u32(1).u32(0).u32(1).u32(1).raw(b"d"))
            .block(3, |w| w.u32(6).raw(b"efgh"))
            .block(2, |w| w.u16(1).u16(0).u32(0).u32(5).u32(2).u32(2).raw(b"ij"))
            .bytes
    }

    fn packet(time_ns: u64, link_type: u32, original_length: u32, data: &[u8]) -> Packet {
        Packet { time_ns, link_type, original_length, data: data.to_vec() }
    }

    #[test]
    fn pcap_is_read_in_both_byte_orders_and_units() {
        for little in [false, true] {
            let micro = packet(3_500_000_000, ETHERNET, 1500, b"abc");
            let nano = packet(3_000_500_000, ETHERNET, 1500, b"abc");
            assert_eq!(read(&pcap(little, 0xa1b2_c3d4)), Ok(vec![micro]));
            assert_eq!(read(&pcap(little, 0xa1b2_3c4d)), Ok(vec![nano]));
        }
    }

    #[test]
    fn pcapng_is_read_in_both_byte_orders() {
        for little in [false, true] {
            let expected = [
                packet(77, RAW_IP, 9, b"abc"),
                packet((1 << 32) * 1000, ETHERNET, 1, b"d"),
                packet(0, ETHERNET, 6, b"efgh"),
                packet(5, RAW_IP, 2, b"ij"),
            ];
            assert_eq!(read(&pcapng(little)).unwrap(), expected);
        }
    }

    #[test]
    fn a_second_section_may_have_another_byte_order() {
        let both = [pcapng(true), pcapng(false)].concat();
        assert_eq!(read(&both).unwrap().len(), 8);
    }

    #[test]
    fn what_was_written_is_read() {
        let frames = vec![vec![1; 60], vec![], vec![2; 1500]];
        let packets = read(&write(RAW_IP, &frames)).unwrap();
        let data: Vec<_> = packets.iter().map(|packet| packet.data.clone()).collect();
        assert_eq!(data, frames);
        assert_eq!((packets[2].time_ns, packets[2].link_type), (2000, RAW_IP));
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_capture() {
        for file in [pcap(true, 0xa1b2_c3d4), pcapng(true), pcapng(false)] {
            let whole = read(&file).unwrap().len();
            for length in 0..file.len() {
                match read(&file[..length]) {
                    Ok(packets) => assert!(packets.len() < whole, "at {length}"),
                    Err(error) => assert!(error.offset < file.len(), "at {length}: {error}"),
                }
            }
        }
    }

    #[test]
    fn no_damaged_byte_makes_it_panic() {
        for file in [pcap(true, 0xa1b2_c3d4), pcapng(true)] {
            for place in 0..file.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut damaged = file.clone();
                    damaged[place] = value;
                    let _ = read(&damaged);
                }
            }
        }
    }

    #[test]
    fn each_problem_is_told_with_its_place() {
        let problem = |file: &[u8]| read(file).map_err(|error| (error.offset, error.problem));
        assert_eq!(problem(b"hello"), Err((0, Problem::NotACapture)));
        assert_eq!(problem(b""), Err((0, Problem::Truncated)));
        let stranger = Writer::new(true).section().block(6, |w| w.raw(&[0; 20])).bytes;
        assert_eq!(problem(&stranger), Err((28, Problem::NoSuchInterface)));
        let mut short = Writer::new(true).section().bytes;
        short[4] = 8;
        assert_eq!(problem(&short), Err((0, Problem::BadLength)));
        let mut trailer = Writer::new(true).section().bytes;
        trailer[24] = 32;
        assert_eq!(problem(&trailer), Err((0, Problem::BadLength)));
        let error = Error { offset: 7, problem: Problem::Truncated };
        assert_eq!(error.to_string(), "at byte 7: the file ends within a header or a packet");
    }
}
