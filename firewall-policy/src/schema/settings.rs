//! Settings of a whole policy: interfaces, defaults, baseline, failsafe, state.

use super::keys;
use super::reader::Reader;
use super::rule::Rule;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::features::Feature;
use crate::glob;
use crate::ir::{Action, Baseline, IngressHook, Interfaces, State};
use crate::read::{Node, Value};
use crate::schema::reader::Fields;
use crate::source::{Span, Spanned};
use crate::value::{Fault, amount};

/// The settings of a file; what is not written is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) interfaces: Option<Spanned<Interfaces>>,
    pub(crate) default_ingress: Option<Spanned<Action>>,
    pub(crate) default_egress: Option<Spanned<Action>>,
    pub(crate) baseline: Option<Spanned<Baseline>>,
    pub(crate) failsafe_ingress: Option<Spanned<Vec<Rule>>>,
    pub(crate) failsafe_egress: Option<Spanned<Vec<Rule>>>,
    pub(crate) state: Option<Spanned<State>>,
    /// Bytes.
    pub(crate) memory_max: Option<Spanned<u64>>,
    /// Where `breaks-ipv6: accepted` was written.
    pub(crate) breaks_ipv6: Option<Span>,
}

/// Where nothing is written: every wired interface by its predictable or its
/// classic name.
pub(crate) fn default_interfaces() -> Interfaces {
    Interfaces {
        matches: vec!["en*".into(), "eth*".into()],
        ignore: Vec::new(),
        ingress_hook: IngressHook::Auto,
    }
}

/// `baseline: host`, which also holds where nothing is written.
pub(crate) fn default_baseline() -> Baseline {
    Baseline {
        host: true,
        dhcp: true,
        ping_per_second: 20,
        non_ip_all: false,
        fragments_strict: false,
        forward_pass: false,
    }
}

/// Idle times and table size where nothing is written.
pub(crate) fn default_state() -> State {
    State { flows: 262_144, tcp_idle_s: 3600, udp_idle_s: 30, pickup_loose: true, seed: true }
}

impl Reader<'_> {
    /// The settings that role and shared files have in common.
    pub(crate) fn settings(&mut self, fields: &Fields<'_>) -> Settings {
        let mut settings = Settings::default();
        if let Some(node) = fields.get("interfaces") {
            settings.interfaces = self.interfaces(node);
        }
        if let Some(node) = fields.get("default") {
            self.default(node, &mut settings);
        }
        if let Some(node) = fields.get("baseline") {
            self.baseline(node, &mut settings);
        }
        if let Some(node) = fields.get("failsafe") {
            self.failsafe(node, &mut settings);
        }
        if let Some(node) = fields.get("state") {
            settings.state = self.state(node);
        }
        if let Some(node) = fields.get("memory-max") {
            settings.memory_max = self.value(node, "a size such as 64MB", amount::size);
        }
        settings
    }

    /// `interfaces:`.
    pub(crate) fn interfaces(&mut self, node: &Node<'_>) -> Option<Spanned<Interfaces>> {
        let fields = self.fields(node, &keys::INTERFACES)?;
        let matches = self.required(&fields, "match").map(|node| self.globs(node))?;
        if let Some(node) = fields.get("match")
            && node.items().is_empty()
        {
            self.sink.push(
                Diagnostic::new(Code::EmptySet, "no interface is named")
                    .at(&node.span, "matches no interface")
                    .help("match: [\"en*\", \"eth*\"]"),
            );
        }
        let named = fields.get("match").map(Node::items).unwrap_or_default();
        for item in named.iter().filter(|item| item.span.text().trim_matches(['"', '\'']) == "lo") {
            self.sink.push(
                Diagnostic::new(Code::Loopback, "`lo` is never filtered")
                    .at(&item.span, "naming it does nothing")
                    .help("delete it"),
            );
        }
        let ignore = fields.get("ignore").map(|node| self.globs(node)).unwrap_or_default();
        self.stacked_names(named, (&matches, &ignore));
        let hooks =
            [("auto", IngressHook::Auto), ("xdp", IngressHook::Xdp), ("tc", IngressHook::Tc)];
        let hook = fields.get("ingress-hook").and_then(|node| self.choice(node, &hooks));
        if let Some(node) = fields.get("vlan") {
            for item in node.items() {
                self.vlan(item);
            }
            self.feature(Feature::InterfaceVlans, &node.span);
        }
        let ingress_hook = hook.map_or(IngressHook::Auto, |hook| hook.value);
        let value = Interfaces { matches, ignore, ingress_hook };
        Some(Spanned { value, span: node.span.clone() })
    }

    /// Warns of a name such as `eth0.10` beside what takes `eth0`: by their names one
    /// is a VLAN on the other. A host where it is refuses the policy.
    fn stacked_names(&mut self, named: &[Node<'_>], (matches, ignore): (&[String], &[String])) {
        let takes = |patterns: &[String], name: &str| {
            patterns.iter().any(|pattern| glob::matches(pattern, name))
        };
        for item in named {
            let name = item.span.text().trim_matches(['"', '\'']);
            let Some((base, number)) = name.rsplit_once('.') else { continue };
            let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let is_ignored = takes(ignore, name) || takes(ignore, base);
            if !is_number || base.contains(['*', '?']) || is_ignored || !takes(matches, base) {
                continue;
            }
            let message = format!("`{name}` looks like a VLAN on `{base}`, and both match");
            self.sink.push(
                Diagnostic::new(Code::StackedNames, message)
                    .at(&item.span, "each of its packets would be judged and counted twice")
                    .help(format!("delete it: its packets are judged on {base}, tag and all")),
            );
        }
    }

    /// `default: { ingress: drop, egress: drop }`.
    pub(crate) fn default(&mut self, node: &Node<'_>, settings: &mut Settings) {
        let Some(fields) = self.fields(node, &keys::DEFAULT) else { return };
        let actions = [("drop", Action::Drop), ("allow", Action::Allow)];
        if let Some(node) = fields.get("ingress") {
            settings.default_ingress = self.choice(node, &actions);
        }
        if let Some(node) = fields.get("egress") {
            settings.default_egress = self.choice(node, &actions);
        }
    }

    /// `failsafe: { ingress: [rule], egress: [rule] }`.
    pub(crate) fn failsafe(&mut self, node: &Node<'_>, settings: &mut Settings) {
        let Some(fields) = self.fields(node, &keys::FAILSAFE) else { return };
        let mut rules = |key| {
            let node = fields.get(key)?;
            Some(Spanned { value: self.rules(node), span: node.span.clone() })
        };
        settings.failsafe_ingress = rules("ingress");
        settings.failsafe_egress = rules("egress");
        let written = [&settings.failsafe_ingress, &settings.failsafe_egress];
        for rule in written.into_iter().flatten().flat_map(|rules| &rules.value) {
            if let Some(limit) = &rule.limit {
                self.sink.push(
                    Diagnostic::new(Code::Limit, "a failsafe rule cannot be limited")
                        .at(&limit.span, "it is the way in when everything else fails")
                        .help("leave `limit:` out"),
                );
            }
        }
    }

    fn baseline(&mut self, node: &Node<'_>, settings: &mut Settings) {
        let span = node.span.clone();
        if let Value::Scalar(_) = node.value {
            let host = self.choice(node, &[("host", ())]);
            settings.baseline = host.map(|_| Spanned { value: default_baseline(), span });
            return;
        }
        let Some(fields) = self.fields(node, &keys::BASELINE) else { return };
        let mut value = default_baseline();
        if let Some(host) = fields.get("host").and_then(|node| self.flag(node)) {
            value.host = host;
        }
        // Whether an address is dynamic is not known here, and a lost lease is a
        // delayed outage, so `auto` admits DHCP.
        let dhcp = [("auto", true), ("on", true), ("off", false)];
        if let Some(dhcp) = fields.get("dhcp").and_then(|node| self.choice(node, &dhcp)) {
            value.dhcp = dhcp.value;
        }
        let ping = fields.get("ping").and_then(|node| self.value(node, "a rate, or `off`", ping));
        if let Some(ping) = ping {
            value.ping_per_second = ping.value;
        }
        let non_ip = [("common", false), ("all", true)];
        if let Some(non_ip) = fields.get("non-ip").and_then(|node| self.choice(node, &non_ip)) {
            value.non_ip_all = non_ip.value;
        }
        let fragments = [("follow", false), ("strict", true)];
        if let Some(strict) = fields.get("fragments").and_then(|node| self.choice(node, &fragments))
        {
            value.fragments_strict = strict.value;
        }
        let forward = [("host-rules", false), ("pass", true)];
        if let Some(forward) = fields.get("forward").and_then(|node| self.choice(node, &forward)) {
            value.forward_pass = forward.value;
            if forward.value {
                self.feature(Feature::ForwardPass, &forward.span);
            }
        }
        let breaks = [("refused", false), ("accepted", true)];
        let breaks = fields.get("breaks-ipv6").and_then(|node| self.choice(node, &breaks));
        settings.breaks_ipv6 =
            breaks.filter(|accepted| accepted.value).map(|accepted| accepted.span);
        settings.baseline = Some(Spanned { value, span });
    }

    fn state(&mut self, node: &Node<'_>) -> Option<Spanned<State>> {
        let fields = self.fields(node, &keys::STATE)?;
        let mut value = default_state();
        let flows = |text: &str| amount::number(text, 1024, 1 << 22);
        if let Some(flows) =
            fields.get("flows").and_then(|node| self.value(node, "a number", flows))
        {
            value.flows = u32::try_from(flows.value).unwrap_or(u32::MAX);
        }
        let mut idle = |key, default| {
            let Some(node) = fields.get(key) else { return default };
            let seconds = self.value(node, "a duration", amount::duration);
            seconds.map_or(default, |seconds| u32::try_from(seconds.value).unwrap_or(u32::MAX))
        };
        value.tcp_idle_s = idle("tcp", value.tcp_idle_s);
        value.udp_idle_s = idle("udp", value.udp_idle_s);
        let pickup = [("loose", true), ("strict", false)];
        if let Some(pickup) = fields.get("pickup").and_then(|node| self.choice(node, &pickup)) {
            value.pickup_loose = pickup.value;
        }
        if let Some(seed) = fields.get("seed").and_then(|node| self.flag(node)) {
            value.seed = seed;
        }
        Some(Spanned { value, span: node.span.clone() })
    }
}

/// Most echo requests a second and source: a bucket's word has room for four times as many.
const PINGS_MAX: u32 = 1_000_000;

/// Echo requests per second and source; `off` is none.
fn ping(text: &str) -> Result<u32, Fault> {
    if text == "off" {
        return Ok(0);
    }
    let rate = amount::rate(text).map_err(|fault| fault.help("ping: 20/s   or off"))?;
    let fault = |label: &str| {
        Fault::new(Code::Rate, text, format!("`{text}` is not possible here")).label(label)
    };
    if rate.bytes {
        return Err(fault("echo requests are counted, not bytes").help("ping: 20/s"));
    }
    if rate.count % rate.per != 0 {
        return Err(fault("a whole number per second is wanted").help("ping: 1/s"));
    }
    let per_second = u32::try_from(rate.count / rate.per).ok();
    per_second
        .filter(|per_second| *per_second <= PINGS_MAX)
        .ok_or_else(|| fault("more than a machine can answer").help("at most 1000000/s"))
}
