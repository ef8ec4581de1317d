//! Words to values: addresses, ports, rates, dates, names.
//!
//! Parsers are pure: text in, value or [`Fault`] out. A fault names the bytes
//! at fault within the text, so that the caret stands under exactly those.

pub(crate) mod address;
pub(crate) mod amount;
pub(crate) mod date;
pub(crate) mod flags;
pub(crate) mod icmp;
pub(crate) mod ip_proto;
pub(crate) mod name;
pub(crate) mod port;

use std::ops::Range;

use crate::codes::Code;

/// Why a text is not a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    /// Bytes at fault, within the text.
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    /// A fault of the whole text.
    pub(crate) fn new(code: Code, text: &str, message: impl Into<String>) -> Self {
        Self { code, at: 0..text.len(), message: message.into(), label: String::new(), help: None }
    }

    /// Narrows the fault to some bytes of the text.
    pub(crate) fn at(mut self, at: Range<usize>) -> Self {
        self.at = at;
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Whether the text is one or more ASCII digits.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_an_address_is_read_exactly() {
        let size = |text| {
            let set = address::parse(text).unwrap();
            let v4: u64 = set.v4.ranges().iter().map(|&(a, b)| u64::from(b - a) + 1).sum();
            let v6: u128 = set.v6.ranges().iter().map(|&(a, b)| b - a + 1).sum();
            (v4, v6)
        };
        assert_eq!(size("10.0.0.1"), (1, 0));
        assert_eq!(size("10.0.0.0/24"), (256, 0));
        assert_eq!(size("10.0.0.1/32"), (1, 0));
        assert_eq!(size("0.0.0.0/0"), (1 << 32, 0));
        assert_eq!(size("10.0.0.1-10.0.0.9"), (9, 0));
        assert_eq!(size("fd00::/120"), (0, 256));
        assert_eq!(size("fd00::1-fd00::1"), (0, 1));
        assert_eq!(size("::"), (0, 1));
    }

    #[test]
    fn units_count() {
        let rate = |text| amount::rate(text).map(|rate| (rate.count, rate.per, rate.bytes)).ok();
        assert_eq!(rate("50/s"), Some((50, 1, false)));
        assert_eq!(rate("10/min"), Some((10, 60, false)));
        assert_eq!(rate("2MB/h"), Some((2_000_000, 3600, true)));
        assert_eq!(rate("99999999999999999999/s"), None);
        assert_eq!(amount::duration("30d").ok(), Some(2_592_000));
        assert_eq!(amount::size("64MiB").ok(), Some(64 << 20));
        assert_eq!(amount::size("64MB").ok(), Some(64_000_000));
    }

    #[test]
    fn a_fault_names_bytes_of_the_text() {
        let texts = [
            "",
            "-",
            "/",
            "%",
            "10.0.0.300",
            "10.0.0.1-",
            "-10.0.0.1",
            "fe80::1%",
            "1.2.3.4/",
            "\u{e9}",
            "0x",
            "80-",
            "-80",
            "8-\u{e9}",
            "ban ",
            "/s",
            "5/\u{e9}",
            "2026-1-1",
            "!",
            "a\u{430}",
            "x:",
        ];
        for text in texts {
            let faults = [
                address::parse(text).err(),
                port::parse(text).err(),
                amount::rate(text).err(),
                amount::duration(text).err(),
                amount::size(text).err(),
                amount::percent(text).err(),
                date::parse(text).err(),
                flags::parse(text).err(),
                name::parse(text, true).err(),
                icmp::parse(text, icmp::V4, icmp::V6).err(),
            ];
            for fault in faults.into_iter().flatten() {
                assert!(text.get(fault.at.clone()).is_some(), "{text}: {fault:?}");
            }
        }
    }
}
