//! The veth pair of an attachment, into a bridge or routed to: made in one message, named by the
//! attachment.

use std::net::IpAddr;

use cleat_kernel::{Change, Link, LinkChange, Mac, Namespace, Rtnl, VethPair};

use crate::bridge;
use crate::error::{Error, Result};
use crate::identity::digest_of;
use crate::plan::{AttachmentPlan, BridgePlan, Grants};

/// How many other names are tried while somebody else's link has ours.
pub(crate) const NAMES: u8 = 8;

/// How the near end is to be.
pub(crate) struct Near<'m> {
    /// MTU of both ends in bytes.
    pub(crate) mtu: Option<u32>,
    /// The bridge that it goes into.
    pub(crate) bridge: Option<&'m Link>,
    pub(crate) hairpin: bool,
    pub(crate) isolated: bool,
    /// Whose addresses get permanent neighbour entries, and on which link.
    pub(crate) neighbours: Option<(&'m Grants, u32)>,
}

/// Makes the pair, the near end up. The near end's name.
pub(crate) fn create(
    rtnl: &mut Rtnl,
    plan: &AttachmentPlan,
    (netns, mac): (&Namespace, Mac),
    near: &Near<'_>,
) -> Result<String> {
    for attempt in 0..NAMES {
        let name = plan.id.host_link_name(attempt);
        let mut changes = vec![
            Change::Veth(VethPair {
                name: &name,
                mac: host_mac(&name),
                mtu: near.mtu,
                master: near.bridge.map(|bridge| bridge.index),
                peer: &plan.id.slot,
                peer_mac: Some(mac),
                netns,
            }),
            Change::Link(LinkChange {
                name: &name,
                up: Some(true),
                no_link_local: true,
                hairpin: near.hairpin.then_some(true),
                isolated: near.isolated.then_some(true),
                ..LinkChange::default()
            }),
        ];
        for (link, address) in near.entries() {
            changes.push(Change::Neighbour { link, address, mac });
        }
        match rtnl.apply(&changes) {
            Ok(()) => return Ok(name),
            Err(refused) if refused.index == 0 && refused.error.is_exists() => {
                forget_neighbours(rtnl, near);
                let mut inside = Rtnl::open_in(netns)?;
                if inside.link(&plan.id.slot)?.is_some() {
                    return Err(Error::InterfaceTaken { name: plan.id.slot.clone() });
                }
            }
            Err(refused) if refused.index == 0 => {
                forget_neighbours(rtnl, near);
                let error = refused.error.into();
                return Err(match near.bridge {
                    Some(bridge) => bridge::no_room(rtnl, bridge, error),
                    None => error,
                });
            }
            Err(refused) => {
                let _ = rtnl.delete_link(&name);
                forget_neighbours(rtnl, near);
                return Err(refused.error.into());
            }
        }
    }
    Err(Error::InterfaceTaken { name: plan.id.host_link_name(0) })
}

impl Near<'_> {
    /// Link and address of each neighbour entry.
    fn entries(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.neighbours.into_iter().flat_map(|(grants, link)| {
            grants.addresses.iter().map(move |grant| (link, grant.address.addr()))
        })
    }
}

/// The messages after a refused one were done all the same.
fn forget_neighbours(rtnl: &mut Rtnl, near: &Near<'_>) {
    for (link, address) in near.entries() {
        let _ = rtnl.remove(Change::DeleteNeighbour { link, address });
    }
}

/// The host end's address, another one than the container's. It follows from the name, so that a
/// link of such a name is known for ours when nothing else tells of it any more.
pub(crate) fn host_mac(name: &str) -> Mac {
    Mac::from_hash(&digest_of(&["host end", name]))
}

/// Puts the near end into the VLANs of its plan.
pub(crate) fn set_vlans(rtnl: &mut Rtnl, name: &str, plan: &BridgePlan) -> Result<()> {
    if plan.vlan.is_none() && plan.vlan_trunk.is_empty() {
        return Ok(());
    }
    let link = rtnl
        .link(name)?
        .ok_or_else(|| Error::NoLink { role: "host end", name: name.to_owned() })?
        .index;
    let without = (!plan.keep_default_vlan).then_some(1);
    let tagged = &plan.vlan_trunk;
    rtnl.apply(&[Change::PortVlans { link, pvid: plan.vlan, tagged, without }])
        .map_err(|refused| refused.error.into())
}
