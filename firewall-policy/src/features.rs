//! Parts of the language that are read and checked, but not enforced yet.
//!
//! A policy that asks for one is refused: a rule that is silently not enforced
//! is worse than none. A feature is switched on by deleting its line here.

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

macro_rules! features {
    ($($(#[$doc:meta])* $feature:ident = $written:literal;)*) => {
        /// A part of the language that is not enforced yet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Feature { $($(#[$doc])* $feature,)* }

        impl Feature {
            /// How it is written in a rule file.
            const fn written(self) -> &'static str {
                match self { $(Self::$feature => $written,)* }
            }
        }
    };
}

features! {
    /// `limit:` of a rule, and tests that expect it.
    Limit = "limit";
    /// `syn-flood:`.
    SynFlood = "syn-flood";
    /// `mode: audit` of a file or a rule, and tests that expect it.
    Audit = "audit";
    /// `expires:` of a rule.
    Expires = "expires";
    /// `lists:`.
    Lists = "lists";
    /// `alert:` of a rate.
    Alert = "alert";
    /// `count: h2c`.
    H2c = "h2c";
    /// `baseline: { forward: pass }`.
    ForwardPass = "forward: pass";
    /// `interfaces: { vlan: [ids] }`.
    InterfaceVlans = "interfaces: vlan";
    /// Parts of host.yaml that configure monitoring.
    Monitoring = "monitoring";
}

/// What is not enforced yet: delete a line to switch a feature on.
const NOT_YET: &[Feature] = &[
    Feature::Limit,
    Feature::SynFlood,
    Feature::Audit,
    Feature::Expires,
    Feature::Lists,
    Feature::Alert,
    Feature::H2c,
    Feature::ForwardPass,
    Feature::InterfaceVlans,
    Feature::Monitoring,
];

impl Feature {
    /// What to say where the feature is asked for; `None` once it is enforced.
    pub(crate) fn refusal(self, span: &Span) -> Option<Diagnostic> {
        let message = format!("`{}` is checked but not supported yet", self.written());
        NOT_YET.contains(&self).then(|| {
            Diagnostic::new(Code::NotSupportedYet, message)
                .at(span, "this version of the firewall would not enforce it")
                .help("leave it out until a version supports it")
        })
    }
}
