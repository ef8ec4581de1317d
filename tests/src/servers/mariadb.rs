//! MariaDB: a fresh data directory in the host's memory, settings for speed, and
//! its own counters as the truth for request counts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::START_LIMIT;
use crate::gate;
use crate::host::{Host, Socket};
use crate::lab;
use crate::process::Process;

const SOCKET: &str = "/run/mysqld/mysqld.sock";
const DATA: &str = "/run/mysqld/data";

/// How MariaDB runs.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its TCP port, on all addresses of both families.
    pub port: u16,
    /// Its number in a replication; also turns the binary log on. 0 = alone.
    pub server_id: u32,
    /// More options, such as `--read-only=1`.
    pub options: Vec<String>,
}

impl Default for Database {
    fn default() -> Self {
        Self { port: 3306, server_id: 0, options: Vec::new() }
    }
}

/// A running MariaDB.
#[derive(Debug)]
pub struct MariaDb {
    process: Process,
}

impl MariaDb {
    /// Starts MariaDB and waits until it answers on its Unix socket, as user
    /// `root` without a password.
    ///
    /// # Errors
    ///
    /// If it is not installed, or does not start; the message holds its log.
    pub fn start(host: &Host, database: &Database) -> Result<Self> {
        let program = gate::tool("mariadbd", "mariadb-server")?;
        gate::tool("mariadb", "mariadb-client")?;
        let template = template(&program)?;
        host.check(
            Command::new("cp").args(["-r", "--reflink=auto"]).arg(&template).arg(prepared(host)?),
        )?;
        let mut command = Command::new(program);
        command.args(["--no-defaults", "--user=root", "--skip-name-resolve", "--bind-address=*"]);
        command.arg(format!("--datadir={DATA}")).arg(format!("--socket={SOCKET}"));
        command.arg(format!("--port={}", database.port)).args(SMALL);
        // Nothing of a test must survive a power failure.
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]);
        command.arg("--max-connections=500");
        if database.server_id != 0 {
            command.arg(format!("--server-id={}", database.server_id));
            command.args(["--log-bin=binlog", "--binlog-format=ROW", "--sync-binlog=0"]);
        }
        command.args(&database.options);
        let process = host.spawn("mariadb", &mut command)?;
        process.wait_listening(&[Socket::Unix(SOCKET), Socket::Tcp(database.port)], START_LIMIT)?;
        Ok(Self { process })
    }

    /// The process, for instance to read its log or kill it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Runs statements as `root` through the Unix socket, which no firewall sees;
    /// returns rows as lines, columns parted by tabs.
    ///
    /// # Errors
    ///
    /// If the server refuses them.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        command.arg(format!("--socket={SOCKET}")).args(["--execute", statements]);
        self.process.host().check(&mut command)
    }

    /// Adds a user who may do everything from anywhere.
    ///
    /// # Errors
    ///
    /// As [`MariaDb::sql`].
    pub fn add_user(&self, name: &str, password: &str) -> Result<()> {
        self.sql(&format!(
            "CREATE OR REPLACE USER '{name}'@'%' IDENTIFIED BY '{password}'; \
             GRANT ALL PRIVILEGES ON *.* TO '{name}'@'%'"
        ))?;
        Ok(())
    }

    /// One of the server's own counters, such as `Questions` or `Com_select`.
    ///
    /// # Errors
    ///
    /// If there is no such counter.
    pub fn status(&self, name: &str) -> Result<u64> {
        let row = self.sql(&format!("SHOW GLOBAL STATUS WHERE Variable_name = '{name}'"))?;
        let value = row.trim().split('\t').nth(1);
        value
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("MariaDB has no counter {name}: `{}`", row.trim()))
    }
}

/// Settings that the data directory's files depend on, so both programs get them.
const SMALL: [&str; 4] = [
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-data-file-path=ibdata1:8M:autoextend",
    "--aria-log-file-size=8M",
];

/// Makes the directories of the server on the host; returns where its data go.
fn prepared(host: &Host) -> Result<&'static Path> {
    let data = Path::new(DATA);
    let above = data.parent().unwrap_or(data);
    host.enter(|| std::fs::create_dir_all(above))?
        .with_context(|| format!("{}: cannot create {}", host.name(), above.display()))?;
    Ok(data)
}

/// A fresh data directory of this version of the server, to copy from: making
/// one takes seconds, copying it does not.
fn template(server: &Path) -> Result<PathBuf> {
    let installer = gate::tool("mariadb-install-db", "mariadb-server")?;
    let version = Command::new(server).args(["--no-defaults", "--version"]).output()?;
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    let cache = lab::base_directory().join("cache");
    let template = cache.join(format!("mariadb-{}", version_of(&text)?));
    if template.is_dir() {
        return Ok(template);
    }
    let draft = cache.join(format!("draft-{}", std::process::id()));
    std::fs::create_dir_all(&draft)?;
    let output = Command::new(installer)
        .args(["--no-defaults", "--user=root", "--skip-test-db", "--skip-name-resolve"])
        .arg("--auth-root-authentication-method=normal")
        .arg(format!("--datadir={}", draft.display()))
        .args(SMALL)
        .output()
        .context("cannot run mariadb-install-db")?;
    if !output.status.success() {
        bail!(
            "mariadb-install-db: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if let Err(error) = std::fs::rename(&draft, &template) {
        // Another process was quicker; its directory is as good.
        std::fs::remove_dir_all(&draft)?;
        if !template.is_dir() {
            return Err(error).context("cannot place the data directory");
        }
    }
    Ok(template)
}

/// `10.11.19-MariaDB-0+deb12u1` of the line that `mariadbd --version` prints.
fn version_of(text: &str) -> Result<&str> {
    let mut words = text.split_whitespace().skip_while(|word| *word != "Ver").skip(1);
    words.next().with_context(|| format!("no version in `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_prints() {
        let text =
            "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)\n";
        assert_eq!(version_of(text).unwrap(), "10.11.19-MariaDB-0+deb12u1");
        assert!(version_of("hello").is_err());
    }
}
