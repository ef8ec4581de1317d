//! Finds the BPF object that the binary embeds, and tells the code where it is.
//!
//! The code embeds it by
//! `aya::include_bytes_aligned!(env!("FIREWALL_BPF_OBJECT"))`.

use std::path::{Path, PathBuf};

/// Names the object on input (another object than the default one) and on
/// output (its absolute path).
const VARIABLE: &str = "FIREWALL_BPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let object = std::env::var_os(VARIABLE).map_or_else(default_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(path) if path.is_file() => println!("cargo::rustc-env={VARIABLE}={}", path.display()),
        _ => println!(
            "cargo::error=the BPF object {} is not there; run `cargo xtask build-ebpf` first",
            object.display()
        ),
    }
}

/// Where `cargo xtask build-ebpf` puts the object, whatever the target directory.
fn default_object() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("target/bpf/firewall.o")
}
