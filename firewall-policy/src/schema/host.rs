//! host.yaml: what this server is.

use std::net::SocketAddr;

use super::keys;
use super::reader::{Fields, Reader};
use super::settings::Settings;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::features::Feature;
use crate::read::{Node, Value};
use crate::source::Spanned;
use crate::value::Fault;

/// The host file as it was written.
#[derive(Clone, Debug)]
pub(crate) struct HostFile {
    pub(crate) roles: Vec<Spanned<String>>,
    pub(crate) settings: Settings,
    pub(crate) acknowledge: Vec<Spanned<String>>,
    pub(crate) prometheus_listen: Option<SocketAddr>,
}

impl Reader<'_> {
    /// host.yaml.
    pub(crate) fn host_file(&mut self, root: &Node<'_>) -> Option<HostFile> {
        let fields = self.fields(root, &keys::HOST)?;
        self.version(&fields, root);
        for key in ["description", "owner"] {
            if let Some(node) = fields.get(key) {
                self.text(node);
            }
        }
        let roles = self.required(&fields, "roles").map(|node| self.roles(node));
        let mut settings = Settings::default();
        if let Some(node) = fields.get("interfaces") {
            settings.interfaces = self.interfaces(node);
        }
        if let Some(node) = fields.get("default") {
            self.default(node, &mut settings);
        }
        if let Some(node) = fields.get("failsafe") {
            self.failsafe(node, &mut settings);
        }
        let acknowledge = fields
            .get("acknowledge")
            .map(|node| node.items().iter().filter_map(|item| self.text(item)).collect());
        for key in ["tags", "monitor", "alerts"] {
            if let Some(span) = fields.key_span(key) {
                self.feature(Feature::Monitoring, span);
            }
        }
        Some(HostFile {
            roles: roles?,
            settings,
            acknowledge: acknowledge.unwrap_or_default(),
            prometheus_listen: self.outputs(&fields),
        })
    }

    fn roles(&mut self, node: &Node<'_>) -> Vec<Spanned<String>> {
        let items: &[Node<'_>] = if let Value::Empty = node.value { &[] } else { node.items() };
        if items.is_empty() {
            self.sink.push(
                Diagnostic::new(Code::EmptySet, "no role is named")
                    .at(&node.span, "a host has at least one role")
                    .help("roles: [web]"),
            );
        }
        let mut roles: Vec<Spanned<String>> = Vec::new();
        for item in items {
            let Some(role) = self.name(item) else { continue };
            if let Some(first) = roles.iter().find(|other| other.value == role.value) {
                let message = format!("role `{}` is named twice", role.value);
                self.sink.push(
                    Diagnostic::new(Code::DuplicateName, message)
                        .at(&role.span, "again here")
                        .at(&first.span, "first here"),
                );
                continue;
            }
            roles.push(role);
        }
        roles
    }

    fn outputs(&mut self, fields: &Fields<'_>) -> Option<SocketAddr> {
        let node = fields.get("outputs")?;
        let Value::Map(entries) = &node.value else {
            self.wrong(node, "a mapping of destinations");
            return None;
        };
        let known = ["otlp", "sumo", "datadog", "alertmanager", "webhooks", "syslog", "buffer"];
        let mut rest = Vec::new();
        for entry in entries {
            if known.contains(&&*entry.key.text) {
                self.feature(Feature::Monitoring, &entry.key_span);
            } else {
                rest.push(entry.clone());
            }
        }
        let rest = Node { value: Value::Map(rest), span: node.span.clone() };
        let prometheus = self.fields(&rest, &keys::OUTPUTS)?.get("prometheus")?;
        let listen = self.fields(prometheus, &keys::PROMETHEUS)?;
        let listen = self.required(&listen, "listen")?;
        Some(self.value(listen, "an address and a port", socket)?.value)
    }
}

fn socket(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().ok().filter(|socket: &SocketAddr| socket.port() != 0).ok_or_else(|| {
        Fault::new(Code::Address, text, format!("`{text}` is not an address and a port"))
            .label("address:port, or [address]:port for IPv6, is wanted")
            .help("127.0.0.1:9477")
    })
}
