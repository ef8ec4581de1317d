//! `cargo xtask build-ebpf`: the BPF object, compiled, linked and laid out.
//!
//! The BPF target directory is always `target/bpf` of the workspace, whatever
//! `CARGO_TARGET_DIR` says: flags and compiler differ from the host's, and
//! firewall-userspace's build script looks for the object there.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{exec, layout, toolchain};

/// Build the BPF programs to target/bpf/firewall.o, installing what is missing
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Compiler to use instead of the one found: `debian` or a rustup toolchain
    #[arg(long, value_name = "NAME")]
    toolchain: Option<String>,
}

const TARGET: &str = "bpfel-unknown-none";

/// Runs the subcommand.
///
/// # Errors
///
/// If the toolchain cannot be had or the programs do not compile.
pub(crate) fn run(args: &Args) -> Result<()> {
    let object = build(args)?;
    exec::result(object.display());
    Ok(())
}

/// Builds the object and returns its path.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn build(args: &Args) -> Result<PathBuf> {
    let compiler = toolchain::compiler(args.toolchain.as_deref())?;
    let linker = toolchain::linker(&compiler)?;
    let directory = directory();
    let start = Instant::now();
    exec::say(format_args!("BPF object: with {} ...", compiler.describe()));

    let mut command = compiler.cargo_build();
    exec::without_our_environment(&mut command);
    command
        .current_dir(exec::workspace())
        .args(["--package", "firewall-ebpf", "--bins", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags())
        .env("PATH", path_with(linker.parent().unwrap_or(Path::new("/"))));
    for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    exec::run(&mut command)?;

    let built = directory.join(TARGET).join("release/firewall-ebpf");
    let object = directory.join("firewall.o");
    let bytes =
        std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let laid_out = layout::object(&bytes)
        .with_context(|| format!("cannot lay out the code of {}", built.display()))?;
    let changed = publish(&laid_out, &object)?;
    let state = if changed { "new" } else { "unchanged" };
    exec::say(format_args!("BPF object: {state}, {}", exec::seconds(start.elapsed())));
    Ok(object)
}

/// Where everything about the BPF target is built.
fn directory() -> PathBuf {
    exec::workspace().join("target/bpf")
}

/// Flags that aya's own build passes (the kernel's architecture for the bindings,
/// debug information, and BTF made of it by the linker), and a CPU level with
/// 32-bit registers (Linux 5.1): without them the verifier loses the bounds of an
/// index that was compared as 32 bits and used as 64.
fn rustflags() -> String {
    let architecture = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let flags = [
        architecture.as_str(),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // Without it the linker makes a call of whatever empties 16 bytes or more, to a loop
        // that writes byte by byte.
        "-Clink-arg=--disable-expand-memcpy-in-order",
        // A jump costs more than the few bytes that it would spare.
        "-Clink-arg=--llvm-args=-enable-tail-merge=0",
        "-Ctarget-cpu=v3",
    ];
    flags.join("\u{1f}")
}

fn path_with(first: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(all).unwrap_or(path)
}

/// Puts the object at its stable place, at once and only if its bytes differ:
/// an unchanged time stamp keeps cargo from rebuilding what embeds it.
fn publish(bytes: &[u8], object: &Path) -> Result<bool> {
    if std::fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let draft = object.with_extension(format!("o.{}", std::process::id()));
    std::fs::write(&draft, bytes)
        .and_then(|()| std::fs::rename(&draft, object))
        .with_context(|| format!("cannot write {}", object.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_object_keeps_its_time_stamp() {
        let directory = std::env::temp_dir().join(format!("xtask-publish-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let object = directory.join("firewall.o");
        assert!(publish(b"one", &object).unwrap());
        let stamp = std::fs::metadata(&object).unwrap().modified().unwrap();
        assert!(!publish(b"one", &object).unwrap());
        assert_eq!(std::fs::metadata(&object).unwrap().modified().unwrap(), stamp);
        assert!(publish(b"two", &object).unwrap());
        assert_eq!(std::fs::read(&object).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
