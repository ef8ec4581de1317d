//! What crosses the agent's socket: a line of JSON each way.
//!
//! A client writes one [`Request`] and reads [`Response`]s until the agent closes
//! or, for events, until it has seen enough. Whoever may open the socket may
//! read; changing is for root, told by the kernel (`SO_PEERCRED`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::collect::bans::Banned;
use crate::failure::{Exit, Failure};
use crate::report::Snapshot;
use crate::report::event::Line;
use crate::report::snapshot::SCHEMA;

/// Longest line that the agent reads.
pub(crate) const REQUEST_MAX: usize = 4096;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Everything at this moment.
    Snapshot,
    /// What the policy in force says of a session to this host.
    Session {
        /// Its far end.
        peer: SocketAddr,
        /// Its end here.
        local: SocketAddr,
    },
    /// Events: the last ones, then those to come.
    Events {
        /// How many of the past.
        last: usize,
        /// Whether to go on.
        follow: bool,
    },
    /// Bans in force.
    Bans,
    /// Interfaces or bans have changed: look again. Root only.
    Refresh {
        /// The policy, too.
        policy: bool,
    },
    /// Enforce what host.yaml and the rules say now. Root only.
    Reload,
}

impl Request {
    /// Whether it changes something.
    pub(crate) const fn is_change(&self) -> bool {
        matches!(self, Self::Refresh { .. } | Self::Reload)
    }
}

/// What the agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub(crate) enum Response {
    /// Everything at this moment.
    Snapshot {
        /// It.
        snapshot: Box<Snapshot>,
    },
    /// What happens to a session.
    Session {
        /// Whether its next packet passes; `None` if that cannot be told.
        allowed: Option<bool>,
        /// Rule or built-in that decides.
        by: Option<String>,
        /// Where it is written.
        place: Option<String>,
    },
    /// Bans in force.
    Bans {
        /// By address, IPv4 first.
        bans: Vec<Banned>,
    },
    /// One line of the stream of events.
    Event {
        /// It.
        line: Box<Line>,
    },
    /// It was done.
    Done {
        /// What has changed.
        message: String,
    },
    /// It was not done.
    Refused {
        /// Exit code for the command line.
        exit: Exit,
        /// Why.
        message: String,
        /// What to do.
        help: Option<String>,
    },
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let Failure { exit, message, details, help, .. } = failure;
        let mut lines = vec![message];
        lines.extend(details);
        Self::Refused { exit, message: lines.join("\n  "), help }
    }
}

/// A response with the version of its shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    schema: u32,
    #[serde(flatten)]
    body: Response,
}

/// A response as a line.
pub(crate) fn line_of(body: Response) -> String {
    let envelope = Envelope { schema: SCHEMA, body };
    // Every type in a response is a plain tree of strings and numbers.
    let mut line = serde_json::to_string(&envelope).unwrap_or_default();
    line.push('\n');
    line
}

/// A line as a response.
///
/// # Errors
/// If it is none, or of a newer program.
pub(crate) fn response_of(line: &str) -> Result<Response, Failure> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let broken =
        |error: serde_json::Error| Failure::new(format!("the agent's answer is broken: {error}"));
    let version: Version = serde_json::from_str(line).map_err(broken)?;
    if version.schema != SCHEMA {
        let newer = format!(
            "the agent speaks version {} of the protocol, this program {SCHEMA}",
            version.schema
        );
        return Err(Failure::new(newer)
            .help("systemctl restart firewall    (enforcement goes on meanwhile)"));
    }
    serde_json::from_str::<Envelope>(line).map(|envelope| envelope.body).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_small_documents() {
        let json = |request: &Request| serde_json::to_string(request).unwrap();
        assert_eq!(json(&Request::Snapshot), r#"{"request":"snapshot"}"#);
        let events = Request::Events { last: 10, follow: true };
        assert_eq!(json(&events), r#"{"request":"events","last":10,"follow":true}"#);
        let session = Request::Session {
            peer: "198.51.100.5:51544".parse().unwrap(),
            local: "[2001:db8::1]:22".parse().unwrap(),
        };
        assert_eq!(serde_json::from_str::<Request>(&json(&session)).unwrap(), session);
        assert!(Request::Reload.is_change() && !events.is_change());
    }

    #[test]
    fn responses_carry_the_version() {
        let line = line_of(Response::Done { message: "done".into() });
        assert_eq!(line, "{\"schema\":1,\"response\":\"done\",\"message\":\"done\"}\n");
        assert!(matches!(response_of(&line), Ok(Response::Done { .. })));
        let newer = response_of(r#"{"schema":2,"response":"teapot"}"#).unwrap_err();
        assert!(newer.message.contains("version 2"), "{newer}");
        assert!(response_of("nonsense").is_err());
    }

    #[test]
    fn bans_survive_the_socket() {
        let ban = Banned {
            network: "2001:db8::/32".into(),
            since_ms: 1,
            until_ms: 2,
            seconds_left: 3,
            hits: 4,
            reason: "login \u{1b} attempts".into(),
        };
        let line = line_of(Response::Bans { bans: vec![ban.clone()] });
        let Response::Bans { bans } = response_of(&line).unwrap() else { panic!() };
        assert_eq!(bans, [ban]);
    }

    #[test]
    fn a_snapshot_survives_the_socket() {
        let snapshot = crate::report::sample::snapshot();
        let line = line_of(Response::Snapshot { snapshot: Box::new(snapshot.clone()) });
        let Response::Snapshot { snapshot: back } = response_of(&line).unwrap() else { panic!() };
        assert_eq!(*back, snapshot);
    }
}
