//! What a rule does with what it matches.

use super::super::program::{Line, Verdict};
use super::super::words::{Word, WordLine};
use super::rule::{Done, Options, Rule};
use super::{File, NAT};

/// Targets that let the next rule be asked, and only tell somebody.
const TELLING: [&str; 6] = ["LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "LED"];
/// Targets that let the next rule be asked, and change something.
const CHANGING: [&str; 22] = [
    "MARK",
    "CONNMARK",
    "SECMARK",
    "CONNSECMARK",
    "CLASSIFY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TOS",
    "DSCP",
    "TTL",
    "HL",
    "ECN",
    "CHECKSUM",
    "SET",
    "IDLETIMER",
    "RATEEST",
    "TEE",
    "CT",
    "HMARK",
    "SYNPROXY-",
    "ACCOUNT",
    "DNPT",
];
/// Targets that make another packet of it.
const REWRITING: [&str; 9] =
    ["DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "SAME", "NOTRACK", "TPROXY", "CLUSTERIP"];

impl File<'_> {
    /// The rule as a line of its chain.
    pub(super) fn finished(&mut self, line: &WordLine<'_>, rule: Rule) -> Line {
        let text = shown(line.text);
        let remarks = &mut self.program.remarks;
        let at = (line.place(), text, rule.comment);
        let target = rule.target.unwrap_or_default();
        let mut parsed = rule.matching.line(rule.verdict, at, remarks);
        let place = parsed.place.clone();
        match target.as_str() {
            "REJECT" => remarks.note(REJECT, Some(&place)),
            name if TELLING.contains(&name) => {
                parsed.loss = None;
                remarks.note(LOG, Some(&place));
            }
            "CT" | "NOTRACK" if rule.no_track => {
                parsed.loss = Some("packets are not tracked: not carried".to_owned());
            }
            name if REWRITING.contains(&name) => parsed.loss = Some(NAT.to_owned()),
            name if CHANGING.contains(&name) => {
                parsed.loss =
                    Some(format!("{name}: not carried; nothing is marked or changed here"));
            }
            _ => {}
        }
        parsed
    }

    /// `-j` and `-g`.
    pub(super) fn target<'w>(
        &self,
        table: &str,
        rule: &mut Rule,
        options: &mut Options<'_, 'w>,
        option: &'w Word,
    ) -> Done<bool> {
        let is_goto = match option.text.as_str() {
            "-j" | "--jump" => false,
            "-g" | "--goto" => true,
            _ => return Ok(false),
        };
        let word = options.value(option)?;
        let name = word.text.as_str();
        rule.target = Some(name.to_owned());
        rule.verdict = match name {
            "ACCEPT" => Verdict::Accept,
            "DROP" | "REJECT" => Verdict::Drop,
            "RETURN" => Verdict::Return,
            _ => match self.known(table, name) {
                Some(chain) if is_goto => Verdict::Goto(chain),
                Some(chain) => Verdict::Jump(chain),
                None if TELLING.contains(&name) || CHANGING.contains(&name) => Verdict::Continue,
                None if REWRITING.contains(&name) => Verdict::Rewrite,
                None if name.bytes().any(|byte| byte.is_ascii_lowercase()) || is_goto => {
                    let label = format!("no chain of table {table} has this name");
                    return Err(options.wrong(word, &label));
                }
                None => {
                    rule.matching.unknown(format!("the target {name}"));
                    Verdict::Drop
                }
            },
        };
        Ok(true)
    }
}

/// The line without the counters in front.
fn shown(text: &str) -> String {
    match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, rest)) => rest.to_owned(),
        None => text.to_owned(),
    }
}

/// What becomes of a rejection.
pub(in crate::import) const REJECT: &str =
    "rejections become drops: the other end sees no answer instead of a refusal";
/// What becomes of logging.
pub(in crate::import) const LOG: &str =
    "logging is not a rule here: drops raise events by themselves (`firewall events`)";
