//! One rule: statements, sets, verdict maps.

use serde_json::Value;

use super::super::iptables::NAT;
use super::super::iptables::target::{LOG, REJECT};
use super::super::matching::{Limit, Matching, state};
use super::super::program::Verdict;
use super::super::space::{Boxed, Pool, Region};
use super::keys::{Key, flags, keys, ordered, states};
use super::words::words;
use super::{Done, Name, Object, Ruleset, family};

/// What a rule does, and what is lost of it.
struct Ending {
    verdict: Verdict,
    loss: Option<String>,
    note: Option<&'static str>,
    /// Verdicts by value, instead of one.
    map: Vec<(Verdict, Region, Region)>,
}

/// An element of a set or a map.
struct Element<'v> {
    key: &'v Value,
    verdict: Option<&'v Value>,
    ends: bool,
}

impl Ruleset {
    pub(super) fn rule(&mut self, object: &Object<'_>) -> Done<()> {
        let (family_name, table, chain) =
            (object.required("family")?, object.required("table")?, object.required("chain")?);
        let name = (family_name.clone(), table, chain);
        let Some(&chain) = self.chains.get(&name) else {
            return Err(object.wrong(&format!("no chain is called `{}`", name.2)));
        };
        let mut matching = Matching::new(self.without_limits);
        if let Some(families) = family(&family_name) {
            matching.families(&families);
        }
        let mut ending =
            Ending { verdict: Verdict::Continue, loss: None, note: None, map: Vec::new() };
        let statements =
            object.value.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
        for statement in &statements {
            let Some((kind, value)) = statement.as_object().and_then(|map| map.iter().next())
            else {
                return Err(object.wrong("a statement is not an object"));
            };
            self.statement(object, &name, (kind, value), &mut matching, &mut ending)?;
        }
        let text = words(&statements);
        let comment = object.word("comment").map(str::to_owned);
        let at = (object.place.clone(), text, comment);
        let remarks = &mut self.program.remarks;
        if let Some(note) = ending.note {
            remarks.note(note, Some(&object.place));
        }
        let mut lines = Vec::new();
        if ending.map.is_empty() {
            lines.push(matching.line(ending.verdict, at, remarks));
        } else {
            for (verdict, must, may) in ending.map {
                // Then what stands behind the map is done.
                let verdict = if verdict == Verdict::Continue { ending.verdict } else { verdict };
                let mut one = matching.clone();
                one.set(must, may, false);
                lines.push(one.line(verdict, at.clone(), remarks));
            }
        }
        for line in &mut lines {
            line.loss = line.loss.take().or_else(|| ending.loss.clone());
        }
        self.program.chains[chain].lines.extend(lines);
        Ok(())
    }

    fn statement(
        &mut self,
        object: &Object<'_>,
        name: &Name,
        (kind, value): (&str, &Value),
        matching: &mut Matching,
        ending: &mut Ending,
    ) -> Done<()> {
        match kind {
            "match" => self.condition(object, name, value, matching)?,
            "vmap" => self.map(object, name, value, ending, matching)?,
            "accept" | "drop" | "return" | "continue" | "jump" | "goto" => {
                ending.verdict = self.verdict(object, name, kind, value)?;
            }
            "reject" => {
                ending.verdict = Verdict::Drop;
                ending.note = Some(REJECT);
            }
            "log" => ending.note = Some(LOG),
            "counter" | "comment" | "last" => {}
            "limit" | "ct count" => {
                let is_over = value.get("inv").and_then(Value::as_bool).unwrap_or(false);
                let limit = if is_over { Limit::Above } else { Limit::Within };
                matching.limit(
                    limit,
                    false,
                    if kind == "limit" { "a limit" } else { "a number of connections" },
                );
            }
            "set" | "meter" | "map" => {
                let text = value.to_string();
                if text.contains("\"limit\"") || text.contains("ct count") {
                    let is_over = text.contains("\"inv\":true");
                    let limit = if is_over { Limit::Above } else { Limit::Within };
                    matching.limit(limit, false, "a limit for each address");
                } else {
                    ending.loss = Some("changes a set: not carried".to_owned());
                }
            }
            "dnat" | "snat" | "masquerade" | "redirect" | "tproxy" | "notrack" | "fwd" => {
                ending.verdict = Verdict::Rewrite;
                ending.loss = Some(NAT.to_owned());
            }
            "mangle" | "dup" | "flow" | "tcp option" | "ct helper" | "ct timeout"
            | "ct expectation" | "secmark" => {
                ending.loss =
                    Some(format!("{kind}: not carried; nothing is marked or changed here"));
            }
            "xt" => Self::compatible(value, matching, ending),
            other => {
                matching.unknown(other.to_owned());
                if ending.verdict == Verdict::Continue {
                    ending.verdict = Verdict::Drop;
                }
            }
        }
        Ok(())
    }

    /// What iptables-nft has put there, of which nft shows the name at most.
    fn compatible(value: &Value, matching: &mut Matching, ending: &mut Ending) {
        let name = value.get("name").and_then(Value::as_str).unwrap_or("something of iptables");
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind == "target" && matches!(name, "LOG" | "NFLOG") {
            ending.note = Some(LOG);
            return;
        }
        matching.unknown(format!("{name} (of iptables: import by iptables-save)"));
        if kind != "match" && ending.verdict == Verdict::Continue {
            ending.verdict = Verdict::Drop;
        }
    }

    fn verdict(
        &self,
        object: &Object<'_>,
        name: &Name,
        kind: &str,
        value: &Value,
    ) -> Done<Verdict> {
        Ok(match kind {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "return" => Verdict::Return,
            "jump" | "goto" => {
                let target = value.get("target").and_then(Value::as_str).unwrap_or_default();
                let chain = (name.0.clone(), name.1.clone(), target.to_owned());
                let Some(&chain) = self.chains.get(&chain) else {
                    return Err(object.wrong(&format!("no chain is called `{target}`")));
                };
                if kind == "jump" { Verdict::Jump(chain) } else { Verdict::Goto(chain) }
            }
            _ => Verdict::Continue,
        })
    }

    /// A match.
    fn condition(
        &self,
        object: &Object<'_>,
        name: &Name,
        value: &Value,
        matching: &mut Matching,
    ) -> Done<()> {
        let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
            return Err(object.wrong("a match has a left and a right side"));
        };
        let op = value.get("op").and_then(Value::as_str).unwrap_or("==");
        if let Some(flags) = flags(left, op, right) {
            let (mask, value, negated) = flags;
            matching.flags(mask, value, negated);
            return Ok(());
        }
        let keys = keys(left);
        let negated = op == "!=";
        if keys == [Key::State] {
            match states(right) {
                Some(states) if matches!(op, "==" | "in" | "!=") => {
                    matching.states(states, negated);
                }
                _ => matching.unknown("ct state"),
            }
            return Ok(());
        }
        let ordered = ordered(op, right);
        let right = ordered.as_ref().unwrap_or(right);
        let Some(elements) = self.elements(object, name, right)? else {
            matching.unknown(unknown(&keys));
            return Ok(());
        };
        let (must, may) = regions(&keys, &elements);
        let is_known =
            keys.iter().all(|key| !matches!(key, Key::Other(_) | Key::State | Key::Flags));
        if !is_known || !matches!(op, "==" | "!=" | "in") && ordered.is_none() {
            matching.unknown(unknown(&keys));
            if negated || !matches!(op, "==" | "in") {
                return Ok(());
            }
        }
        for key in &keys {
            let domain = Region::one(key.domain());
            matching.set(domain.clone(), domain, false);
        }
        matching.set(must, may, negated);
        Ok(())
    }

    /// A verdict map: lines for each verdict, of which no two match the same packet.
    fn map(
        &self,
        object: &Object<'_>,
        name: &Name,
        value: &Value,
        ending: &mut Ending,
        matching: &mut Matching,
    ) -> Done<()> {
        let (Some(left), Some(data)) = (value.get("key"), value.get("data")) else {
            return Err(object.wrong("a verdict map has a key and data"));
        };
        let keys = keys(left);
        let Some(elements) = self.elements(object, name, data)? else {
            matching.unknown("a verdict map");
            ending.verdict = Verdict::Drop;
            return Ok(());
        };
        for key in &keys {
            let domain = Region::one(key.domain());
            matching.set(domain.clone(), domain, false);
        }
        let mut by_verdict: Vec<(Verdict, Vec<Element<'_>>)> = Vec::new();
        for element in elements {
            let Some((kind, value)) =
                element.verdict.and_then(Value::as_object).and_then(|map| map.iter().next())
            else {
                return Err(object.wrong("an element of a verdict map without a verdict"));
            };
            let verdict = self.verdict(object, name, kind, value)?;
            if keys == [Key::State]
                && states(element.key).is_some_and(|known| known & state::NEW == 0)
            {
                ending.note = ending
                    .note
                    .or(Some("later packets and answers pass by themselves: `established`"));
                continue;
            }
            match by_verdict.iter_mut().find(|(known, _)| *known == verdict) {
                Some((_, known)) => known.push(element),
                None => by_verdict.push((verdict, vec![element])),
            }
        }
        for (verdict, elements) in by_verdict {
            let (must, may) = match &*keys {
                [Key::State] => (Region::all(), Region::all()),
                keys => regions(keys, &elements),
            };
            ending.map.push((verdict, must, may));
        }
        if ending.map.is_empty() {
            // Nothing in it is about packets that open a connection.
            ending.verdict = Verdict::Continue;
        }
        Ok(())
    }

    /// The values of a set, of one given by name, or the one value.
    fn elements<'v>(
        &'v self,
        object: &Object<'_>,
        name: &Name,
        value: &'v Value,
    ) -> Done<Option<Vec<Element<'v>>>> {
        if let Some(set) = value.as_str().and_then(|text| text.strip_prefix('@')) {
            let key = (name.0.clone(), name.1.clone(), set.to_owned());
            let Some(elements) = self.sets.get(&key) else {
                return Err(object.wrong(&format!("no set is called `{set}`")));
            };
            return Ok(Some(elements.iter().map(element).collect()));
        }
        if let Some(elements) = value.get("set") {
            return Ok(elements.as_array().map(|all| all.iter().map(element).collect()));
        }
        let is_plain = value.is_string() || value.is_number();
        let is_known =
            is_plain || ["prefix", "range", "concat"].iter().any(|key| value.get(key).is_some());
        Ok(is_known.then(|| vec![element(value)]))
    }
}

/// A value, a pair of value and verdict, either of them with something that it depends on.
fn element(value: &Value) -> Element<'_> {
    let (key, verdict) = match value.as_array().map(Vec::as_slice) {
        Some([key, verdict]) => (key, Some(verdict)),
        _ => (value, None),
    };
    match key.get("elem") {
        Some(inner) => Element {
            key: inner.get("val").unwrap_or(&Value::Null),
            verdict,
            // A time to live, a limit, a quota.
            ends: inner.as_object().is_some_and(|all| {
                all.keys()
                    .any(|key| !matches!(key.as_str(), "val" | "comment" | "counter" | "last"))
            }),
        },
        None => Element { key, verdict, ends: false },
    }
}

/// What surely and what possibly has one of these values.
fn regions(keys: &[Key], elements: &[Element<'_>]) -> (Region, Region) {
    let (mut must, mut may) = (Pool::default(), Pool::default());
    for element in elements {
        let parts = match element.key.get("concat").and_then(Value::as_array) {
            Some(parts) => parts.iter().collect(),
            None => vec![element.key],
        };
        let mut one = Boxed::all();
        let mut is_whole = parts.len() == keys.len() && !element.ends;
        for (key, part) in keys.iter().zip(parts) {
            match key.packets(part) {
                Some(packets) => one = one.intersect(&packets),
                None => is_whole = false,
            }
            // Of protocols that are not known, any bytes may stand where ports do.
            if *key == Key::Port(None) {
                let known = super::super::space::all_services();
                let others = [6, 17, 132].iter().fold(known, |all, &number| {
                    all.subtract(&super::super::space::protocol(number))
                });
                let mut wide = one.clone();
                wide.services = others;
                may.add(wide);
            }
        }
        if is_whole {
            must.add(one.clone());
        }
        may.add(one);
    }
    (must.region(), may.region())
}

/// What is not carried, in words.
fn unknown(keys: &[Key]) -> String {
    let named: Vec<&str> = keys
        .iter()
        .filter_map(|key| match key {
            Key::Other(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if named.is_empty() { "a comparison".to_owned() } else { named.join(", ") }
}
