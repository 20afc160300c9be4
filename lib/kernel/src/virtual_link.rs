//! Links that exist in the kernel alone: what each kind is on the wire, and whether the kernel has
//! the kind.

use std::os::fd::{AsFd, AsRawFd};

use crate::Rtnl;
use crate::change::ifinfo;
use crate::error::{Error, Result};
use crate::link::{Mac, ifla};
use crate::netns::Namespace;
use crate::vxlan::{self, Vxlan};
use crate::wire::{Batch, flags};

const RTM_NEWLINK: u16 = 16;

/// A link on another one, or on none.
#[derive(Debug)]
pub struct VirtualLink<'a> {
    /// Its name, in its namespace.
    pub name: &'a str,
    /// Its kind.
    pub kind: VirtualKind,
    /// Its address; `None`: the kernel's choice.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// The index of the link that it is on.
    pub master: Option<u32>,
    /// Its namespace; `None`: this one.
    pub netns: Option<&'a Namespace>,
}

/// A kind of link, with what is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualKind {
    /// Addresses of its own on the link underneath.
    Macvlan {
        /// `MACVLAN_MODE_*`.
        mode: u32,
        /// Length of the broadcast queue.
        broadcast_queue: Option<u32>,
    },
    /// The address of the link underneath.
    Ipvlan {
        /// `IPVLAN_MODE_*`.
        mode: u16,
    },
    /// Tagged frames of the link underneath.
    Vlan {
        /// The tag, 0..4094.
        id: u16,
    },
    /// Nothing underneath.
    Dummy,
    /// A routing domain.
    Vrf {
        /// The table of its routes.
        table: u32,
    },
    /// Frames in UDP.
    Vxlan(Vxlan),
    /// Packets encrypted in UDP; keys and peers are given to it by [`crate::Wireguard`].
    Wireguard,
}

impl VirtualKind {
    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Dummy => "dummy",
            Self::Vrf { .. } => "vrf",
            Self::Vxlan(_) => "vxlan",
            Self::Wireguard => "wireguard",
        }
    }

    /// The kernel's build option for it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "CONFIG_MACVLAN",
            Self::Ipvlan { .. } => "CONFIG_IPVLAN",
            Self::Vlan { .. } => "CONFIG_VLAN_8021Q",
            Self::Dummy => "CONFIG_DUMMY",
            Self::Vrf { .. } => "CONFIG_NET_VRF",
            Self::Vxlan(_) => "CONFIG_VXLAN",
            Self::Wireguard => "CONFIG_WIREGUARD",
        }
    }
}

pub(crate) fn encode(batch: &mut Batch, link: &VirtualLink<'_>) {
    let mut m = batch.message(RTM_NEWLINK, flags::CREATE | flags::EXCL, &ifinfo(0, None));
    m.str(ifla::IFNAME, link.name);
    if let Some(master) = link.master {
        m.u32(ifla::LINK, master);
    }
    if let Some(mac) = link.mac {
        m.bytes(ifla::ADDRESS, &mac.0);
    }
    if let Some(mtu) = link.mtu {
        m.u32(ifla::MTU, mtu);
    }
    if let Some(netns) = link.netns {
        m.u32(ifla::NET_NS_FD, netns.as_fd().as_raw_fd() as u32);
    }
    m.nest(ifla::LINKINFO, |info| {
        info.str(ifla::INFO_KIND, link.kind.name());
        if matches!(link.kind, VirtualKind::Dummy | VirtualKind::Wireguard) {
            return;
        }
        info.nest(ifla::INFO_DATA, |data| match link.kind {
            VirtualKind::Macvlan { mode, broadcast_queue } => {
                data.u32(ifla::MACVLAN_MODE, mode);
                if let Some(length) = broadcast_queue {
                    data.u32(ifla::MACVLAN_BC_QUEUE_LEN, length);
                }
            }
            VirtualKind::Ipvlan { mode } => {
                data.u16(ifla::IPVLAN_MODE, mode);
            }
            VirtualKind::Vlan { id } => {
                data.u16(ifla::VLAN_ID, id);
            }
            VirtualKind::Vrf { table } => {
                data.u32(ifla::VRF_TABLE, table);
            }
            VirtualKind::Vxlan(own) => vxlan::encode(data, own),
            VirtualKind::Dummy | VirtualKind::Wireguard => {}
        });
    });
}

impl Rtnl {
    /// The kernel can make links of a kind. Makes none: asks for one with an address of a single
    /// byte and on no link, which every kind refuses, in other words than the kernel says that it
    /// does not know a kind.
    pub fn has_kind(&mut self, kind: &str) -> Result<bool> {
        let mut batch = Batch::new();
        batch
            .message(RTM_NEWLINK, flags::CREATE | flags::EXCL, &ifinfo(0, None))
            .str(ifla::IFNAME, "cl-probe")
            .bytes(ifla::ADDRESS, &[0])
            .nest(ifla::LINKINFO, |info| {
                info.str(ifla::INFO_KIND, kind);
            });
        match self.socket_mut().send_batch(&mut batch)? {
            Ok(()) => {
                self.delete_link("cl-probe")?;
                Ok(true)
            }
            Err(refusal) => {
                let error: Error = refusal.into_error("probe link kind", kind);
                match error {
                    error if error.is_permission() => Err(error),
                    error => Ok(!error.is_unsupported()),
                }
            }
        }
    }
}
