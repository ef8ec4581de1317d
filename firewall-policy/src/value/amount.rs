//! Rates, durations and sizes: numbers that are nothing without their unit.

use super::{Fault, is_digits};
use crate::codes::Code;

/// So many per so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Packets, connections or bytes.
    pub(crate) count: u64,
    /// Seconds.
    pub(crate) per: u64,
    /// Whether bytes are counted.
    pub(crate) bytes: bool,
}

/// `50/s`, `10/min`, `5/h`; with bytes `1MB/s`.
pub(crate) fn rate(text: &str) -> Result<Rate, Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Rate, text, format!("`{text}` is not a rate"))
            .label(label)
            .help("a rate is written 50/s, 10/min or 5/h; of bytes 64kB/s")
    };
    let Some((amount, unit)) = text.split_once('/') else {
        let is_number = text.starts_with(|c: char| c.is_ascii_digit());
        let missing = "per what? /s, /min or /h is missing";
        return Err(fault(if is_number { missing } else { "a number per time is wanted" }));
    };
    let at_unit = amount.len()..text.len();
    let per = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return Err(fault("the unit is /s, /min or /h").at(at_unit)),
    };
    let digits = amount.len() - amount.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = amount.split_at(digits);
    let (bytes, factor) = match unit {
        "" => (false, 1),
        "B" => (true, 1),
        "kB" => (true, 1_000),
        "MB" => (true, 1_000_000),
        _ if number.is_empty() => return Err(fault("a number is wanted").at(0..amount.len())),
        _ => return Err(fault("B, kB or MB, or nothing").at(digits..amount.len())),
    };
    let count = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match count {
        None => Err(fault("the number is missing or too large").at(0..amount.len())),
        Some(0) => Err(Fault::new(Code::Rate, text, format!("`{text}` would let nothing pass"))
            .label("a rate is at least 1")
            .help("the lowest rate is 1/h")),
        Some(count) => Ok(Rate { count, per, bytes }),
    }
}

/// `30s`, `10m`, `2h`, `30d`, in seconds.
pub(crate) fn duration(text: &str) -> Result<u64, Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Duration, text, format!("`{text}` is not a duration"))
            .label(label)
            .help("a duration is written 30s, 10m, 2h or 30d")
    };
    if is_digits(text) {
        return Err(fault("seconds, minutes, hours or days? s, m, h or d is missing"));
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(fault("a number and a unit are wanted"));
    }
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(fault("the unit is s, m, h or d").at(digits..text.len())),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match seconds {
        None => Err(fault("too long").at(0..digits)),
        Some(0) => Err(fault("a duration is at least 1").at(0..digits)),
        Some(seconds) => Ok(seconds),
    }
}

/// `512kB`, `64MB`, `1GB` (powers of 1000) or `64MiB` (powers of 1024), in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Size, text, format!("`{text}` is not a size"))
            .label(label)
            .help("a size is written 512kB, 64MB or 64MiB")
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(fault("a number and a unit are wanted"));
    }
    let factor = match unit {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => return Err(fault("bytes of what size? the unit is missing")),
        _ => return Err(fault("the unit is B, kB, MB, GB, KiB, MiB or GiB").at(digits..text.len())),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bytes {
        None => Err(fault("too large").at(0..digits)),
        Some(0) => Err(fault("a size is at least 1").at(0..digits)),
        Some(bytes) => Ok(bytes),
    }
}

/// `40%`, in per cent.
pub(crate) fn percent(text: &str) -> Result<u32, Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Percent, text, format!("`{text}` is not a share")).label(label).help("40%")
    };
    let Some(number) = text.strip_suffix('%') else { return Err(fault("`%` is missing")) };
    match number.parse() {
        Ok(0) | Err(_) => Err(fault("a whole number of per cent, at least 1, is wanted")),
        Ok(percent) => Ok(percent),
    }
}

/// A whole number from `least` to `most`, in decimal.
pub(crate) fn number(text: &str, least: u64, most: u64) -> Result<u64, Fault> {
    let fault = |label: String| {
        Fault::new(Code::Number, text, format!("`{text}` is not possible here")).label(label)
    };
    let wanted = || format!("a whole number from {least} to {most} is wanted");
    if !is_digits(text) || (text.len() > 1 && text.starts_with('0')) {
        return Err(fault(wanted()));
    }
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| fault(wanted()))
}
