//! Names of roles, rules, groups, lists, services and series.

use super::Fault;
use crate::codes::Code;

/// Longest name, bytes: it must fit metrics labels and table columns.
pub(crate) const MAX_LENGTH: usize = 48;

const POSSIBLE: &str = "only a-z, 0-9 and - are used in names";

/// A name: `[a-z0-9-]{1,48}`, of which `plain` (unquoted) ones must mean the
/// same to every YAML reader.
pub(crate) fn parse(text: &str, plain: bool) -> Result<String, Fault> {
    let fault = || Fault::new(Code::Name, text, format!("`{text}` is not a name"));
    if let Some((start, c)) = text.char_indices().find(|&(_, c)| !is_name_char(c)) {
        let at = start..start + c.len_utf8();
        return Err(match c {
            '\u{201c}'..='\u{201f}' | '\u{2018}'..='\u{201b}' => {
                unlike(text, c).at(at).help("YAML knows straight quotes only: \" and '")
            }
            _ if !c.is_ascii() => unlike(text, c).at(at),
            'A'..='Z' | '_' | ' ' => fault().at(at).label(POSSIBLE).help(proposal(text)),
            ':' if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') => {
                fault().label("a time, or a number of base 60, to other YAML tools")
            }
            ':' => fault()
                .label("an address cannot be a name")
                .help("give it a name: `my-hosts: [\"fd00::1\"]`"),
            _ => fault().at(at).label(POSSIBLE),
        });
    }
    if text.is_empty() {
        let fault = Fault::new(Code::Name, text, "a name is missing");
        return Err(fault.label("a name has 1 to 48 characters"));
    }
    if text.len() > MAX_LENGTH {
        let label = format!("{} characters; at most {MAX_LENGTH} are possible", text.len());
        return Err(Fault::new(Code::Name, text, "the name is too long").label(label));
    }
    if plain && let Some(other) = other_reading(text) {
        return Err(Fault::new(Code::QuoteIt, text, format!("`{text}` must be quoted"))
            .label(format!("without quotes YAML readers make {other} of it"))
            .help(format!("\"{text}\"")));
    }
    Ok(text.to_owned())
}

fn is_name_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '-')
}

/// The nearest name to a text that is none.
fn proposal(text: &str) -> String {
    text.to_ascii_lowercase().replace(['_', ' '], "-")
}

fn unlike(text: &str, c: char) -> Fault {
    let message = format!("`{text}` is not a name");
    let number = u32::from(c);
    let fault = Fault::new(Code::LookAlike, text, message);
    match look_alike(c) {
        Some(ascii) => {
            let fixed: String = text.chars().map(|c| look_alike(c).unwrap_or(c)).collect();
            fault.label(format!("U+{number:04X}, which only looks like `{ascii}`")).help(fixed)
        }
        None => fault.label(format!("U+{number:04X}; only a-z, 0-9 and - are used in names")),
    }
}

/// The ASCII character that another script's letter is drawn like: the
/// lower-case part of the `confusables.txt` of Unicode Technical Standard 39
/// that a keyboard can produce.
fn look_alike(c: char) -> Option<char> {
    Some(match c {
        'а' | 'α' => 'a',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ҽ' => 'e',
        'һ' => 'h',
        'і' | 'ι' | 'ı' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'ӏ' => 'l',
        'ո' => 'n',
        'о' | 'ο' | 'օ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ѡ' | 'ԝ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' => '-',
        // Full-width forms stand this far from ASCII.
        'ａ'..='ｚ' | '０'..='９' => char::from_u32(u32::from(c) - 0xfee0)?,
        _ => return None,
    })
}

/// What a YAML 1.1 or 1.2 reader makes of a plain word that is not a string.
pub(crate) fn other_reading(text: &str) -> Option<&'static str> {
    const LONGEST_WORD: usize = 5;
    let is_number_like = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if !is_number_like && text.len() > LONGEST_WORD {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" => Some("true or false"),
        "null" | "~" | "" => Some("nothing"),
        _ if !is_number_like => None,
        number if is_number(number) => Some("a number"),
        date if super::date::parse(date).is_ok() => Some("a date"),
        _ => None,
    }
}

/// The number forms of YAML 1.1 that consist of name characters.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_hex = |hex: &str| !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_digit_first = digits.starts_with(|c: char| c.is_ascii_digit());
    has_digit_first && digits.parse::<f64>().is_ok()
        || digits.strip_prefix("0x").is_some_and(is_hex)
        || digits
            .strip_prefix("0o")
            .is_some_and(|octal| !octal.is_empty() && super::is_digits(octal))
}
