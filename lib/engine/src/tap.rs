//! A tap in the container: an interface whose other end a program opens there, as a virtual
//! machine does. It stays while nobody has it open, without a carrier.

use cleat_kernel::{Change, LinkChange, Namespace, Rtnl, tap};

use crate::attach::{Interface, Making, container_mac};
use crate::error::{Error, Result};
use crate::plan::TapPlan;
use crate::record::AttachmentRecord;
use crate::undo::Undo;
use crate::virtual_link;

/// Makes it.
pub(crate) fn attach<'a>(
    all: &Making<'_, 'a>,
    plan: &'a TapPlan,
    (record, undo): (&mut AttachmentRecord, &mut Undo<'a>),
) -> Result<Vec<Interface>> {
    let (netns, id) = (all.netns, &all.plan.id);
    let mut inside = Rtnl::open_in(netns)?;
    let bridge = match &plan.bridge {
        Some(name) => Some(find_bridge(&mut inside, name)?),
        None => None,
    };
    if inside.link(&id.slot)?.is_some() {
        return Err(Error::InterfaceTaken { name: id.slot.clone() });
    }
    let mac = container_mac(all.plan, all.grants);
    if let Some(link) = &mut record.link {
        link.mac = Some(mac);
    }
    undo.push("link", move || {
        virtual_link::remove_all(netns, id, tap::KIND).map_err(|e| e.to_string())
    });
    make(netns, plan, &id.slot)?;
    let change = LinkChange {
        name: &id.slot,
        mac: Some(mac),
        mtu: all.plan.network.mtu,
        master: bridge,
        ..LinkChange::default()
    };
    inside.apply(&[Change::Link(change)]).map_err(|refused| refused.error)?;
    let link = all.configure_alone(&mut inside, record)?;
    Ok(vec![Interface { name: link.name, mac: link.mac, mtu: link.mtu, inside: true }])
}

fn make(netns: &Namespace, plan: &TapPlan, name: &str) -> Result<()> {
    let tap = tap::Tap {
        name,
        multi_queue: plan.multi_queue,
        owner: plan.owner,
        group: plan.group,
        selinux: plan.selinux.as_deref(),
    };
    match netns.run(|| tap::create(&tap))? {
        Err(error @ cleat_kernel::Error::File { op: "open", .. }) if error.is_not_found() => {
            Err(no_device())
        }
        Err(error) if error.is_exists() => Err(Error::InterfaceTaken { name: name.to_owned() }),
        other => Ok(other?),
    }
}

fn find_bridge(inside: &mut Rtnl, name: &str) -> Result<u32> {
    match inside.link(name)? {
        Some(link) if link.kind == "bridge" => Ok(link.index),
        Some(link) => Err(Error::NotABridge { name: name.to_owned(), found: link.kind }),
        None => {
            let role = "the container's bridge";
            Err(Error::NoLink { role, name: name.to_owned() })
        }
    }
}

fn no_device() -> Error {
    let instead = "load its module, and give the plugin a /dev/net/tun";
    Error::NoFeature { feature: "tap", option: tap::OPTION, instead }
}

/// The first reason why the next attach would fail.
pub(crate) fn status() -> Result<()> {
    let there = std::path::Path::new("/dev/net/tun").exists();
    if there { Ok(()) } else { Err(no_device()) }
}
