//! sshd with a key of its own and one client key: the connection an operator must
//! never lose.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::START_LIMIT;
use crate::gate;
use crate::host::{Host, Socket};
use crate::process::Process;

/// A running sshd that lets `root` in with [`Sshd::client`]'s key.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    key: PathBuf,
    port: u16,
}

impl Sshd {
    /// Starts sshd on `port` and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it is not installed, or does not start; the message holds its log.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let program = gate::tool("sshd", "openssh-server")?;
        let directory = host.directory().join("sshd");
        std::fs::create_dir_all(&directory)?;
        let (host_key, key) = (directory.join("host"), directory.join("client"));
        generate(&host_key)?;
        generate(&key)?;
        // Where sshd confines its unprivileged half; Debian's unit makes it.
        host.enter(|| std::fs::create_dir_all("/run/sshd"))?.context("cannot create /run/sshd")?;
        // A machine whose root account is locked (`!`) lets nobody in, not even by key;
        // the host's /etc is its own.
        host.sh("sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow; rm -f /etc/nologin")?;
        let configuration = directory.join("sshd_config");
        std::fs::write(
            &configuration,
            format!(
                "Port {port}\nHostKey {host_key}\nPidFile none\n\
                 PermitRootLogin yes\nPasswordAuthentication no\nStrictModes no\nUsePAM no\n\
                 UseDNS no\nMatch User root\nAuthorizedKeysFile {key}.pub\n",
                host_key = host_key.display(),
                key = key.display(),
            ),
        )?;
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(&configuration);
        let process = host.spawn("sshd", &mut command)?;
        process.wait_listening(&[Socket::Tcp(port)], START_LIMIT)?;
        Ok(Self { process, key, port })
    }

    /// The process, for instance to read its log or kill it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The client's key.
    #[must_use]
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// An ssh command that runs `script` on the server when it is run on a client.
    #[must_use]
    pub fn client(&self, address: &str, script: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5"]);
        command.args(["-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-i"]).arg(&self.key);
        command.args(["-p", &self.port.to_string(), &format!("root@{address}"), script]);
        command
    }
}

fn generate(key: &Path) -> Result<()> {
    let program = gate::tool("ssh-keygen", "openssh-client")?;
    let output = Command::new(program)
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(key)
        .output()
        .context("cannot run ssh-keygen")?;
    if !output.status.success() {
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
