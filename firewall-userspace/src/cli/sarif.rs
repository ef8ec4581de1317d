//! Diagnostics as SARIF 2.1.0, which code scanners read.

use firewall_policy::codes::Severity;
use firewall_policy::diagnostic::{Diagnostic, Label};
use serde_json::{Value, json};

/// A log of one run.
pub(super) fn log(diagnostics: &[Diagnostic]) -> Value {
    let results: Vec<Value> = diagnostics.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "firewall",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules(diagnostics),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rules(diagnostics: &[Diagnostic]) -> Vec<Value> {
    let mut codes: Vec<_> = diagnostics.iter().map(|one| one.code).collect();
    codes.sort_by_key(|code| code.id());
    codes.dedup();
    let rule = |code: firewall_policy::codes::Code| {
        json!({
            "id": code.id(),
            "shortDescription": { "text": code.title() },
            "fullDescription": { "text": code.explanation() },
        })
    };
    codes.into_iter().map(rule).collect()
}

fn result(one: &Diagnostic) -> Value {
    let level = match one.code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut text = vec![one.message.clone()];
    text.extend(one.notes.iter().cloned());
    text.extend(one.help.iter().map(|help| format!("help: {help}")));
    let (first, others) = match one.labels.split_first() {
        Some((first, others)) => (vec![location(first)], others),
        None => (Vec::new(), &[][..]),
    };
    json!({
        "ruleId": one.code.id(),
        "level": level,
        "message": { "text": text.join("\n") },
        "locations": first,
        "relatedLocations": others.iter().map(location).collect::<Vec<_>>(),
    })
}

fn location(label: &Label) -> Value {
    let span = &label.span;
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": span.source.name },
            "region": { "startLine": span.line(), "startColumn": span.column() },
        },
        "message": { "text": label.text },
    })
}

#[cfg(test)]
mod tests {
    use firewall_policy::codes::Code;

    use super::*;

    #[test]
    fn each_code_is_described_once() {
        let one = || Diagnostic::new(Code::NoSuchFile, "gone");
        let log = log(&[one(), one()]);
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), 2);
        assert_eq!(log["runs"][0]["results"][0]["level"], "error");
    }
}
