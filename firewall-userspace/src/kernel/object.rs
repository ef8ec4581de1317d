//! The embedded BPF object: loading root programs and generations.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use firewall_common::abi::tables::Setting;

use super::maps::NAMES;

/// The object that `cargo xtask build-ebpf` made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FIREWALL_BPF_OBJECT"));

/// The embedded object, for tests that look at what the compiler made.
#[must_use]
pub fn bytes() -> &'static [u8] {
    OBJECT
}

/// Settings of a generation, as the loader wants them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Settings(pub [u32; Setting::COUNT]);

// SAFETY: an array of integers: no padding, every bit pattern valid.
unsafe impl Pod for Settings {}

/// Programs of a generation, in the order in which they are loaded.
pub const JUDGES: [&str; 3] = ["judge_xdp", "judge_ingress", "judge_egress"];

/// Root programs.
pub const ROOTS: [&str; 3] = ["root_xdp", "root_ingress", "root_egress"];

/// Opens the object with the shared maps of `map_path` and, if given, the tables
/// of one generation.
///
/// # Errors
/// If a map cannot be had or the kernel refuses the object's BTF.
pub fn open(
    map_path: impl Fn(&str) -> std::path::PathBuf,
    tables: Option<&Path>,
    settings: &Settings,
) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.override_global("SETTINGS", &settings.0[..], true);
    for name in NAMES {
        loader.map_pin_path(name, map_path(name));
    }
    if let Some(tables) = tables {
        loader.map_pin_path("TABLES", tables);
    }
    loader.load(OBJECT).context("could not open the embedded BPF object")
}

/// Loads one program of an open object.
///
/// # Errors
/// With the end of the verifier's log, if it refuses.
pub fn load<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program> {
    let program = object.program_mut(name).with_context(|| format!("no program {name}"))?;
    let loaded = match program {
        aya::programs::Program::Xdp(xdp) => xdp.load(),
        aya::programs::Program::SchedClassifier(tc) => tc.load(),
        _ => anyhow::bail!("{name} is of no type we use"),
    };
    match loaded {
        Ok(()) => Ok(program),
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            let log = verifier_log.to_string();
            let tail: Vec<&str> = log.lines().rev().take(VERIFIER_LINES).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            Err(io_error).with_context(|| {
                format!("the kernel refuses {name}; the verifier says:\n{}", tail.join("\n"))
            })
        }
        Err(error) => Err(error).with_context(|| format!("could not load {name}")),
    }
}

/// Lines of the verifier's log worth showing.
const VERIFIER_LINES: usize = 30;

/// A loaded XDP program of an object.
///
/// # Errors
/// If the object has none of that name.
pub fn xdp<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

/// A loaded TC program of an object.
///
/// # Errors
/// If the object has none of that name.
pub fn tc<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
