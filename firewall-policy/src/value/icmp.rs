//! Names of ICMP types, as the IANA registries give them, in lower case.

use super::Fault;
use crate::codes::Code;
use crate::suggest;

/// ICMP, <https://www.iana.org/assignments/icmp-parameters>.
pub(crate) const V4: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];

/// ICMPv6, <https://www.iana.org/assignments/icmpv6-parameters>.
pub(crate) const V6: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-query", 130),
    ("mld-report", 131),
    ("mld-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbor-solicitation", 135),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("mld2-report", 143),
];

/// The name of a type of ICMP, or of ICMPv6.
#[must_use]
pub fn type_name(is_v6: bool, number: u8) -> Option<&'static str> {
    let names = if is_v6 { V6 } else { V4 };
    names.iter().find(|(_, other)| *other == number).map(|&(name, _)| name)
}

/// The number of a type of ICMP, or of ICMPv6, by name or number.
///
/// # Errors
/// If it is none; says what was meant.
pub fn type_number(is_v6: bool, text: &str) -> Result<u8, String> {
    let (names, others) = if is_v6 { (V6, V4) } else { (V4, V6) };
    parse(text, names, others).map_err(|fault| {
        let help = fault.help.map_or(String::new(), |help| format!(": {help}"));
        format!("{}; {}{help}", fault.message, fault.label)
    })
}

/// A type by name or number.
pub(crate) fn parse(
    text: &str,
    names: &'static [(&'static str, u8)],
    others: &'static [(&'static str, u8)],
) -> Result<u8, Fault> {
    if let Some(&(_, number)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(number);
    }
    if super::is_digits(text)
        && let Ok(number) = text.parse()
    {
        return Ok(number);
    }
    let (this, other) = if names == V4 { ("icmp", "icmpv6") } else { ("icmpv6", "icmp") };
    let fault = Fault::new(Code::IcmpType, text, format!("`{text}` is no type of {this}"));
    if others.iter().any(|(name, _)| *name == text) {
        return Err(fault.label(format!("a type of {other}")).help(format!("{other}: {text}")));
    }
    let fault = fault.label("a name or a number from 0 to 255 is wanted");
    if text == "ping" {
        return Err(fault.help("echo-request"));
    }
    Err(match suggest::nearest(text, names.iter().map(|(name, _)| *name)) {
        Some(name) => fault.help(format!("did you mean `{name}`?")),
        None => fault,
    })
}
