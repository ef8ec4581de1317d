use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::diagnostic::Sink;
use crate::read::Networks;
use crate::value::address;

/// A tree with every place in it; a group of many addresses as it is read quickly.
fn shown(node: &Node<'_>, path: &[&str], out: &mut String) {
    use std::fmt::Write as _;
    let _ = write!(out, "{}-{} ", node.span.start, node.span.end);
    let networks = if matches!(path, ["groups", _]) { networks(node) } else { None };
    if let Some(Networks { ranges, first }) = networks {
        let _ = write!(out, "networks {ranges:?} {}-{}", first.start, first.end);
        return;
    }
    match &node.value {
        Value::Networks(_) => panic!("networks in {path:?}"),
        Value::Empty => out.push_str("empty"),
        Value::Scalar(scalar) => write!(out, "{:?} {}", scalar.text, scalar.plain).unwrap(),
        Value::List(items) => {
            out.push('[');
            for item in items {
                shown(item, &[path, &["-"]].concat(), out);
                out.push_str(", ");
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for Entry { key, key_span, value } in entries {
                let Span { start, end, .. } = key_span;
                let _ = write!(out, "{start}-{end} {:?} {}: ", key.text, key.plain);
                shown(value, &[path, &[&*key.text]].concat(), out);
                out.push_str(", ");
            }
            out.push('}');
        }
    }
}

/// What a list of such addresses is, whichever way it was read.
fn networks(node: &Node<'_>) -> Option<Networks> {
    let items = match &node.value {
        Value::Networks(networks) => return Some((**networks).clone()),
        Value::List(items) if !items.is_empty() => items,
        _ => return None,
    };
    let range = |item: &Node<'_>| match &item.value {
        Value::Scalar(word) => address::plain_v4(&word.text).filter(|range| range.0 != 0),
        _ => None,
    };
    let ranges = items.iter().map(range).collect::<Option<Vec<_>>>()?;
    Some(Networks { ranges, first: items[0].span.clone() })
}

/// Whether the text was read quickly; the other reader must agree then.
fn agrees(written: &str) -> bool {
    let source = Arc::new(Source { name: "test".into(), text: written.into() });
    let Some(quick) = parse(&source) else { return false };
    let mut sink = Sink::default();
    let tree = super::super::parse_any(&source, &mut sink);
    let ((), found) = sink.finish(Some(())).unwrap_or_else(|report| panic!("{written}\n{report}"));
    assert!(found.is_empty(), "{written}");
    let (mut one, mut other) = (String::new(), String::new());
    shown(&quick, &[], &mut one);
    shown(&tree.unwrap(), &[], &mut other);
    assert_eq!(one, other, "{written}");
    true
}

#[test]
fn files_are_read_quickly_and_the_same() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = ["tests/site", "tests/site/rules", "../rules", "tests/bad"];
    let (mut quick, mut all) = (0, 0);
    for directory in directories {
        for file in fs::read_dir(here.join(directory)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let Ok(text) = fs::read_to_string(&path) else { continue };
                all += 1;
                quick += usize::from(agrees(&text));
            }
        }
    }
    assert!(quick * 2 > all, "{quick} of {all}");
}

#[test]
fn what_generators_write_is_read_quickly() {
    assert!(agrees(
        "# made by a program\nversion: 1\nkind: site # shared\ncommon:\n  ingress:\n    allow:\n\
         \x20     - { name: r0, from: 10.0.0.0/24, service: [p1000, \"p2\"] }\n\n\
         \x20     - name: r1\n        from: 'fd00::/8'\n        service: http\n\
         groups:\n  admins:\n  - 10.0.0.1\n  - fd00::1\n  empty: []\n  many:\n    - 10.0.0.1\n    - 10.2.0.0/16\n"
    ));
}

#[test]
fn a_group_of_addresses_has_no_node_for_each() {
    let text = "groups:\n  many:\n    - 10.0.0.1\n    - 10.2.0.0/16\n";
    let source = Arc::new(Source { name: "test".into(), text: text.into() });
    let root = parse(&source).unwrap();
    let Value::Map(groups) = &root.value else { panic!("{root:?}") };
    let Value::Map(many) = &groups[0].value.value else { panic!("{root:?}") };
    assert!(matches!(&many[0].value.value, Value::Networks(all) if all.ranges.len() == 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_read_quickly_is_read_the_same(
        pieces in vec(
            select(vec![
                "a", "b1", "name", "null", "~", "-", "- ", "  ", " ", "\n", "\n  ", "\n    ",
                "\n- ", "\n  - ", ":", ": ", "a: ", "b: ", "[", "]", "{", "}", ", ", ",", "\"",
                "'", "#", " # c", "fd00::1", "1.2.3.0/24", "x y", "\\", "|", ">", "&", "*",
                "!", "%", "@", "`", "?", "? ", "---", "...", "\u{e9}", "\t", "\r\n", "{ a: b }",
                "[a, b]", "groups:\n  a:\n    - 10.0.0.1", "\n    - 10.0.0.0/24", "\"q\"", "'q'", "=", "$", "(", ")", "<", "/", ".", "_", "a:b", "k:\n",
            ]),
            0..14,
        ),
    ) {
        agrees(&pieces.concat());
    }

    #[test]
    fn a_slip_in_a_file_changes_nothing(at in 0_usize..480, with in "[ -~\n]{0,2}", cut in 0_usize..3) {
        let text = "version: 1\nrole: web\ninclude: [site.yaml]\nservices:\n  http: { tcp: 80 }\n\
            ingress:\n  deny:\n    - { name: a, from: [10.0.0.0/8, \"fd00::/8\"], service: all }\n\
            \x20 allow:\n    - name: web\n      from: any\n      service: http\n\
            \x20     reason: all of it, for 'all'  # yes\n    - { name: x, from: y, service: z }\n\
            groups:\n  a:\n    - 10.0.0.1\n    - 10.2.0.0/16\n  b:\n  - 10.0.0.9\n\
            rates:\n- name: qps\n  rule: web\n  unit: packets\ntests: []\n";
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        agrees(&format!("{}{with}{}", &text[..at], &text[end..]));
    }
}
