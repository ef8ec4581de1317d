//! TCP flags: `syn` must be set, `!ack` must be clear, others do not matter.

use super::Fault;
use crate::codes::Code;
use crate::ir::TcpFlags;
use crate::suggest;

/// RFC 9293 section 3.1, from the lowest bit.
const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// One flag, as a condition on one bit.
pub(crate) fn parse(text: &str) -> Result<TcpFlags, Fault> {
    let (name, is_set) = match text.strip_prefix('!') {
        Some(name) => (name, false),
        None => (text, true),
    };
    let fault = || Fault::new(Code::TcpFlag, text, format!("`{text}` is not a TCP flag"));
    match NAMES.iter().position(|flag| *flag == name) {
        Some(bit) => Ok(TcpFlags { mask: 1 << bit, value: u8::from(is_set) << bit }),
        None => Err(match suggest::nearest(name, NAMES) {
            Some(flag) => fault().label(format!("did you mean `{flag}`?")),
            None => fault().label("fin, syn, rst, psh, ack, urg, ece or cwr is wanted"),
        }),
    }
}
