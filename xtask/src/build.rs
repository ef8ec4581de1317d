//! `cargo xtask build`: the BPF object, then the binary that embeds it.

use std::path::PathBuf;

use anyhow::Result;

use crate::{build_ebpf, exec};

/// Build the BPF object, then the `firewall` binary with it inside
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimised, and statically linked if this machine can
    #[arg(long)]
    release: bool,
}

/// Runs the subcommand.
///
/// # Errors
///
/// If the object or the binary cannot be built.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binary = if args.release { release()? } else { debug()? };
    exec::result(binary.display());
    Ok(())
}

fn debug() -> Result<PathBuf> {
    build_ebpf::build(&build_ebpf::Args::default())?;
    let mut command = exec::cargo();
    command.args(["build", "--package", "firewall-userspace"]);
    exec::step("building the binary (debug, dynamically linked)", || exec::run(&mut command))?;
    Ok(exec::target().join("debug/firewall"))
}

/// How the release binary is linked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Linking {
    /// Against musl: static, needs nothing of the server.
    Musl(String),
    /// Against glibc's static library.
    StaticGlibc(String),
    /// Against the shared glibc of the server.
    Dynamic,
}

impl Linking {
    /// The best that a machine with these can do.
    fn choose(architecture: &str, musl_target: bool, static_glibc: bool) -> Self {
        if musl_target {
            Self::Musl(format!("{architecture}-unknown-linux-musl"))
        } else if static_glibc {
            Self::StaticGlibc(format!("{architecture}-unknown-linux-gnu"))
        } else {
            Self::Dynamic
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Musl(_) => "static, musl",
            Self::StaticGlibc(_) => "static, glibc",
            Self::Dynamic => {
                "dynamic: there is neither a musl target (rustup target add \
                 x86_64-unknown-linux-musl) nor glibc's libc.a (apt-get install libc6-dev)"
            }
        }
    }
}

/// Builds what goes to servers, and says where it is.
///
/// # Errors
///
/// If the object or the binary cannot be built.
pub(crate) fn release() -> Result<PathBuf> {
    build_ebpf::build(&build_ebpf::Args::default())?;
    let architecture = std::env::consts::ARCH;
    let musl = sysroot()?.join(format!("lib/rustlib/{architecture}-unknown-linux-musl/lib"));
    let libc = PathBuf::from(format!("/usr/lib/{architecture}-linux-gnu/libc.a"));
    let linking = Linking::choose(architecture, musl.is_dir(), libc.is_file());

    let mut command = exec::cargo();
    command.args(["build", "--package", "firewall-userspace", "--release"]);
    let mut directory = exec::target();
    match &linking {
        Linking::Musl(target) => {
            command.args(["--target", target]);
            directory.push(target);
        }
        Linking::StaticGlibc(target) => {
            // With an explicit target the flag reaches the binary and its crates
            // only, not build scripts and procedural macros, which must be shared.
            let name = target.to_uppercase().replace('-', "_");
            command
                .args(["--target", target])
                .env(format!("CARGO_TARGET_{name}_RUSTFLAGS"), "-Ctarget-feature=+crt-static");
            directory.push(target);
        }
        Linking::Dynamic => {}
    }
    let what = format!("building the binary (release, {})", linking.describe());
    exec::step(&what, || exec::run(&mut command))?;
    Ok(directory.join("release/firewall"))
}

fn sysroot() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = exec::capture(std::process::Command::new(rustc).args(["--print", "sysroot"]))?;
    Ok(text.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn musl_is_preferred_and_dynamic_the_last_resort() {
        let choose = |musl, glibc| Linking::choose("x86_64", musl, glibc);
        assert_eq!(choose(true, true), Linking::Musl("x86_64-unknown-linux-musl".into()));
        assert_eq!(choose(false, true), Linking::StaticGlibc("x86_64-unknown-linux-gnu".into()));
        assert_eq!(choose(false, false), Linking::Dynamic);
    }
}
