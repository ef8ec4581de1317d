//! Running a test command: its output passed on line by line, and an end to it
//! when it takes too long.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::exec;

/// How a watched command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With exit status 0.
    Success,
    /// Otherwise, and how.
    Failure(String),
}

/// Runs `command`, gives each line of its standard output to `on_line`, and
/// kills it with everything it started after `limit`.
///
/// # Errors
///
/// If it cannot be started or waited for.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    on_line: impl FnMut(&str),
) -> Result<End> {
    let name = exec::line(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{name}`"))?;
    let (done, timed_out) = watchdog(child.id(), limit);
    let read = pass_on(&mut child, on_line);
    let status = child.wait().with_context(|| format!("cannot wait for `{name}`"))?;
    drop(done);
    read.with_context(|| format!("cannot read the output of `{name}`"))?;
    let stopped = timed_out.join().unwrap_or(false);
    Ok(if stopped {
        End::Failure(format!("stopped after {}", exec::seconds(limit)))
    } else if status.success() {
        End::Success
    } else {
        End::Failure(format!("ended with {status}; see its output above"))
    })
}

fn pass_on(child: &mut Child, mut on_line: impl FnMut(&str)) -> std::io::Result<()> {
    let Some(output) = child.stdout.take() else { return Ok(()) };
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        on_line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        line.clear();
    }
    Ok(())
}

/// Kills process `pid` and its descendants after `limit`, unless the sender
/// returned is dropped before; the thread tells whether it had to.
fn watchdog(pid: u32, limit: Duration) -> (Sender<()>, thread::JoinHandle<bool>) {
    let (done, wait) = channel();
    let thread = thread::spawn(move || {
        let late = wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            exec::say(format_args!(
                "stopping process {pid}: it took more than {}",
                exec::seconds(limit)
            ));
            let mut pids = vec![pid];
            let mut next = 0;
            while let Some(&parent) = pids.get(next) {
                pids.extend(children(parent));
                next += 1;
            }
            let pids = pids.iter().map(u32::to_string);
            let _ = Command::new("kill").arg("-KILL").args(pids).stderr(Stdio::null()).status();
        }
        late
    });
    (done, thread)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split(' ').filter_map(|pid| pid.trim().parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_are_passed_on_even_without_a_last_newline_or_utf8() {
        let mut lines = Vec::new();
        let mut command = shell(r"printf 'one\n\nb\377d'");
        let end = run(&mut command, Duration::from_secs(10), |line| lines.push(line.to_owned()));
        assert_eq!(end.unwrap(), End::Success);
        assert_eq!(lines, ["one", "", "b\u{fffd}d"]);
    }

    #[test]
    fn a_failure_says_how_it_ended() {
        let end = run(&mut shell("exit 4"), Duration::from_secs(10), |_| {}).unwrap();
        assert!(matches!(&end, End::Failure(how) if how.contains("status: 4")), "{end:?}");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let start = Instant::now();
        let end =
            run(&mut shell("sleep 60 & sleep 60; echo no"), Duration::from_millis(200), |_| {});
        assert!(matches!(end.unwrap(), End::Failure(how) if how.contains("stopped")));
        assert!(start.elapsed() < Duration::from_secs(20), "the reader waited for a child");
    }
}
