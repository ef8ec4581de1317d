//! The digest of a policy: equal for equal meaning.

use sha2::{Digest as _, Sha256};

use super::lists::word;
use super::resolve::{Ranked, Resolved};
use crate::ir::{Baseline, Interfaces, Policy, Rate, Rule, State};
use crate::set::RangeSet;

/// SHA-256 over what enforcement and counting depend on, in hexadecimal.
///
/// Fields are written in a fixed order, each text and list behind its length.
/// Sets come first, each distinct one once; rules name them by number.
pub(super) fn of(policy: &Policy, resolved: &Resolved<'_>) -> String {
    let mut out = Writer::default();
    out.number(resolved.addresses.values().len());
    for set in resolved.addresses.values() {
        narrow(&mut out, &set.v4);
        out.number(set.v6.ranges().len());
        for (first, last) in set.v6.ranges() {
            out.bytes(&first.to_le_bytes());
            out.bytes(&last.to_le_bytes());
        }
    }
    for chain in &resolved.chains {
        out.number(chain.services.values().len());
        for set in chain.services.values() {
            narrow(&mut out, set);
        }
        out.number(chain.rules.len());
        for ranked in &chain.rules {
            rule(&mut out, ranked);
        }
        out.byte(chain.chain.default as u8);
    }
    rest(&mut out, policy);
    out.finish()
}

fn narrow(out: &mut Writer, set: &RangeSet<u32>) {
    out.number(set.ranges().len());
    for &(first, last) in set.ranges() {
        // One write instead of two, for a million of them.
        out.bytes(&(u64::from(last) << 32 | u64::from(first)).to_le_bytes());
    }
}

fn rule(out: &mut Writer, ranked: &Ranked<'_>) {
    let Ranked { rule, list, remote, local, services, counts, .. } = ranked;
    let Rule { name, role, interfaces, vlans, tcp_flags, log, .. } = rule;
    out.text(name);
    out.text(role);
    out.byte(*list as u8);
    for number in [remote, local, services] {
        out.number(number.map_or(0, |number| number as usize + 1));
    }
    out.number(counts.len());
    for (set, count) in counts {
        out.number(*set as usize);
        out.byte(*count as u8);
    }
    out.texts(interfaces);
    out.number(vlans.len());
    for &vlan in vlans {
        out.number(vlan.into());
    }
    out.bytes(&tcp_flags.map_or([0; 3], |flags| [1, flags.mask, flags.value]));
    out.byte(*log as u8);
}

fn rest(out: &mut Writer, policy: &Policy) {
    let Policy { roles, baseline, state, interfaces, rates, memory_max, .. } = policy;
    out.texts(roles);
    let Baseline { host, dhcp, ping_per_second, non_ip_all, fragments_strict, forward_pass } =
        baseline;
    for &flag in [host, dhcp, non_ip_all, fragments_strict, forward_pass] {
        out.byte(flag.into());
    }
    out.number(*ping_per_second as usize);
    let State { flows, tcp_idle_s, udp_idle_s, pickup_loose, seed } = state;
    for &number in [flows, tcp_idle_s, udp_idle_s] {
        out.number(number as usize);
    }
    for &flag in [pickup_loose, seed] {
        out.byte(flag.into());
    }
    let Interfaces { matches, ignore, ingress_hook } = interfaces;
    out.texts(matches);
    out.texts(ignore);
    out.byte(*ingress_hook as u8);
    out.number(rates.len());
    for Rate { name, rule, direction, unit, span: _ } in rates {
        out.text(name);
        out.text(rule);
        out.bytes(&[*direction as u8, *unit as u8]);
    }
    out.bytes(&memory_max.unwrap_or(u64::MAX).to_le_bytes());
}

/// Collects small fields, so that the hash sees long runs.
#[derive(Default)]
struct Writer {
    hash: Sha256,
    pending: Vec<u8>,
}

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= 1 << 15 {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
    }

    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    fn number(&mut self, number: usize) {
        self.bytes(&word(number).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes(text.as_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        self.number(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    fn finish(mut self) -> String {
        self.hash.update(&self.pending);
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
        let bytes = self.hash.finalize();
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}
