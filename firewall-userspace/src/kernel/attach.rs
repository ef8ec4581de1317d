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
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode, tc};
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
    /// TC ingress by a clsact qdisc, before Linux 6.6.
    ClsactIngress,
    /// TC egress by a clsact qdisc.
    ClsactEgress,
}

impl Hook {
    /// Every way.
    pub const ALL: [Self; 6] = [
        Self::XdpNative,
        Self::XdpGeneric,
        Self::TcxIngress,
        Self::TcxEgress,
        Self::ClsactIngress,
        Self::ClsactEgress,
    ];

    /// Name, as pinned and exported.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::TcxIngress => "tcx-ingress",
            Self::TcxEgress => "tcx-egress",
            Self::ClsactIngress => "clsact-ingress",
            Self::ClsactEgress => "clsact-egress",
        }
    }

    /// The root program of this hook.
    pub(super) fn root(self) -> &'static str {
        match self {
            Self::XdpNative | Self::XdpGeneric => "root_xdp",
            Self::TcxIngress | Self::ClsactIngress => "root_ingress",
            Self::TcxEgress | Self::ClsactEgress => "root_egress",
        }
    }

    /// The judge that may be attached in its place; a filter of a qdisc is no link.
    pub(super) fn judge(self) -> Option<&'static str> {
        match self {
            Self::XdpNative | Self::XdpGeneric => Some("judge_xdp"),
            Self::TcxIngress => Some("judge_ingress"),
            Self::TcxEgress => Some("judge_egress"),
            Self::ClsactIngress | Self::ClsactEgress => None,
        }
    }

    /// Whether packets to this host pass here.
    #[must_use]
    pub fn is_ingress(self) -> bool {
        !matches!(self, Self::TcxEgress | Self::ClsactEgress)
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

/// Attaches both hooks to an interface; leaves alone what is attached already.
///
/// # Errors
/// If a hook is taken or the driver refuses. Nothing stays half attached.
pub fn attach(pins: &Pins, ifindex: u32, wanted: IngressHook) -> Result<Vec<Attachment>> {
    let present: Vec<_> = list(pins)?.into_iter().filter(|link| link.ifindex == ifindex).collect();
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
    match program.attach_with_options(&interface, attach_type, first) {
        Ok(id) => {
            let link: FdLink = program.take_link(id)?.try_into()?;
            pin(pins, link, Attachment { ifindex, hook })
        }
        Err(ProgramError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EINVAL) =>
        {
            clsact(pins, &mut program, &interface, ifindex, attach_type)
        }
        Err(error) => Err(error).with_context(|| format!("could not attach to {interface}")),
    }
}

/// Before TCX there are no links: the filter stays until it is removed, and a pin
/// of the program marks that it is ours.
fn clsact(
    pins: &Pins,
    program: &mut SchedClassifier,
    interface: &str,
    ifindex: u32,
    attach_type: TcAttachType,
) -> Result<Attachment> {
    // The qdisc may be there already; attaching tells if it is not.
    let _exists = qdisc_add_clsact(interface);
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let id = program
        .attach_with_options(interface, attach_type, options)
        .with_context(|| format!("could not attach to {interface}"))?;
    std::mem::forget(program.take_link(id)?);
    let hook = match attach_type {
        TcAttachType::Ingress => Hook::ClsactIngress,
        _ => Hook::ClsactEgress,
    };
    let attachment = Attachment { ifindex, hook };
    fs::create_dir_all(pins.links())?;
    program.pin(attachment.pin(pins)).context("could not mark the attachment")?;
    Ok(attachment)
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
    let attach_type = match attachment.hook {
        Hook::ClsactIngress => Some(TcAttachType::Ingress),
        Hook::ClsactEgress => Some(TcAttachType::Egress),
        _ => None,
    };
    if let (Some(attach_type), Ok(interface)) =
        (attach_type, super::store::interface_name(attachment.ifindex))
    {
        tc::qdisc_detach_program(&interface, attach_type, attachment.hook.root())
            .with_context(|| format!("could not detach from {interface}"))?;
    }
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
