//! Statements in the words of nft, as far as they are short.

use serde_json::Value;

/// A rule in words.
pub(super) fn words(statements: &[Value]) -> String {
    let all: Vec<String> =
        statements.iter().map(statement).filter(|text| !text.is_empty()).collect();
    all.join(" ")
}

fn statement(value: &Value) -> String {
    let Some((kind, inner)) = value.as_object().and_then(|map| map.iter().next()) else {
        return value.to_string();
    };
    match kind.as_str() {
        "match" => {
            let op = match inner.get("op").and_then(Value::as_str) {
                None | Some("==" | "in") => String::new(),
                Some(op) => format!("{op} "),
            };
            let side = |name: &str| inner.get(name).map(expression).unwrap_or_default();
            format!("{} {op}{}", side("left"), side("right"))
        }
        "vmap" => {
            let part = |name: &str| inner.get(name).map(expression).unwrap_or_default();
            format!("{} vmap {}", part("key"), part("data"))
        }
        "jump" | "goto" => {
            format!("{kind} {}", inner.get("target").and_then(Value::as_str).unwrap_or_default())
        }
        "counter" => String::new(),
        kind => kind.to_owned(),
    }
}

fn expression(value: &Value) -> String {
    let list =
        |all: &[Value], with: &str| all.iter().map(expression).collect::<Vec<_>>().join(with);
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => list(all, " : "),
        Value::Object(map) => {
            let Some((kind, inner)) = map.iter().next() else { return String::new() };
            let word = |key: &str| inner.get(key).map(expression).unwrap_or_default();
            match (kind.as_str(), inner) {
                ("payload", _) => format!("{} {}", word("protocol"), word("field")),
                ("meta" | "ct", _) => format!("{kind} {}", word("key")),
                ("fib", _) => format!("fib {} {}", word("flags"), word("result")),
                ("prefix", _) => format!("{}/{}", word("addr"), word("len")),
                ("elem", _) => word("val"),
                ("range", Value::Array(all)) => list(all, "-"),
                ("concat", Value::Array(all)) => list(all, " . "),
                ("set", Value::Array(all)) => format!("{{ {} }}", list(all, ", ")),
                ("accept" | "drop" | "return" | "continue", _) => kind.clone(),
                ("jump" | "goto", _) => format!("{kind} {}", word("target")),
                (op, Value::Array(all)) => list(all, &format!(" {op} ")),
                _ => kind.clone(),
            }
        }
        other => other.to_string(),
    }
}
