//! A device of the host's, moved into the container and given back. It keeps its link address; its
//! name on the host stands in its alias, as the reference notes it, and in the record.

use std::fs;
use std::path::Path;

use cleat_kernel::link::iff;
use cleat_kernel::{Change, Link, LinkChange, Namespace, Rtnl};

use crate::attach::{Interface, Making};
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::plan::Device;
use crate::record::{AttachmentRecord, MovedDevice};
use crate::undo::Undo;

/// Moves it into the container.
pub(crate) fn attach<'a>(
    all: &Making<'_, 'a>,
    device: &Device,
    rtnl: &mut Rtnl,
    (record, undo): (&mut AttachmentRecord, &mut Undo<'a>),
) -> Result<Vec<Interface>> {
    let (node, plan, netns) = (all.node, all.plan, all.netns);
    let link = find(rtnl, device)?;
    let mut inside = Rtnl::open_in(netns)?;
    if inside.link(&plan.id.slot)?.is_some() {
        return Err(Error::InterfaceTaken { name: plan.id.slot.clone() });
    }
    let moved = MovedDevice {
        name: link.name.clone(),
        alias: link.alias.clone(),
        was_up: link.flags & iff::UP != 0,
    };
    if let Some(part) = &mut record.link {
        part.mac = link.mac;
        part.moved = Some(moved.clone());
    }
    // Whoever comes after a crash must know what to give back.
    node.attachments().replace(&plan.id.record_name(), record)?;
    let (id, mac) = (&plan.id, link.mac);
    undo.push("device", move || {
        give_back_from(netns, id, &moved, mac).map(drop).map_err(|e| e.to_string())
    });
    let change = LinkChange {
        name: &link.name,
        index: link.index,
        netns: Some(netns),
        rename: Some(&plan.id.slot),
        alias: Some(&link.name),
        ..LinkChange::default()
    };
    rtnl.apply(&[Change::Link(change)]).map_err(|refused| refused.error)?;

    let link = all.configure_alone(&mut inside, record)?;
    Ok(vec![Interface { name: link.name, mac: link.mac, mtu: link.mtu, inside: true }])
}

fn find(rtnl: &mut Rtnl, device: &Device) -> Result<Link> {
    let missing = || Error::NoLink { role: "device", name: device.to_string() };
    match device {
        Device::Name(name) => rtnl.link(name)?.ok_or_else(missing),
        Device::Mac(mac) => {
            rtnl.links()?.into_iter().find(|link| link.mac == Some(*mac)).ok_or_else(missing)
        }
        Device::Folder(folder) => {
            let name = interface_below(folder).ok_or_else(missing)?;
            rtnl.link(&name)?.ok_or_else(missing)
        }
    }
}

/// The network interface of a device by its folder in sysfs; virtio puts a device of its own in
/// between.
fn interface_below(folder: &Path) -> Option<String> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let between = names(folder).into_iter().filter(|name| name.starts_with("virtio"));
    let folders = std::iter::once(folder.to_owned()).chain(between.map(|name| folder.join(name)));
    folders.map(|folder| names(&folder.join("net"))).find_map(|found| found.into_iter().min())
}

/// Gives back what a record tells of.
pub(crate) fn give_back(
    record: &AttachmentRecord,
    moved: &MovedDevice,
    netns: Option<&Path>,
) -> Result<()> {
    let mac = record.link.as_ref().and_then(|link| link.mac);
    if let Some(netns) = netns.and_then(|path| Namespace::open(path).ok())
        && !netns.is_current()
        && give_back_from(&netns, &record.id, moved, mac)?
    {
        return Ok(());
    }
    // A namespace that is gone gave the device back under whatever name was free.
    let mut rtnl = Rtnl::open()?;
    if rtnl.link(&moved.name)?.is_some() {
        return Ok(());
    }
    let came = |link: &Link| link.alias.as_deref() == Some(&moved.name) && link.mac == mac;
    match rtnl.links()?.into_iter().find(came) {
        Some(link) => rename(&mut rtnl, &link, moved),
        None => Ok(()),
    }
}

/// Gives back what no record tells of, by its alias.
pub(crate) fn give_back_unknown(netns: &Namespace, id: &AttachmentId) -> Result<()> {
    let Some(link) = Rtnl::open_in(netns)?.link(&id.slot)? else {
        return Ok(());
    };
    let name = link.alias.unwrap_or_else(|| id.slot.clone());
    let moved = MovedDevice { name, alias: None, was_up: false };
    give_back_from(netns, id, &moved, link.mac).map(drop)
}

/// Out of the container's namespace. Whether it was there.
fn give_back_from(
    netns: &Namespace,
    id: &AttachmentId,
    moved: &MovedDevice,
    mac: Option<cleat_kernel::Mac>,
) -> Result<bool> {
    let mut inside = Rtnl::open_in(netns)?;
    let own = |link: &Link| {
        link.mac == mac && (link.name == id.slot || link.alias.as_deref() == Some(&moved.name))
    };
    let Some(link) = inside.links()?.into_iter().find(own) else {
        return Ok(false);
    };
    let home = Namespace::current()?;
    let change = LinkChange {
        name: &link.name,
        index: link.index,
        netns: Some(&home),
        rename: Some(&moved.name),
        alias: Some(moved.alias.as_deref().unwrap_or_default()),
        ..LinkChange::default()
    };
    inside.apply(&[Change::Link(change)]).map_err(|refused| refused.error)?;
    if moved.was_up {
        let up = LinkChange { name: &moved.name, up: Some(true), ..LinkChange::default() };
        Rtnl::open()?.apply(&[Change::Link(up)]).map_err(|refused| refused.error)?;
    }
    Ok(true)
}

/// A link that is up keeps its name on kernels before 6.2.
fn rename(rtnl: &mut Rtnl, link: &Link, moved: &MovedDevice) -> Result<()> {
    let this = || LinkChange { name: &link.name, index: link.index, ..LinkChange::default() };
    let alias = Some(moved.alias.as_deref().unwrap_or_default());
    let changes = [
        Change::Link(LinkChange { up: Some(false), ..this() }),
        Change::Link(LinkChange { rename: Some(&moved.name), alias, ..this() }),
        Change::Link(LinkChange { up: Some(moved.was_up), ..this() }),
    ];
    rtnl.apply(&changes).map_err(|refused| refused.error.into())
}
