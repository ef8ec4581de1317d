//! Ports and ranges of ports.

use super::{Fault, is_digits};
use crate::codes::Code;

/// `80` or `8000-9000`, as the first and the last port.
pub(crate) fn parse(text: &str) -> Result<(u16, u16), Fault> {
    match text.split_once('-') {
        Some((first, last)) if !first.is_empty() && !text.contains(' ') => range(text, first, last),
        _ => one(text).map(|port| (port, port)),
    }
}

fn range(text: &str, first: &str, last: &str) -> Result<(u16, u16), Fault> {
    if last.is_empty() {
        return Err(Fault::new(Code::Port, text, format!("`{text}` is not a port range"))
            .label("the last port is missing")
            .help(format!("\"{first}-65535\"   or another last port")));
    }
    let low = one(first)?;
    let shift = first.len() + 1;
    let high = one(last).map_err(|mut fault| {
        fault.at = fault.at.start + shift..fault.at.end + shift;
        fault
    })?;
    if low > high {
        return Err(Fault::new(Code::PortRange, text, format!("port range {text} runs backwards"))
            .label("the first port is above the last")
            .help(format!("\"{last}-{first}\"")));
    }
    Ok((low, high))
}

/// One port.
pub(crate) fn one(text: &str) -> Result<u16, Fault> {
    let fault =
        |label: &str| Fault::new(Code::Port, text, format!("`{text}` is not a port")).label(label);
    if !is_digits(text) {
        return Err(match text {
            _ if text.starts_with("0x") => fault("ports are written in decimal"),
            _ if text.starts_with('-') && is_digits(&text[1..]) => out_of_range(text),
            _ if text.contains(':') => fault("YAML 1.1 would read this as a number of base 60")
                .help(match range_of(text) {
                    Some(range) => format!("\"{range}\"   if the ports between are meant"),
                    None => "write one port".into(),
                }),
            _ if text.contains('.') => fault("ports are whole numbers"),
            _ if text.contains(',') => fault("a list of ports is written [80, 443]"),
            "any" | "all" | "*" => fault("every port is a range, too").help("\"1-65535\""),
            _ => match (range_of(text), text.split_once('/')) {
                (Some(range), _) => {
                    fault("a range has a plain `-` and no spaces").help(format!("\"{range}\""))
                }
                (None, Some((port, "tcp" | "udp" | "sctp"))) if one(port).is_ok() => {
                    fault("the protocol is the key, and not written again").help(port)
                }
                _ => fault("a number from 1 to 65535 is wanted"),
            },
        });
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(fault("YAML 1.1 would read this as an octal number")
            .help("write it without leading zeros"));
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(out_of_range(text)),
        Ok(port) => Ok(port),
    }
}

/// The range that was meant by two ports with something else between them.
fn range_of(text: &str) -> Option<String> {
    let is_dash = |c: char| matches!(c, ':' | '-' | ' ' | '\u{2010}'..='\u{2015}');
    let (first, rest) = text.split_once(is_dash)?;
    let last = rest.trim_start_matches(is_dash);
    let (low, high) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    (0 < low && low < high).then(|| format!("{low}-{high}"))
}

fn out_of_range(text: &str) -> Fault {
    let fault =
        Fault::new(Code::PortNumber, text, format!("port {text} is out of range (1-65535)"));
    match slip(text) {
        Some(port) => fault.label(format!("did you mean {port}?")),
        None if text == "0" => fault.label("port 0 is never used on the wire"),
        None if text.starts_with('-') => fault.label("a port is not negative"),
        None => fault.label("the highest port is 65535"),
    }
}

/// The port that was meant if a key was held down too long: one less of three or
/// more equal digits.
fn slip(text: &str) -> Option<u16> {
    let digits = text.as_bytes();
    let run = digits.windows(3).position(|three| three[0] == three[1] && three[1] == three[2])?;
    format!("{}{}", &text[..run], &text[run + 1..]).parse().ok()
}
