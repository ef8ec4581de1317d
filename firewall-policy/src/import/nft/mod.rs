//! What `nft -j list ruleset` prints (libnftables-json(5)).

mod keys;
mod rule;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::matching::Matching;
use super::program::{Base, Chain, Place, Program, Verdict};
use super::space::interface;
use super::{iptables, iptables::FORWARD, iptables::NAT};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::ir::{Action, Direction};
use crate::set::AddrSet;
use crate::source::{Source, Span};

type Done<T> = Result<T, Box<Diagnostic>>;

#[derive(serde::Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    nftables: Vec<&'a RawValue>,
}

/// An object of the list, and where it stands.
struct Object<'s> {
    source: &'s Arc<Source>,
    start: usize,
    end: usize,
    place: Place,
    kind: String,
    value: Value,
}

impl Object<'_> {
    fn word(&self, key: &str) -> Option<&str> {
        self.value.get(key)?.as_str()
    }

    fn wrong(&self, message: &str) -> Box<Diagnostic> {
        let span = Span { source: self.source.clone(), start: self.start, end: self.end };
        let place = self.place.object.clone().unwrap_or_default();
        Box::new(Diagnostic::new(Code::Import, message).at(&span, place))
    }

    /// A key that every object of its kind has.
    fn required(&self, key: &str) -> Done<String> {
        let word = self.word(key).map(str::to_owned);
        word.ok_or_else(|| self.wrong(&format!("a {} without `{key}`", self.kind)))
    }
}

/// Family, table and name of a chain, a set or a map.
type Name = (String, String, String);

/// A ruleset that is being read.
struct Ruleset {
    program: Program,
    chains: HashMap<Name, usize>,
    /// Elements of sets and maps.
    sets: HashMap<Name, Vec<Value>>,
    without_limits: bool,
}

/// Reads rulesets.
pub(super) fn read(sources: &[Arc<Source>], without_limits: bool) -> Done<Program> {
    let mut program = Program::default();
    for source in sources {
        program.append(one(source, without_limits)?);
    }
    Ok(program)
}

fn one(source: &Arc<Source>, without_limits: bool) -> Done<Program> {
    let objects = objects(source)?;
    let mut ruleset = Ruleset {
        program: Program::default(),
        chains: HashMap::new(),
        sets: HashMap::new(),
        without_limits,
    };
    let dormant: Vec<(String, String)> = objects.iter().filter_map(dormant).collect();
    let is_awake = |object: &&Object<'_>| {
        let table = (object.word("family"), object.word("table"));
        !dormant.iter().any(|(family, name)| table == (Some(family), Some(name)))
    };
    for object in objects.iter().filter(is_awake) {
        match object.kind.as_str() {
            "chain" => ruleset.chain(object)?,
            "set" | "map" => ruleset.set(object)?,
            _ => {}
        }
    }
    for object in objects.iter().filter(is_awake) {
        match object.kind.as_str() {
            "rule" => ruleset.rule(object)?,
            "metainfo" | "table" | "chain" | "set" | "map" | "counter" | "quota" | "limit"
            | "ct helper" | "ct timeout" | "ct expectation" | "secmark" | "synproxy"
            | "flowtable" | "element" => {}
            other => {
                return Err(object.wrong(&format!("`{other}` is nothing that nft lists")));
            }
        }
    }
    for (family, name) in dormant {
        ruleset
            .program
            .remarks
            .note(format!("table {family} {name} is dormant: not imported"), None);
    }
    Ok(ruleset.program)
}

fn dormant(object: &Object<'_>) -> Option<(String, String)> {
    let flags = object.value.get("flags")?;
    let is_dormant = |flag: &Value| flag.as_str() == Some("dormant");
    let asleep =
        is_dormant(flags) || flags.as_array().is_some_and(|all| all.iter().any(is_dormant));
    (object.kind == "table" && asleep)
        .then(|| Some((object.word("family")?.to_owned(), object.word("name")?.to_owned())))?
}

/// The objects of the list, each with its place.
fn objects(source: &Arc<Source>) -> Done<Vec<Object<'_>>> {
    let text = &source.text;
    let document: Document<'_> = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => return Err(no_json(source, &error)),
    };
    let mut objects = Vec::with_capacity(document.nftables.len());
    let (mut line, mut line_start, mut seen) = (1, 0, 0);
    for raw in document.nftables {
        let start = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        line += text[seen..start].matches('\n').count();
        line_start = text[seen..start].rfind('\n').map_or(line_start, |at| seen + at + 1);
        seen = start;
        let end = start + raw.get().len();
        let span = Span { source: source.clone(), start, end };
        let wrong = |label: String| {
            Box::new(Diagnostic::new(Code::Import, "this is not what nft lists").at(&span, label))
        };
        let value: Value =
            serde_json::from_str(raw.get()).map_err(|error| wrong(error.to_string()))?;
        let Value::Object(map) = value else {
            return Err(wrong("an object with one key is wanted".to_owned()));
        };
        let Some((kind, value)) = map.into_iter().next() else {
            return Err(wrong("an object with one key is wanted".to_owned()));
        };
        let column = text[line_start..start].chars().count() + 1;
        let place =
            Place { file: source.name.clone(), line, column, object: Some(called(&kind, &value)) };
        objects.push(Object { source, start, end, place, kind, value });
    }
    Ok(objects)
}

/// `inet filter input handle 7`.
fn called(kind: &str, value: &Value) -> String {
    let word = |key: &str| value.get(key).and_then(Value::as_str);
    let chain = if kind == "rule" { word("chain") } else { word("name") };
    let words: Vec<&str> = [word("family"), word("table"), chain].into_iter().flatten().collect();
    match value.get("handle").and_then(Value::as_u64) {
        Some(handle) => format!("{} handle {handle}", words.join(" ")),
        None => words.join(" "),
    }
}

/// Why a file is no list in JSON, and what to run instead.
fn no_json(source: &Arc<Source>, error: &serde_json::Error) -> Box<Diagnostic> {
    const HELP: &str = "nft -j list ruleset >ruleset.json   prints what can be imported";
    let text = source.text.trim_start();
    let is_text = text.starts_with('#')
        || ["table ", "flush ", "add ", "define ", "include "]
            .iter()
            .any(|word| text.starts_with(word));
    let starts = source.text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some(start)
    });
    let line_start = starts.take(error.line().max(1)).last().unwrap_or(0);
    let mut start = (line_start + error.column().saturating_sub(1)).min(source.text.len());
    if error.is_eof() {
        start = source.text.trim_end().len().saturating_sub(1);
    }
    while !source.text.is_char_boundary(start) {
        start -= 1;
    }
    let (message, start, label) = if is_text {
        (
            "this is the text form of nft, which is not read",
            source.text.len() - text.len(),
            "JSON is wanted".to_owned(),
        )
    } else {
        ("this is not what `nft -j list ruleset` prints", start, error.to_string())
    };
    let end = source.text[start..].chars().next().map_or(start, |c| start + c.len_utf8());
    let span = Span { source: source.clone(), start, end };
    Box::new(Diagnostic::new(Code::Import, message).at(&span, label).help(HELP))
}

/// The addresses of a family by its name; `None` for what is not IP.
fn family(name: &str) -> Option<AddrSet> {
    match name {
        "ip" => Some(iptables::family(false)),
        "ip6" => Some(iptables::family(true)),
        "inet" | "netdev" => Some(AddrSet::any()),
        _ => None,
    }
}

impl Ruleset {
    fn chain(&mut self, object: &Object<'_>) -> Done<()> {
        let (family_name, table, name) =
            (object.required("family")?, object.required("table")?, object.required("name")?);
        let chain = self.program.chains.len();
        self.program.chains.push(Chain { name: name.clone(), lines: Vec::new() });
        self.chains.insert((family_name.clone(), table, name), chain);
        let Some(hook) = object.word("hook") else { return Ok(()) };
        let Some(families) = family(&family_name) else {
            let why = format!("family {family_name}: not carried; only IP is judged by rules here");
            self.program.aside.push((chain, why));
            return Ok(());
        };
        let policy = match object.word("policy") {
            Some("drop") => Action::Drop,
            _ => Action::Allow,
        };
        let kind = object.word("type").unwrap_or("filter");
        let direction = match (kind, hook) {
            (_, "forward") => {
                self.program.aside.push((chain, FORWARD.to_owned()));
                return Ok(());
            }
            ("nat", "output" | "postrouting") => {
                self.program.aside.push((chain, NAT.to_owned()));
                return Ok(());
            }
            (_, "prerouting" | "input" | "ingress") => Direction::Ingress,
            (_, "output" | "postrouting" | "egress") => Direction::Egress,
            _ => return Err(object.wrong(&format!("no hook is called `{hook}`"))),
        };
        let place = object.place.clone();
        let rewrites = kind == "nat";
        let mut base = Base { chain, direction, families, policy, place, rewrites };
        if matches!(hook, "ingress" | "egress") && object.value.get("dev").is_none() {
            let text = "nft does not list the device of this hook: it is taken for every interface";
            self.program.remarks.note(text, Some(&object.place));
        }
        if let Some(device) = object.value.get("dev") {
            self.on_devices(&mut base, device, object);
        }
        self.program.bases.push(base);
        Ok(())
    }

    /// A chain that packets of some devices enter only: one before it says so.
    fn on_devices(&mut self, base: &mut Base, devices: &Value, object: &Object<'_>) {
        let names = match devices {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().into_iter().collect::<Vec<_>>(),
        };
        let mut lines = Vec::new();
        for name in names {
            let mut matching = Matching::new(self.without_limits);
            let set = interface(name, '*');
            match base.direction {
                Direction::Ingress => matching.came_in_by(&set, false),
                Direction::Egress => matching.goes_out_by(&set, false),
            }
            let mut line = |verdict| {
                let at = (object.place.clone(), format!("hook of {name}"), None);
                matching.clone().line(verdict, at, &mut self.program.remarks)
            };
            lines.push(line(Verdict::Jump(base.chain)));
            if base.policy == Action::Drop {
                lines.push(line(Verdict::Drop));
            }
        }
        base.policy = Action::Allow;
        base.chain = self.program.chains.len();
        self.program.chains.push(Chain { name: "devices".to_owned(), lines });
    }

    fn set(&mut self, object: &Object<'_>) -> Done<()> {
        let name =
            (object.required("family")?, object.required("table")?, object.required("name")?);
        let elements =
            object.value.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
        self.sets.insert(name, elements);
        Ok(())
    }
}
