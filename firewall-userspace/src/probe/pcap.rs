//! Reading captures: classic pcap, both byte orders, micro- and nanoseconds.

use anyhow::{Result, bail, ensure};

/// Bytes of the file header and of a record's.
const HEADER: usize = 24;
const RECORD: usize = 16;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;
/// Frames longer than this do not exist: the file is damaged.
const LONGEST: usize = 1 << 18;

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// As long as it was on the wire: what was not captured is zeros.
    pub bytes: Vec<u8>,
    /// Bytes that were captured.
    pub captured: usize,
}

/// The Ethernet frames of a capture. What was captured short is filled up with zeros to
/// its length on the wire, at most the longest that there is: headers are judged, and
/// lengths that they tell hold.
///
/// # Errors
/// If it is not a pcap file, or is cut short.
pub(crate) fn frames(file: &[u8]) -> Result<Vec<Frame>> {
    let Some(header) = file.get(..HEADER) else { bail!("shorter than a pcap header") };
    let magic = [header[0], header[1], header[2], header[3]];
    let big = match magic {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => false,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => true,
        [0x0a, 0x0d, 0x0d, 0x0a] => {
            bail!("this is pcapng; `editcap -F pcap in.pcapng out.pcap` converts it")
        }
        _ => bail!("this is not a pcap file"),
    };
    let number = |bytes: &[u8], at: usize| -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk::<4>()?;
        Some(if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    };
    let link = number(header, 20).unwrap_or_default() & 0x0fff_ffff;
    ensure!(link == ETHERNET, "the capture has link type {link}; Ethernet (1) is wanted");
    let mut rest = file.get(HEADER..).unwrap_or_default();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = number(rest, 8).map_or(LONGEST, |length| length as usize);
        let frame = rest.get(RECORD..).and_then(|rest| rest.get(..length));
        let Some(frame) = frame.filter(|frame| frame.len() < LONGEST) else {
            bail!("the capture is cut short behind frame {}", frames.len());
        };
        let original = number(rest, 12).map_or(0, |length| length as usize).min(LONGEST);
        let mut bytes = frame.to_vec();
        bytes.resize(original.max(length), 0);
        frames.push(Frame { bytes, captured: length });
        rest = rest.get(RECORD + length..).unwrap_or_default();
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use firewall_common::packet::Packet;
    use firewall_common::parse;
    use firewall_common::policy::Context;

    use super::*;

    fn capture(magic: u32, order: impl Fn(u32) -> [u8; 4], frames: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [magic, 0, 0, 0, 0xffff, ETHERNET] {
            file.extend(order(word));
        }
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap();
            for word in [0, 0, length, length] {
                file.extend(order(word));
            }
            file.extend_from_slice(frame);
        }
        file
    }

    #[test]
    fn both_byte_orders_are_read() {
        let wanted: [&[u8]; 2] = [&[1; 60], &[2; 14]];
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
            let little = capture(magic, u32::to_le_bytes, &wanted);
            let big = capture(magic, u32::to_be_bytes, &wanted);
            for file in [little, big] {
                let found = frames(&file).unwrap();
                assert!(found.iter().map(|frame| &frame.bytes).eq(&wanted));
            }
        }
    }

    /// TCP with 1,000 bytes of data, captured with a snap length of 96 bytes.
    #[test]
    fn a_frame_that_was_captured_short_is_not_malformed() {
        let mut frame = [0x02; 12].to_vec();
        frame.extend([0x08, 0x00, 0x45, 0, 0x04, 0x10, 0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend([192, 0, 2, 1, 192, 0, 2, 2, 0xc3, 0x50, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1]);
        frame.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        frame.resize(96, b'x');
        let mut file = capture(0xa1b2_c3d4, u32::to_le_bytes, &[&frame]);
        file[HEADER + 12..HEADER + 16].copy_from_slice(&1054_u32.to_le_bytes());
        let found = frames(&file).unwrap();
        assert_eq!((found[0].bytes.len(), found[0].captured), (1054, 96));
        assert_eq!(found[0].bytes[..96], frame);
        let mut packet = Packet::EMPTY;
        parse::parse(&found[0].bytes.as_slice(), Context::UNTAGGED, &mut packet).unwrap();
        assert_eq!((packet.protocol, packet.destination_port), (6, 80));
        // What says that it is longer than frames are is not believed.
        file[HEADER + 12..HEADER + 16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(frames(&file).unwrap()[0].bytes.len(), LONGEST);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let file = capture(0xa1b2_c3d4, u32::to_le_bytes, &[&[1; 60]]);
        for cut in 0..file.len() {
            let outcome = frames(&file[..cut]);
            assert!(outcome.is_err() || cut == HEADER, "{cut}");
        }
        assert!(frames(&[0x0a; 40]).is_err());
    }
}
