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
    /// As it was captured.
    pub bytes: Vec<u8>,
    /// Bytes that were captured.
    pub captured: usize,
}

/// The Ethernet frames of a capture.
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
        frames.push(Frame { bytes: frame.to_vec(), captured: length });
        rest = rest.get(RECORD + length..).unwrap_or_default();
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
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
