//! The embedded BPF object: its programs, with the maps and settings of one
//! generation written into their instructions.
//!
//! aya's own loader cannot do two things that every packet pays for, so the object
//! is parsed and linked by `aya-obj` and loaded here:
//!
//! - *maps of one value are reached by address* (`BPF_PSEUDO_MAP_VALUE`), without
//!   a look-up and without a test for what cannot fail. aya does so only for
//!   `.data` and its kin, whose content it writes anew at each load;
//! - *settings are immediate numbers*, not loads from `.rodata`: the verifier
//!   knows them either way, but only a number costs nothing at run time.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::{bpf_insn, bpf_map_type, bpf_prog_type};
use aya_obj::{Function, Object as Parsed, ProgramSection};
use firewall_common::abi::tables::Setting;

use super::fold::{self, WIDE};
use super::maps::{MMAPABLE, NAMES};
use super::program::{self, Records, Source};
use super::sys::{self, Shape};

/// The object that `cargo xtask build-ebpf` made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FIREWALL_BPF_OBJECT"));

/// The embedded object, for tests that look at what the compiler made.
#[must_use]
pub fn bytes() -> &'static [u8] {
    OBJECT
}

pub use firewall_policy::compile::Settings;

/// Programs of a generation that packets come to.
pub const JUDGES: [&str; 3] = ["judge_xdp", "judge_ingress", "judge_egress"];

/// Programs of a generation that answer for its tables.
pub const ANSWERS: [&str; 2] = ["answer_xdp", "answer_tc"];

/// Programs of no generation.
pub const STAGES: [&str; 8] = [
    "read_xdp",
    "conclude_xdp",
    "suspect_xdp",
    "requests_xdp",
    "read_tc",
    "conclude_tc",
    "suspect_tc",
    "requests_tc",
];

/// Root programs.
pub const ROOTS: [&str; 3] = ["root_xdp", "root_ingress", "root_egress"];

/// The object, linked to its maps; programs load one by one.
#[derive(Debug)]
pub struct Object {
    parsed: Parsed,
    btf: OwnedFd,
    loaded: BTreeMap<&'static str, OwnedFd>,
    /// Instructions name maps by descriptor.
    _maps: Vec<OwnedFd>,
}

impl Object {
    /// Opens the object with the shared maps of `map_path` and, if given, the
    /// tables of one generation.
    ///
    /// # Errors
    /// If a map cannot be had or the kernel refuses the object's BTF.
    pub fn open(
        map_path: impl Fn(&str) -> PathBuf,
        tables: Option<&Path>,
        settings: &Settings,
    ) -> Result<Self> {
        let mut parsed = Parsed::parse(OBJECT).context("could not read the embedded object")?;
        let btf = load_btf(&mut parsed)?;
        let mut maps = std::mem::take(&mut parsed.maps);
        let mut descriptors = BTreeMap::new();
        for (name, map) in &mut maps {
            let path = match name.as_str() {
                "TABLES" => tables.map(Path::to_path_buf),
                name if NAMES.contains(&name) => Some(map_path(name)),
                _ => None,
            };
            let fd = match path {
                Some(path) => sys::open(&path)?.with_context(|| {
                    format!("the map {name} is not pinned at {}", path.display())
                })?,
                None => create(name, map, settings)?,
            };
            descriptors.insert(name.clone(), fd);
        }
        let text = parsed.functions.keys().map(|(section, _)| *section).collect();
        let linked = maps.iter().filter_map(|(name, map)| {
            Some((name.as_str(), descriptors.get(name)?.as_raw_fd(), map))
        });
        parsed.relocate_maps(linked, &text).context("could not link the object to its maps")?;
        parsed.relocate_calls(&text).context("could not link the object")?;
        let values = descriptors.values().map(|fd| Ok((fd.as_raw_fd(), sys::shape(fd.as_fd())?)));
        let values: BTreeMap<_, _> = values.collect::<Result<_>>()?;
        let tables = descriptors.get("TABLES").context("the object has no tables")?.as_raw_fd();
        for function in parsed.functions.values_mut() {
            specialise(function, &values, tables, settings)?;
        }
        Ok(Self {
            parsed,
            btf,
            loaded: BTreeMap::new(),
            _maps: descriptors.into_values().collect(),
        })
    }

    /// Loads a program, once.
    ///
    /// # Errors
    /// With the end of the verifier's log, if it refuses.
    pub fn load(&mut self, name: &'static str) -> Result<BorrowedFd<'_>> {
        if !self.loaded.contains_key(name) {
            let fd = self.pass_verifier(name)?;
            self.loaded.insert(name, fd);
        }
        self.fd(name)
    }

    /// Loads programs, each on a thread of its own: the verifier is what takes time,
    /// and it takes several at once.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_all(&mut self, names: &[&'static str]) -> Result<()> {
        let object = &*self;
        let loaded = std::thread::scope(|scope| {
            let start = |name: &&'static str| (*name, scope.spawn(|| object.pass_verifier(name)));
            let running: Vec<_> = names.iter().map(start).collect();
            running
                .into_iter()
                .map(|(name, thread)| Ok((name, thread.join().ok().context("a thread failed")??)))
                .collect::<Result<Vec<_>>>()
        })?;
        self.loaded.extend(loaded);
        Ok(())
    }

    /// A loaded program.
    ///
    /// # Errors
    /// If it is not loaded.
    pub fn fd(&self, name: &str) -> Result<BorrowedFd<'_>> {
        Ok(self.loaded.get(name).with_context(|| format!("{name} is not loaded"))?.as_fd())
    }

    /// The descriptor of a loaded program, as an element of a program array.
    ///
    /// # Errors
    /// If it is not loaded.
    pub fn number(&self, name: &str) -> Result<[u8; 4]> {
        Ok(self.fd(name)?.as_raw_fd().to_ne_bytes())
    }

    fn pass_verifier(&self, name: &str) -> Result<OwnedFd> {
        let program = self.parsed.programs.get(name);
        let program = program.with_context(|| format!("no program {name}"))?;
        let function = self.parsed.functions.get(&(program.section_index, program.address));
        // Here, and not for all at once: most are parts of others, or not loaded.
        let mut function = function.with_context(|| format!("{name} has no code"))?.clone();
        fold::fold(&mut function)?;
        let (kind, flags) = match program.section {
            ProgramSection::Xdp { frags, .. } => {
                (bpf_prog_type::BPF_PROG_TYPE_XDP, if frags { XDP_HAS_FRAGS } else { 0 })
            }
            ProgramSection::SchedClassifier => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, 0),
            _ => bail!("{name} is of no type we use"),
        };
        let source = Source {
            name,
            kind,
            flags,
            license: &program.license,
            code: &function.instructions,
            functions: Records {
                bytes: function.func_info.func_info_bytes(),
                size: function.func_info_rec_size,
            },
            lines: Records {
                bytes: function.line_info.line_info_bytes(),
                size: function.line_info_rec_size,
            }
            .one_each(),
            btf: self.btf.as_fd(),
        };
        program::load(&source).map_err(|refusal| {
            let log: Vec<&str> = refusal.log.lines().collect();
            let tail = log.get(log.len().saturating_sub(VERIFIER_LINES)..).unwrap_or_default();
            anyhow::Error::new(refusal.error).context(format!(
                "the kernel refuses {name}; the verifier says:\n{}",
                tail.join("\n")
            ))
        })
    }
}

/// `BPF_F_XDP_HAS_FRAGS`.
const XDP_HAS_FRAGS: u32 = 1 << 5;

/// Lines of the verifier's log worth showing.
const VERIFIER_LINES: usize = 30;

/// The object's type information. Kinds that came after Linux 5.15 are rewritten to
/// older ones: nothing of ours depends on them.
fn load_btf(parsed: &mut Parsed) -> Result<OwnedFd> {
    let features = BtfFeatures::new(true, true, true, true, true, false, false, false);
    let btf = parsed.fixup_and_sanitize_btf(&features).context("bad BTF in the object")?;
    let btf = btf.context("the object has no BTF")?.to_bytes();
    program::load_btf(&btf).context("the kernel refuses the object's BTF")
}

/// A map of this object's own: what its programs remember, scratch memory, or the compiler's constants.
fn create(name: &str, map: &aya_obj::Map, settings: &Settings) -> Result<OwnedFd> {
    let kind =
        bpf_map_type::try_from(map.map_type()).ok().context("a map of a type unknown here")?;
    let mut shape = Shape {
        kind,
        key: map.key_size(),
        value: map.value_size(),
        entries: map.max_entries(),
        flags: map.map_flags(),
    };
    if name == "PASSES" {
        let cpus = settings.get(Setting::Cpus as usize).copied().unwrap_or_default().max(1);
        // What can be mapped begins on a page, and so each place on a cache line.
        (shape.value, shape.flags) = (shape.value * cpus, MMAPABLE);
    }
    // Names of maps have no dots before Linux 5.17.
    let fd = sys::create_map(name.trim_start_matches('.'), &shape)
        .with_context(|| format!("could not create the map {name}"))?;
    if !map.data().is_empty() {
        sys::set_element(fd.as_fd(), 0, map.data()).context("could not write constants")?;
        sys::freeze(fd.as_fd()).context("could not freeze constants")?;
    }
    Ok(fd)
}

/// The number is a map's descriptor.
const MAP: u8 = 1;
/// The number is the address of a map's value.
const MAP_VALUE: u8 = 2;

/// Writes addresses of values and settings into a function.
fn specialise(
    function: &mut Function,
    maps: &BTreeMap<i32, Shape>,
    tables: i32,
    settings: &Settings,
) -> Result<()> {
    let mut rest = &mut function.instructions[..];
    while let Some((first, after)) = rest.split_first_mut() {
        rest = after;
        if first.code != WIDE {
            continue;
        }
        let (second, after) = rest.split_first_mut().context("half an instruction")?;
        match first.src_reg() {
            MAP if maps.get(&first.imm).is_some_and(is_one_value) => {
                first.set_src_reg(MAP_VALUE);
                second.imm = 0;
            }
            0 => set(first, second, tables, settings)?,
            _ => {}
        }
        rest = after;
    }
    Ok(())
}

/// Arrays of one value: the kernel gives addresses into no other map.
fn is_one_value(shape: &Shape) -> bool {
    shape.kind == bpf_map_type::BPF_MAP_TYPE_ARRAY && shape.entries == 1
}

/// Puts a setting's value, or the address of the table's word that it names, in place of
/// its mark.
fn set(
    first: &mut bpf_insn,
    second: &mut bpf_insn,
    tables: i32,
    settings: &Settings,
) -> Result<()> {
    let mark = second.imm.cast_unsigned();
    if ![Setting::MARK, Setting::PLACE].contains(&mark) {
        return Ok(());
    }
    let value = settings.get(first.imm.cast_unsigned() as usize).context("no such setting")?;
    if mark == Setting::MARK {
        (first.imm, second.imm) = (value.cast_signed(), 0);
    } else {
        first.set_src_reg(MAP_VALUE);
        (first.imm, second.imm) = (tables, (4 * value).cast_signed());
    }
    Ok(())
}
