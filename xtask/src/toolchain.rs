//! How the BPF object can be compiled on this machine: a compiler with a `core`
//! library for the BPF target, and a linker for its bitcode.
//!
//! What is there ([`Facts`]) and what follows from it ([`ways`], [`linker_plan`])
//! are apart, so that every kind of machine can be tested on this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{exec, packages};

/// What Debian calls its newest rustc, and the `core` for BPF built with it.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// The linker's version; older ones are replaced.
const LINKER_VERSION: &str = "0.13.0";
/// LLVM versions that this bpf-linker can be built with.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// A compiler that can make BPF bitcode of `no_std` code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// Debian's rustc with its prebuilt `core` for BPF.
    Debian,
    /// A rustup toolchain with the `rust-src` component; `core` is built from source.
    Rustup(String),
}

impl Compiler {
    /// The `cargo build` command of this compiler, as far as they differ.
    pub(crate) fn cargo_build(&self) -> Command {
        match self {
            Self::Debian => {
                let mut command = Command::new(DEBIAN_CARGO);
                // The crate names are those that use unstable features: aya-ebpf
                // (`asm_experimental_arch`), and ours for inline assembly.
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "aya_ebpf,firewall_common,firewall_ebpf")
                    .arg("build");
                command
            }
            Self::Rustup(toolchain) => {
                let mut command = Command::new("rustup");
                command.args(["run", toolchain, "cargo", "build", "-Zbuild-std=core"]);
                command.env_remove("RUSTC");
                if !toolchain.starts_with("nightly") {
                    command.env("RUSTC_BOOTSTRAP", "1");
                }
                command
            }
        }
    }

    /// Who this is, for progress lines.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Debian => format!("Debian's {DEBIAN_RUSTC} and its prebuilt BPF core"),
            Self::Rustup(toolchain) => format!("rustup toolchain {toolchain} and its rust-src"),
        }
    }

    /// The LLVM version this compiler writes bitcode of.
    fn llvm(&self) -> Result<u32> {
        let mut command = match self {
            Self::Debian => Command::new(DEBIAN_RUSTC),
            Self::Rustup(toolchain) => {
                let mut command = Command::new("rustup");
                command.args(["run", toolchain, "rustc"]);
                command
            }
        };
        let text = exec::capture(command.arg("-vV"))?;
        llvm_major(&text).ok_or_else(|| anyhow!("no LLVM version in the output of `rustc -vV`"))
    }
}

fn llvm_major(rustc_version: &str) -> Option<u32> {
    let version = rustc_version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// What a machine has that matters for choosing a compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Debian's compiler, cargo and BPF core are installed.
    pub(crate) debian: bool,
    /// Packages can be installed.
    pub(crate) apt: bool,
    /// rustup's toolchains, the active one first, and whether each has `rust-src`.
    pub(crate) toolchains: Vec<(String, bool)>,
}

impl Facts {
    /// Looks around, without starting a program where a file tells.
    pub(crate) fn gather() -> Self {
        let debian = [DEBIAN_RUSTC, DEBIAN_CARGO].iter().all(|path| Path::new(path).is_file())
            && has_core(Path::new(DEBIAN_CORE));
        // Asking for sudo takes time, so it is asked only if it can matter.
        let apt = !debian && packages::may_install();
        Self { debian, apt, toolchains: rustup_toolchains() }
    }
}

fn has_core(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libcore-") && name.ends_with(".rlib")
        })
    })
}

fn rustup_toolchains() -> Vec<(String, bool)> {
    if exec::find_program("rustup").is_none() {
        return Vec::new();
    }
    let home =
        std::env::var_os("RUSTUP_HOME").map_or_else(|| exec::home().join(".rustup"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(home.join("toolchains")) else { return Vec::new() };
    let active = std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let library = entry.path().join("lib/rustlib/src/rust/library/core/Cargo.toml");
            (entry.file_name().to_string_lossy().into_owned(), library.is_file())
        })
        .collect();
    found.sort_by_key(|(name, _)| (*name != active, !name.starts_with("nightly"), name.clone()));
    found
}

/// A way to a compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is there.
    Use(Compiler),
    /// Install [`DEBIAN_PACKAGES`], then use them.
    InstallDebian,
    /// Add `rust-src` to this rustup toolchain, then use it.
    AddSource(String),
}

/// Every way to a compiler on such a machine, the best first.
///
/// What is installed comes before what must be fetched, and Debian's prebuilt
/// core before one built from source.
pub(crate) fn ways(facts: &Facts) -> Vec<Way> {
    let mut ways = Vec::new();
    if facts.debian {
        ways.push(Way::Use(Compiler::Debian));
    }
    let sources = facts.toolchains.iter().filter(|(_, source)| *source);
    ways.extend(sources.map(|(name, _)| Way::Use(Compiler::Rustup(name.clone()))));
    if ways.is_empty() {
        if facts.apt {
            ways.push(Way::InstallDebian);
        }
        ways.extend(facts.toolchains.first().map(|(name, _)| Way::AddSource(name.clone())));
    }
    ways
}

/// Finds a compiler for BPF, installing what is missing.
///
/// `wanted` overrides the choice: `debian`, or the name of a rustup toolchain.
///
/// # Errors
///
/// If there is none and none can be had; the message names commands that help.
pub(crate) fn compiler(wanted: Option<&str>) -> Result<Compiler> {
    let ways = match wanted {
        None => ways(&Facts::gather()),
        Some("debian") => vec![Way::Use(Compiler::Debian)],
        Some(name) => vec![Way::Use(Compiler::Rustup(name.into()))],
    };
    let mut tried = String::new();
    for way in ways {
        match follow(&way) {
            Ok(compiler) => return Ok(compiler),
            Err(error) => {
                exec::say(format_args!("that did not work: {error:#}"));
                tried = format!("\n  last tried: {error:#}");
            }
        }
    }
    bail!(
        "no compiler for BPF on this machine. One of these would help:\n  \
         apt-get install {}      (as root, on Debian 12 or later)\n  \
         rustup component add rust-src{tried}",
        DEBIAN_PACKAGES.join(" ")
    )
}

fn follow(way: &Way) -> Result<Compiler> {
    match way {
        Way::Use(compiler) => Ok(compiler.clone()),
        Way::InstallDebian => {
            packages::install(&DEBIAN_PACKAGES, "compiling the BPF programs")?;
            if !has_core(Path::new(DEBIAN_CORE)) {
                bail!("the packages were installed, but brought no core library in {DEBIAN_CORE}");
            }
            Ok(Compiler::Debian)
        }
        Way::AddSource(toolchain) => {
            let mut command = Command::new("rustup");
            command.args(["component", "add", "rust-src", "--toolchain", toolchain]);
            exec::step(&format!("adding rust-src to {toolchain} (for the BPF core)"), || {
                exec::capture(&mut command)
            })?;
            Ok(Compiler::Rustup(toolchain.clone()))
        }
    }
}

/// What a machine has that matters for the linker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkerFacts {
    /// The installed linker's version, and the LLVM it is linked to if that shows.
    pub(crate) installed: Option<(String, Option<u32>)>,
    /// LLVM versions whose development files are installed.
    pub(crate) llvm_dev: Vec<u32>,
}

/// What to do about the linker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkerPlan {
    /// It is there.
    Use,
    /// Build it with this LLVM, after installing its development files if need be.
    Build { llvm: u32, install_llvm: bool },
}

/// What to do about the linker for a compiler that writes bitcode of LLVM `needed`.
///
/// LLVM reads bitcode of its own and of older versions.
///
/// # Errors
///
/// If this bpf-linker cannot be built with an LLVM that new.
pub(crate) fn linker_plan(facts: &LinkerFacts, needed: u32) -> Result<LinkerPlan> {
    if let Some((version, llvm)) = &facts.installed
        && parts(version) >= parts(LINKER_VERSION)
        && llvm.is_none_or(|llvm| llvm >= needed)
    {
        return Ok(LinkerPlan::Use);
    }
    let usable = |llvm: &&u32| **llvm >= needed && LINKER_LLVM.contains(*llvm);
    if let Some(&llvm) = facts.llvm_dev.iter().filter(usable).min() {
        return Ok(LinkerPlan::Build { llvm, install_llvm: false });
    }
    if !LINKER_LLVM.contains(&needed) {
        bail!(
            "the compiler writes LLVM {needed} bitcode, but bpf-linker {LINKER_VERSION} reads up \
             to {}; use an older toolchain: cargo xtask build-ebpf --toolchain NAME",
            LINKER_LLVM.end()
        );
    }
    Ok(LinkerPlan::Build { llvm: needed, install_llvm: true })
}

fn parts(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Makes sure that a bpf-linker for `compiler` is there, and returns its path.
///
/// # Errors
///
/// If it is missing and cannot be built; the message names the command that helps.
pub(crate) fn linker(compiler: &Compiler) -> Result<PathBuf> {
    let needed = compiler.llvm()?;
    let facts = LinkerFacts { installed: installed_linker(), llvm_dev: installed_llvm() };
    if let LinkerPlan::Build { llvm, install_llvm } = linker_plan(&facts, needed)? {
        if install_llvm {
            packages::install(&[&format!("llvm-{llvm}-dev")], "building bpf-linker")?;
        }
        build_linker(llvm, facts.installed.is_some())?;
    }
    exec::find_program("bpf-linker").context("bpf-linker was built, but is not on PATH")
}

fn installed_linker() -> Option<(String, Option<u32>)> {
    let path = exec::find_program("bpf-linker")?;
    let text = exec::capture(Command::new(&path).arg("--version")).ok()?;
    let version = text.split_whitespace().last()?.to_owned();
    let libraries = exec::capture(Command::new("ldd").arg(&path)).unwrap_or_default();
    Some((version, linked_llvm(&libraries)))
}

/// The LLVM version among the libraries that `ldd` lists.
fn linked_llvm(ldd: &str) -> Option<u32> {
    let rest = &ldd[ldd.find("libLLVM")? + "libLLVM".len()..];
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn installed_llvm() -> Vec<u32> {
    LINKER_LLVM
        .filter(|llvm| Path::new(&format!("/usr/lib/llvm-{llvm}/include/llvm-c/Core.h")).is_file())
        .collect()
}

fn build_linker(llvm: u32, replace: bool) -> Result<()> {
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let mut command = exec::cargo();
    command
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
        .env("LLVM_PREFIX", &prefix)
        .env("RUSTFLAGS", format!("-L native={prefix}/lib"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    if replace {
        command.arg("--force");
    }
    let what = format!("building bpf-linker {LINKER_VERSION} with LLVM {llvm} (about a minute)");
    exec::step(&what, || exec::capture(&mut command)).map_err(|error| {
        error.context(format!(
            "cannot build bpf-linker; try: LLVM_PREFIX={prefix} RUSTFLAGS='-L native={prefix}/lib' {}",
            exec::line(&command)
        ))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(name: &str, source: bool) -> (String, bool) {
        (name.into(), source)
    }

    #[test]
    fn debians_core_is_preferred_to_one_built_from_source() {
        let facts = Facts {
            debian: true,
            apt: true,
            toolchains: vec![toolchain("stable", false), toolchain("nightly", true)],
        };
        assert_eq!(
            ways(&facts),
            [Way::Use(Compiler::Debian), Way::Use(Compiler::Rustup("nightly".into()))]
        );
    }

    #[test]
    fn what_is_installed_is_preferred_to_what_must_be_fetched() {
        let facts = Facts { debian: false, apt: true, toolchains: vec![toolchain("stable", true)] };
        assert_eq!(ways(&facts), [Way::Use(Compiler::Rustup("stable".into()))]);
    }

    #[test]
    fn a_fresh_machine_installs_packages_and_then_tries_rustup() {
        let facts =
            Facts { debian: false, apt: true, toolchains: vec![toolchain("stable", false)] };
        assert_eq!(ways(&facts), [Way::InstallDebian, Way::AddSource("stable".into())]);
    }

    #[test]
    fn without_apt_rust_src_is_added_to_the_active_toolchain() {
        let facts = Facts {
            toolchains: vec![toolchain("stable", false), toolchain("nightly", false)],
            ..Facts::default()
        };
        assert_eq!(ways(&facts), [Way::AddSource("stable".into())]);
    }

    #[test]
    fn a_machine_with_nothing_has_no_way() {
        assert_eq!(ways(&Facts::default()), []);
    }

    #[test]
    fn stable_needs_the_bootstrap_switch_and_nightly_does_not() {
        let switch = |name: &str| {
            let command = Compiler::Rustup(name.into()).cargo_build();
            command.get_envs().any(|(key, value)| key == "RUSTC_BOOTSTRAP" && value.is_some())
        };
        assert!(switch("stable-x86_64-unknown-linux-gnu"));
        assert!(!switch("nightly-2026-05-20"));
    }

    #[test]
    fn a_linker_that_is_new_enough_is_used() {
        for installed in ["0.13.0", "0.13.1", "0.14.0", "1.0.0"] {
            let facts = LinkerFacts {
                installed: Some((installed.into(), Some(22))),
                ..LinkerFacts::default()
            };
            assert_eq!(linker_plan(&facts, 22).unwrap(), LinkerPlan::Use, "{installed}");
        }
    }

    #[test]
    fn a_linker_of_unknown_llvm_is_trusted() {
        let facts = LinkerFacts { installed: Some(("0.13.0".into(), None)), llvm_dev: vec![] };
        assert_eq!(linker_plan(&facts, 22).unwrap(), LinkerPlan::Use);
    }

    #[test]
    fn a_linker_that_is_too_old_or_has_an_old_llvm_is_replaced() {
        for installed in [("0.12.9", Some(22)), ("0.13.0", Some(21))] {
            let facts = LinkerFacts {
                installed: Some((installed.0.into(), installed.1)),
                llvm_dev: vec![21, 22],
            };
            assert_eq!(
                linker_plan(&facts, 22).unwrap(),
                LinkerPlan::Build { llvm: 22, install_llvm: false }
            );
        }
    }

    #[test]
    fn without_llvm_the_compilers_own_version_is_installed() {
        let plan = linker_plan(&LinkerFacts::default(), 22).unwrap();
        assert_eq!(plan, LinkerPlan::Build { llvm: 22, install_llvm: true });
    }

    #[test]
    fn a_newer_llvm_that_is_there_is_enough() {
        let facts = LinkerFacts { installed: None, llvm_dev: vec![23] };
        assert_eq!(
            linker_plan(&facts, 22).unwrap(),
            LinkerPlan::Build { llvm: 23, install_llvm: false }
        );
    }

    #[test]
    fn a_compiler_newer_than_every_linker_is_an_error_with_a_way_out() {
        let error = linker_plan(&LinkerFacts::default(), 24).unwrap_err();
        assert!(error.to_string().contains("--toolchain"), "{error}");
    }

    #[test]
    fn versions_are_read_from_what_programs_print() {
        assert_eq!(llvm_major("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
        let ldd = "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007fbd5)";
        assert_eq!(linked_llvm(ldd), Some(22));
        assert_eq!(linked_llvm("\tlibLLVM-21.so.1 => /x"), Some(21));
        assert_eq!(linked_llvm("\tlibc.so.6 => /x"), None);
    }
}
