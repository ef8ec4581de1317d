//! One host: send, plan, switch, prove it by a new connection, keep.

use std::fmt;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::send::send;
use super::target::{Target, line};
use crate::exec;

/// Time beyond the trial that a host may take to put everything back.
const UNDO: Duration = Duration::from_secs(45);

/// With what `setup switch` ends if another installation is under way.
const BUSY: i32 = 75;

/// A host that says nothing for so long may be cut off.
const SILENCE: Duration = Duration::from_secs(5);
/// A connection that says nothing for so long is of no use.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a plan says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The host is as wanted.
    Nothing,
    /// What would change.
    Changes(String),
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It stays: what was done, in order.
    Kept(String),
    /// The host was not touched: why.
    Refused(String),
    /// The host has put everything back: why, and what it said.
    PutBack(String),
    /// The host does not answer: it puts everything back by itself.
    Unknown(String),
}

impl End {
    /// Whether the host is as wanted.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// Whether the host is as it was because nothing was begun.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(story) => write!(f, "{story}"),
            Self::Refused(why) => write!(f, "REFUSED: {why}"),
            Self::PutBack(why) => write!(f, "PUT BACK: {why}"),
            Self::Unknown(why) => write!(f, "NO ANSWER, it puts itself back: {why}"),
        }
    }
}

/// A host with what is to be done to it; what was sent is removed with it.
#[derive(Debug)]
pub(super) struct Change<'a> {
    target: &'a Target,
    /// Where the bundle is, there.
    place: String,
    within: Duration,
}

impl<'a> Change<'a> {
    /// Sends a bundle.
    ///
    /// # Errors
    ///
    /// If the host cannot be reached, or has no room.
    pub(super) fn prepare(target: &'a Target, bundle: &Path, within_s: u32) -> Result<Self> {
        let place = send(target, bundle)?;
        Ok(Self { target, place, within: Duration::from_secs(within_s.into()) })
    }

    /// Prints lines with the host's name in front.
    pub(super) fn say(&self, text: &str) {
        for text in text.lines() {
            exec::result(format_args!("{}  {text}", self.target.name()));
        }
    }

    /// Checks the binary, the policy and the way in, and compares files.
    ///
    /// # Errors
    ///
    /// If the host or the policy is not fit for it: nothing was changed.
    pub(super) fn plan(&self) -> Result<Plan> {
        let output = self.setup("plan").output().context("cannot start ssh")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        match output.status.code() {
            Some(0) => Ok(Plan::Nothing),
            Some(2) => Ok(Plan::Changes(said)),
            _ => bail!("{}", [said, complained].join("\n").trim()),
        }
    }

    /// Changes the host, and keeps it if a new connection comes in and is served.
    pub(super) fn carry_out(&self) -> End {
        let start = Instant::now();
        match self.try_out(start) {
            Ok(end) => end,
            Err(error) => End::Unknown(format!("{error:#}")),
        }
    }

    fn try_out(&self, start: Instant) -> Result<End> {
        let mut switch = Switch::start(&mut self.setup("switch"))?;
        let mut story = Vec::new();
        let proof = match self.until_live(&mut switch, &mut story) {
            Ok(Heard::Live) => self.prove(),
            Ok(Heard::Undone) => return Ok(End::PutBack(story.join("\n  "))),
            Ok(Heard::Busy) => return Ok(End::Refused(story.join("\n  "))),
            Err(error) => Err(error),
        };
        match proof {
            Ok(proofs) => {
                story.extend(proofs);
                story.push(format!("confirmed ({})", exec::seconds(start.elapsed())));
                Ok(End::Kept(story.join(" → ")))
            }
            Err(error) => self.put_back(switch, story, format!("{error:#}")),
        }
    }

    /// Waits until everything new is at work there, but not for ever. A connection that
    /// is silent may have been cut by the policy: a new one tells.
    fn until_live(&self, switch: &mut Switch, story: &mut Vec<String>) -> Result<Heard> {
        let limit = self.within + UNDO;
        let start = Instant::now();
        while start.elapsed() < limit {
            match switch.lines.recv_timeout(SILENCE) {
                Ok(line) if line == "live" => return Ok(Heard::Live),
                Ok(line) if line == "undone" => return Ok(Heard::Undone),
                Ok(line) if line == "begun" => {}
                Ok(line) => story.push(line),
                Err(RecvTimeoutError::Timeout) => self.come_in("true").map(|_| ())?,
                Err(RecvTimeoutError::Disconnected) if switch.code() == Some(BUSY) => {
                    return Ok(Heard::Busy);
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the SSH connection was cut"),
            }
        }
        bail!("it is not at work after {}", exec::seconds(limit))
    }

    /// Runs a line of shell over a new connection, and returns what it printed.
    fn come_in(&self, script: &str) -> Result<String> {
        let script = format!("echo came in; {script}");
        let output = self.target.shell(&script).stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let said = text(&output.stdout);
        let Some(said) = said.strip_prefix("came in") else {
            bail!("no new SSH connection: {}", text(&output.stderr));
        };
        if !output.status.success() {
            bail!("{}", text(&output.stderr));
        }
        Ok(said.trim().to_owned())
    }

    /// A new connection, which asks for metrics and has the change kept.
    fn prove(&self) -> Result<Vec<String>> {
        if *self.target == Target::Here {
            ask_for_a_session(self.within)?;
        }
        let setup = format!("{}/setup", self.place);
        let said = self.come_in(&format!(
            "{}&& {}",
            line(&["sh", &setup, "verify", &self.place]),
            line(&["sh", &setup, "commit"])
        ))?;
        let came_in = matches!(self.target, Target::Ssh { .. }).then(|| "new ssh ok".to_owned());
        Ok(came_in.into_iter().chain(said.lines().map(str::to_owned)).collect())
    }

    /// Waits until the host is as it was, and says so.
    fn put_back(&self, mut switch: Switch, mut story: Vec<String>, why: String) -> Result<End> {
        switch.reject();
        story.push(why.clone());
        let limit = Instant::now() + self.within + UNDO;
        while let Ok(line) = switch.lines.recv_timeout(PATIENCE) {
            story.push(line);
        }
        // The connection may have been cut with the rest; the host needs none.
        while story.last().is_none_or(|line| line != "undone") {
            if Instant::now() > limit {
                return Ok(End::Unknown(why));
            }
            std::thread::sleep(Duration::from_millis(500));
            let last = self.setup("log").output()?;
            let last = String::from_utf8_lossy(&last.stdout).into_owned();
            if last.trim().ends_with("undone") {
                story.extend(last.lines().map(str::to_owned));
            }
        }
        story.retain(|line| !["begun", "live", "undone"].contains(&line.as_str()));
        Ok(End::PutBack(story.join("\n  ")))
    }

    fn setup(&self, verb: &str) -> Command {
        let setup = format!("{}/setup", self.place);
        self.target.shell(&line(&["sh", &setup, verb, &self.place]))
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        // A host that does not answer keeps it in /var/tmp.
        let _ = self.target.shell(&line(&["rm", "-rf", &self.place])).output();
    }
}

/// The verb that asks what [`remove`] would do.
pub(super) const WOULD_REMOVE: &str = "would-remove";

/// Takes the firewall off a host, or only asks whether there is one: code 2, as of a
/// plan. Returns what was said.
///
/// # Errors
///
/// If the host cannot be reached, or refuses; with what it has done by then.
pub(super) fn remove(target: &Target, verb: &str) -> Result<(i32, String)> {
    let script = include_str!("setup.sh");
    // The script must be a file: it may call itself with sudo.
    let place = "f=$(mktemp) && cat >\"$f\" && sh \"$f\"";
    let mut command = target.shell(&format!("{place} {verb}; rc=$?; rm -f \"$f\"; exit $rc"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start it")?;
    if let Some(mut input) = child.stdin.take() {
        // Who is not let in reads nothing: ssh says why.
        let _ = input.write_all(script.as_bytes());
    }
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let said = [text(&output.stdout), text(&output.stderr)].join("\n").trim().to_owned();
    match output.status.code() {
        Some(0) => Ok((0, said)),
        Some(2) if verb == WOULD_REMOVE => Ok((2, said)),
        _ => bail!("{said}"),
    }
}

/// Where somebody sits at a terminal and came by SSH, only they can tell whether a
/// new session still gets in.
fn ask_for_a_session(within: Duration) -> Result<()> {
    if std::env::var_os("SSH_CONNECTION").is_none() || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let seconds = within.as_secs();
    exec::say(format_args!("log in from a NEW session; does that work? [y/N] ({seconds} s)"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !answer.trim().eq_ignore_ascii_case("y") {
        bail!("no new session gets in");
    }
    Ok(())
}

/// What a host that changes has come to.
#[derive(Clone, Copy, Debug)]
enum Heard {
    /// Everything new is at work.
    Live,
    /// It has put everything back.
    Undone,
    /// Another installation is under way there: nothing was begun.
    Busy,
}

/// The change under way on the host. Its end of input makes the host put everything
/// back.
#[derive(Debug)]
struct Switch {
    child: Child,
    lines: Receiver<String>,
}

impl Switch {
    fn start(command: &mut Command) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::inherit()).spawn().context("cannot start ssh")?;
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn reject(&mut self) {
        drop(self.child.stdin.take());
    }

    /// With what it has ended, or ends in a moment.
    fn code(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // It ends by itself where the change is kept; it may hang where it was cut.
        self.code();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
