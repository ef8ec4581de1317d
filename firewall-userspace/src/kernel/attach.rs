//! Links to interfaces: a root program's at first, see [`settle`](super::settle).
//!
//! Every link is pinned as `<hook>-<ifindex>`, so that enforcement goes on when
//! the agent does not. The name says how it is attached, because the kernel does
//! not tell native from generic XDP.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya_obj::programs::XdpAttachType;
use firewall_policy::ir::IngressHook;

use super::pins::Pins;

/// How a program sits on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// XDP in the driver.
    XdpNative,
    /// XDP after the stack made its buffer: counts frames, not wire packets,
    /// where the driver merges.
    XdpGeneric,
    /// TC ingress, TCX.
    TcxIngress,
    /// TC egress, TCX.
    TcxEgress,
}

impl Hook {
    /// Every way.
    pub const ALL: [Self; 4] =
        [Self::XdpNative, Self::XdpGeneric, Self::TcxIngress, Self::TcxEgress];

    /// Name, as pinned and exported.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::TcxIngress => "tcx-ingress",
            Self::TcxEgress => "tcx-egress",
        }
    }

    /// The root program of this hook.
    pub(super) fn root(self) -> &'static str {
        match self {
            Self::XdpNative | Self::XdpGeneric => "root_xdp",
            Self::TcxIngress => "root_ingress",
            Self::TcxEgress => "root_egress",
        }
    }

    /// The judge that may be attached in its place.
    pub(super) fn judge(self) -> &'static str {
        match self {
            Self::XdpNative | Self::XdpGeneric => "judge_xdp",
            Self::TcxIngress => "judge_ingress",
            Self::TcxEgress => "judge_egress",
        }
    }

    /// Whether this is where a policy wants to judge what arrives.
    #[must_use]
    pub fn is_wanted(self, wanted: IngressHook) -> bool {
        match wanted {
            IngressHook::Tc => self == Self::TcxIngress,
            IngressHook::Xdp | IngressHook::Auto => {
                matches!(self, Self::XdpNative | Self::XdpGeneric)
            }
        }
    }

    /// Whether packets to this host pass here.
    #[must_use]
    pub fn is_ingress(self) -> bool {
        !matches!(self, Self::TcxEgress)
    }
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// Interface index.
    pub ifindex: u32,
    /// How it is attached.
    pub hook: Hook,
}

impl Attachment {
    /// Where the link is pinned.
    pub(super) fn pin(&self, pins: &Pins) -> PathBuf {
        pins.links().join(format!("{}-{}", self.hook.name(), self.ifindex))
    }

    fn parse(name: &str) -> Option<Self> {
        let (hook, ifindex) = name.rsplit_once('-')?;
        let hook = Hook::ALL.into_iter().find(|known| known.name() == hook)?;
        Some(Self { ifindex: ifindex.parse().ok()?, hook })
    }
}

/// What is attached now.
///
/// # Errors
/// If the pins cannot be read.
pub fn list(pins: &Pins) -> Result<Vec<Attachment>> {
    let entries = match fs::read_dir(pins.links()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("could not list the links"),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(Attachment::parse));
    }
    found.sort();
    Ok(found)
}

/// Attaches both hooks to an interface; leaves alone what is attached already. One of ingress where
/// the policy does not want it any more goes when the other is there: for a moment both judge.
///
/// # Errors
/// If a hook is taken or the driver refuses. Nothing stays half attached.
pub fn attach(pins: &Pins, ifindex: u32, wanted: IngressHook) -> Result<Vec<Attachment>> {
    let links = list(pins)?.into_iter().filter(|link| link.ifindex == ifindex);
    let is_moved = |link: &Attachment| link.hook.is_ingress() && !link.hook.is_wanted(wanted);
    let (moved, present): (Vec<_>, Vec<_>) = links.partition(is_moved);
    let mut made = Vec::new();
    let result = (|| {
        if !present.iter().any(|link| link.hook.is_ingress()) {
            made.push(ingress(pins, ifindex, wanted)?);
        }
        if !present.iter().any(|link| !link.hook.is_ingress()) {
            made.push(attach_tc(pins, ifindex, false)?);
        }
        Ok(())
    })();
    if let Err(error) = result {
        for link in &made {
            remove(pins, link)?;
        }
        return Err(error);
    }
    for link in &moved {
        remove(pins, link)?;
    }
    Ok(present.into_iter().chain(made).collect())
}

fn ingress(pins: &Pins, ifindex: u32, wanted: IngressHook) -> Result<Attachment> {
    match wanted {
        IngressHook::Tc => attach_tc(pins, ifindex, true),
        IngressHook::Xdp | IngressHook::Auto => attach_xdp(pins, ifindex),
    }
}

/// Native XDP, else generic.
fn attach_xdp(pins: &Pins, ifindex: u32) -> Result<Attachment> {
    let native = attach_xdp_as(pins, ifindex, Hook::XdpNative, XdpMode::Driver);
    match native {
        Ok(link) => Ok(link),
        Err(error) if is_taken(&error) => Err(error.context(
            "another XDP program holds the interface; see which with `ip link show`, \
             and remove it or use `interfaces: { ingress-hook: tc }`",
        )),
        Err(native) => attach_xdp_as(pins, ifindex, Hook::XdpGeneric, XdpMode::Skb)
            .with_context(|| format!("native XDP failed, too: {native:#}")),
    }
}

fn attach_xdp_as(pins: &Pins, ifindex: u32, hook: Hook, mode: XdpMode) -> Result<Attachment> {
    let mut program = Xdp::from_pin(pins.root(hook.root()), XdpAttachType::Interface)
        .context("the root program is not pinned")?;
    let id = program.attach_to_if_index(ifindex, mode)?;
    // aya falls back to netlink without a word where links are not supported; such
    // an attachment cannot be pinned and would go with this process.
    let link: FdLink = program
        .take_link(id)?
        .try_into()
        .context("this kernel has no XDP links; Linux 5.9 or later is needed")?;
    pin(pins, link, Attachment { ifindex, hook })
}

fn attach_tc(pins: &Pins, ifindex: u32, ingress: bool) -> Result<Attachment> {
    let (hook, attach_type) = if ingress {
        (Hook::TcxIngress, TcAttachType::Ingress)
    } else {
        (Hook::TcxEgress, TcAttachType::Egress)
    };
    let mut program = SchedClassifier::from_pin(pins.root(hook.root()))
        .context("the root program is not pinned")?;
    let interface = super::store::interface_name(ifindex)?;
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program
        .attach_with_options(&interface, attach_type, first)
        .with_context(|| format!("could not attach to {interface}"))?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    pin(pins, link, Attachment { ifindex, hook })
}

fn pin(pins: &Pins, link: FdLink, attachment: Attachment) -> Result<Attachment> {
    fs::create_dir_all(pins.links()).context("could not create the directory of links")?;
    let path = attachment.pin(pins);
    // A link of an interface that is gone may have left its pin.
    let _stale = fs::remove_file(&path);
    link.pin(&path).with_context(|| format!("could not pin {}", path.display()))?;
    Ok(attachment)
}

/// Removes one link: the interface is open on that hook from now on.
///
/// # Errors
/// If the pin cannot be removed.
pub fn remove(pins: &Pins, attachment: &Attachment) -> Result<()> {
    remove_file(&attachment.pin(pins))
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether another program holds the hook.
fn is_taken(error: &anyhow::Error) -> bool {
    let busy = |io: &io::Error| matches!(io.raw_os_error(), Some(libc::EBUSY | libc::EEXIST));
    match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::SyscallError(error)) => busy(&error.io_error),
        _ => false,
    }
}

/// Refuses interfaces that must never be filtered.
///
/// # Errors
/// For the loopback interface.
pub fn check_interface(name: &str) -> Result<()> {
    if name == "lo" {
        bail!("lo carries the host's own traffic and is never filtered");
    }
    Ok(())
}
