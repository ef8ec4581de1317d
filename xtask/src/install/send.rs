//! A bundle on its way to a host.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::target::{Target, line};

const STAGE: &str = include_str!("stage.sh");
/// With what `stage.sh` ends if the host has no place for it.
const NO_PLACE: i32 = 74;

/// Copies a directory to a host, and says where it is there.
///
/// # Errors
///
/// If the host cannot be reached, or has no room: nothing is left there.
pub(super) fn send(target: &Target, bundle: &Path) -> Result<String> {
    let mut pack = Command::new("tar")
        .args(["--owner=0", "--group=0", "-C"])
        .arg(bundle)
        .args(["-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tar")?;
    let mut command = target.shell(&line(&["sh", "-c", STAGE]));
    let packed = pack.stdout.take().context("tar has no output")?;
    let output = command.stdin(packed).output();
    // With it goes our end of the pipe: else tar waits for ever where ssh has ended.
    drop(command);
    pack.wait()?;
    let (output, name) = (output.context("cannot start ssh")?, target.name());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        Some(NO_PLACE) => bail!("{} on {name}", text(&output.stderr)),
        _ => bail!("cannot reach {name}: {}", text(&output.stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_valid_shell() {
        let checked = Command::new("sh").args(["-n", "-c", STAGE]).status().unwrap();
        assert!(checked.success());
    }
}
