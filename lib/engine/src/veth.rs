//! The veth pair of an attachment to a bridge: made in one message, named by the attachment.

use cleat_kernel::{Change, LinkChange, Mac, Namespace, Rtnl, VethPair};

use crate::bridge::{self, Ready};
use crate::error::{Error, Result};
use crate::identity::digest_of;
use crate::plan::{AttachmentPlan, BridgePlan, Grants};

/// How many other names are tried while somebody else's link has ours.
pub(crate) const NAMES: u8 = 8;

/// Makes the pair into the bridge, with a neighbour entry for each address. The host end's name.
pub(crate) fn create(
    rtnl: &mut Rtnl,
    (plan, bridge_plan): (&AttachmentPlan, &BridgePlan),
    (netns, bridge): (&Namespace, &Ready),
    (grants, mac): (&Grants, Mac),
) -> Result<String> {
    for attempt in 0..NAMES {
        let name = plan.id.host_link_name(attempt);
        let mut changes = vec![
            Change::Veth(VethPair {
                name: &name,
                mac: host_mac(&name),
                mtu: plan.network.mtu.or(Some(bridge.link.mtu)),
                master: Some(bridge.link.index),
                peer: &plan.id.slot,
                peer_mac: Some(mac),
                netns,
            }),
            Change::Link(LinkChange {
                name: &name,
                up: Some(true),
                no_link_local: true,
                hairpin: bridge_plan.hairpin.then_some(true),
                isolated: bridge_plan.port_isolation.then_some(true),
                ..LinkChange::default()
            }),
        ];
        if plan.network.permanent_neighbours {
            changes.extend(grants.addresses.iter().map(|grant| Change::Neighbour {
                link: bridge.link.index,
                address: grant.address.addr(),
                mac,
            }));
        }
        match rtnl.apply(&changes) {
            Ok(()) => {
                set_vlans(rtnl, &name, bridge_plan)?;
                return Ok(name);
            }
            Err(refused) if refused.index == 0 && refused.error.is_exists() => {
                forget_neighbours(rtnl, bridge, grants);
                let mut inside = Rtnl::open_in(netns)?;
                if inside.link(&plan.id.slot)?.is_some() {
                    return Err(Error::InterfaceTaken { name: plan.id.slot.clone() });
                }
            }
            Err(refused) if refused.index == 0 => {
                forget_neighbours(rtnl, bridge, grants);
                return Err(bridge::no_room(rtnl, &bridge.link, refused.error.into()));
            }
            Err(refused) => {
                let _ = rtnl.delete_link(&name);
                forget_neighbours(rtnl, bridge, grants);
                return Err(refused.error.into());
            }
        }
    }
    Err(Error::InterfaceTaken { name: plan.id.host_link_name(0) })
}

/// The messages after a refused one were done all the same.
fn forget_neighbours(rtnl: &mut Rtnl, bridge: &Ready, grants: &Grants) {
    for grant in &grants.addresses {
        let (link, address) = (bridge.link.index, grant.address.addr());
        let _ = rtnl.remove(Change::DeleteNeighbour { link, address });
    }
}

/// The host end's address, another one than the container's. It follows from the name, so that a
/// link of such a name is known for ours when nothing else tells of it any more.
pub(crate) fn host_mac(name: &str) -> Mac {
    Mac::from_hash(&digest_of(&["host end", name]))
}

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
