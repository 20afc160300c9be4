//! Detach: frees everything that an attachment holds, whatever is left of it. Absence is
//! success; what fails does not keep the rest from being freed.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cleat_kernel::change::Which;
use cleat_kernel::{Change, Namespace, Rtnl};

use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::plan::Lessor;
use crate::record::{AttachmentRecord, LinkPart};
use crate::ruleset::{self, Ruleset, legacy};
use crate::{Node, bandwidth, device, ports, virtual_link};

/// What a front knows of an attachment that is to go.
#[derive(Debug, Clone)]
pub struct Detach {
    /// Who it is.
    pub id: AttachmentId,
    /// The container's namespace, if the runtime still has it.
    pub netns: Option<PathBuf>,
    /// The interface may be deleted in the container where there is no record of it: made by
    /// another program, or the record is lost.
    pub delete_interface: bool,
    /// The interface is a device of the host's, to be given back instead.
    pub is_device: bool,
    /// Its addresses as the runtime remembers them.
    pub addresses: Vec<IpAddr>,
    /// The bridge of its network.
    pub bridge: Option<String>,
}

/// Frees an attachment.
pub fn detach(node: &Node, asked: &Detach, lessor: &mut dyn Lessor) -> Result<()> {
    let mut errors = Vec::new();
    let name = asked.id.record_name();
    let _lock = node.lock_to_free(&name);
    let (record, lost) = read_or_set_aside(node, &name);
    release_over_link(lessor, &mut errors);
    if let Some(mut record) = record.filter(|r| node.is_this_boot(&r.boot)) {
        if record.is_being_attached() {
            record.complete(None, &lessor.held());
        }
        take_back(node, (&record, Sequel::None), asked.netns.as_deref(), &mut errors);
        // Parts of chained plugins alone: another program made the interface.
        if asked.delete_interface && record.link.is_none() {
            remove_unknown(node, asked, lessor, &mut errors);
        }
    } else {
        if asked.delete_interface {
            remove_unknown(node, asked, lessor, &mut errors);
        }
        if lost {
            // What the lost record stood for is whatever the others do not account for.
            note(&mut errors, Ruleset::open(node).rebuild(None));
        }
        remove_record(node, &name);
    }
    release_otherwise(lessor, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(Error::Incomplete { id: asked.id.clone(), errors }) }
}

/// Addresses that were asked for over the interface are given back over it, while it is there.
pub(crate) fn release_over_link(lessor: &mut dyn Lessor, errors: &mut Vec<Error>) {
    if lessor.over_link().is_some() {
        note(errors, lessor.release());
    }
}

/// All others are free once nothing uses them any more.
pub(crate) fn release_otherwise(lessor: &mut dyn Lessor, errors: &mut Vec<Error>) {
    if lessor.over_link().is_none() {
        note(errors, lessor.release());
    }
}

/// What the process does with the ruleset after an attachment is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequel {
    /// Nothing.
    None,
    /// It may need it again.
    More,
}

/// Frees what a record says, and removes it.
pub(crate) fn take_back(
    node: &Node,
    (record, sequel): (&AttachmentRecord, Sequel),
    netns: Option<&Path>,
    errors: &mut Vec<Error>,
) {
    let mut ruleset = Ruleset::open(node);
    let mut elements = ruleset::of_attachment(record);
    note(errors, ports::keep_others(&mut ruleset, record, &mut elements));
    if !elements.is_empty() {
        note(errors, ruleset.remove(&elements));
    }
    note(errors, ports::forget_flows(node, &mut ruleset, record));
    if let Some(host) = record.link.as_ref().and_then(LinkPart::routed) {
        note(errors, ruleset.forget_link(host));
    }
    if let Some(part) = &record.bandwidth {
        note(errors, bandwidth::take_back(record, part, netns));
    }
    if let Some(link) = &record.link {
        match &link.host {
            Some(host) => {
                let addresses = record.addresses.iter().map(|g| g.address.addr());
                let routed_by = link.routed_by.as_ref().unwrap_or(&link.master);
                let bridge = link.neighbours.then_some(routed_by.as_str());
                let done = (sequel == Sequel::None).then_some(ruleset);
                note(errors, remove_link_of(host, bridge, addresses, done));
            }
            None => {
                let path = netns.or(record.netns.as_ref().map(|n| n.path.as_path()));
                match &link.moved {
                    Some(moved) => note(errors, device::give_back(record, moved, path)),
                    None => note(errors, virtual_link::remove(node, record, path)),
                }
            }
        }
    }
    if errors.is_empty() {
        remove_record(node, &record.id.record_name());
    }
}

/// Where the disk takes no change, a note of what is no more stays: the next attach or detach of
/// the same name takes it back once more.
pub(crate) fn remove_record(node: &Node, name: &str) {
    if let Err(error) = node.attachments().remove(name) {
        node.warn(&error.to_string());
    }
}

/// Removes a host end by name, and the neighbour entries on a bridge by index.
pub(crate) fn remove_link(
    host: &str,
    bridge: Option<u32>,
    addresses: impl Iterator<Item = IpAddr>,
) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    for address in addresses {
        if let Some(link) = bridge {
            rtnl.remove(Change::DeleteNeighbour { link, address })?;
        }
    }
    rtnl.delete_link(host)?;
    Ok(())
}

fn remove_link_of(
    host: &str,
    bridge: Option<&str>,
    addresses: impl Iterator<Item = IpAddr>,
    done: Option<Ruleset<'_>>,
) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    if let Some(bridge) = bridge
        && let Some(link) = rtnl.link(bridge)?
    {
        for address in addresses {
            rtnl.remove(Change::DeleteNeighbour { link: link.index, address })?;
        }
    }
    // Asking costs less than a process that deletes nothing.
    if rtnl.link(host)?.is_some() {
        let socket = done.and_then(Ruleset::into_socket);
        rtnl.delete_link_fast(&Which::Name(host.to_owned()), socket)?;
    }
    Ok(())
}

/// A record that cannot be read is no reason to keep an address. Whether there was such a one.
fn read_or_set_aside(node: &Node, name: &str) -> (Option<AttachmentRecord>, bool) {
    match node.attachments().read(name) {
        Ok(record) => (record, false),
        Err(error) => {
            node.warn(&error.to_string());
            if let Err(error) = node.attachments().set_aside(name) {
                node.warn(&error.to_string());
            }
            (None, true)
        }
    }
}

/// Frees an attachment that no record tells of: made by other programs, or its record is lost.
fn remove_unknown(node: &Node, asked: &Detach, lessor: &mut dyn Lessor, errors: &mut Vec<Error>) {
    let mut addresses = asked.addresses.clone();
    addresses.extend(lessor.held());
    let mut ruleset = Ruleset::open(node);
    if let Some(netns) = asked.netns.as_deref().and_then(|path| Namespace::open(path).ok())
        && !netns.is_current()
    {
        note(
            errors,
            match asked.is_device {
                true => device::give_back_unknown(&netns, &asked.id),
                false => remove_inside(&netns, &asked.id.slot, &mut addresses),
            },
        );
    }
    note(errors, legacy::remove(ruleset.backend(), &asked.id, &addresses));
    let host = asked.id.host_link_name(0);
    let bridge = asked.bridge.as_deref();
    let addresses = addresses.iter().copied();
    note(errors, remove_link_of(&host, bridge, addresses, Some(ruleset)));
}

fn remove_inside(netns: &Namespace, ifname: &str, addresses: &mut Vec<IpAddr>) -> Result<()> {
    let mut rtnl = Rtnl::open_in(netns)?;
    let Some(link) = rtnl.link(ifname)? else {
        return Ok(());
    };
    for address in rtnl.addresses(Some(link.index))? {
        if !addresses.contains(&address.net.addr()) {
            addresses.push(address.net.addr());
        }
    }
    rtnl.delete_link_fast(&Which::Index(link.index), None)?;
    Ok(())
}

pub(crate) fn note(errors: &mut Vec<Error>, outcome: Result<()>) {
    if let Err(error) = outcome {
        errors.push(error);
    }
}
