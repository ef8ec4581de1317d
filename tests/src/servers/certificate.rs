//! Certificates for the lab's own names.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::gate;

/// A certificate and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate; also what a client must trust (`curl --cacert`).
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes a self-signed certificate for `name`, `NAME.pem` and `NAME.key` in
    /// `directory`, good for two days.
    ///
    /// # Errors
    ///
    /// If openssl is missing or fails.
    pub fn self_signed(directory: &Path, name: &str) -> Result<Self> {
        let program = gate::tool("openssl", "openssl")?;
        std::fs::create_dir_all(directory)?;
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        let output = Command::new(program)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-addext", &format!("subjectAltName=DNS:{name}")])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .context("cannot run openssl")?;
        if !output.status.success() {
            bail!("openssl: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { certificate, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_its_key_are_made() {
        let directory = std::env::temp_dir().join(format!("lab-cert-{}", std::process::id()));
        let made = Certificate::self_signed(&directory, "www.example.com").unwrap();
        let text = std::fs::read_to_string(&made.certificate).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(made.key.is_file());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
