//! `cleat network rm` and `prune`: the conflist, the leases and the bridge go, if nobody uses them.

use std::io::ErrorKind;
use std::path::Path;

use cleat_engine::kernel::Rtnl;
use cleat_engine::ruleset::Ruleset;
use cleat_engine::{inventory, vlan_gateway};

use super::args::{PruneArgs, RmArgs};
use super::known::{Known, Network, OVERLAY};
use super::overlay;
use super::usage::{self, Usage};
use crate::context::{Context, file_error};
use crate::error::{Error, Result};
use crate::output;

pub(super) fn run(context: &Context, asked: &RmArgs) -> Result<()> {
    let _lock = context.lock("networks")?;
    let mut errors = Vec::new();
    let mut removed = Vec::new();
    for name in &asked.names {
        match one(context, name, asked.force) {
            Ok(true) => removed.push(name.as_str()),
            Ok(false) => {}
            Err(error) => errors.push(error),
        }
    }
    output::names(context.format, "removed", &removed);
    Error::join(errors)
}

pub(super) fn prune(context: &Context, asked: &PruneArgs) -> Result<()> {
    let _lock = context.lock("networks")?;
    let known = Known::read(context)?;
    let usage = Usage::read(context)?;
    let mut removed = Vec::new();
    let mut errors = Vec::new();
    for network in &known.networks {
        let wanted = asked.label.iter().all(|label| network.has_label(label));
        if network.note.is_none() || !wanted || !is_unused(context, &usage, network)? {
            continue;
        }
        let outcome = match (asked.dry_run, network.driver == OVERLAY) {
            (true, _) => Ok(()),
            (false, true) => overlay::remove(context, &network.name),
            (false, false) => remove(context, network),
        };
        match outcome {
            Ok(()) => removed.push(network.name.as_str()),
            // In use on another node.
            Err(error @ Error::Netd { .. }) => output::warn(&error.to_string()),
            Err(error) => errors.push(error),
        }
    }
    output::names(context.format, "removed", &removed);
    Error::join(errors)
}

fn is_unused(context: &Context, usage: &Usage, network: &Network) -> Result<bool> {
    Ok(usage.of(context, network)?.is_empty() && usage::reservations(context, network)?.is_empty())
}

/// Whether there was one.
fn one(context: &Context, name: &str, force: bool) -> Result<bool> {
    let known = Known::read(context)?;
    let network = match known.find(name) {
        Ok(network) => network,
        Err(Error::NoNetwork { .. }) if force => return Ok(false),
        Err(error) => return Err(error),
    };
    let Some(list) = &network.list else {
        return Err(Error::Predefined { name: name.to_owned(), what: "cannot be removed" });
    };
    let users = Usage::read(context)?.of(context, network)?;
    if !users.is_empty() {
        let users: Vec<&str> = users.iter().map(usage::User::label).collect();
        let (name, users) = (name.to_owned(), users.join(", "));
        let instead = "end them, or detach them by `cleat network disconnect`";
        return Err(Error::InUse { name, users, instead });
    }
    if network.note.is_none() && !force {
        return Err(Error::NotOurs { name: name.to_owned(), path: list.path.clone() });
    }
    let reserved = usage::reservations(context, network)?.len();
    if reserved > 0 && !force {
        let users = format!("{reserved} reserved addresses");
        let instead = "release them by `cleat ip release`, or use --force";
        return Err(Error::InUse { name: name.to_owned(), users, instead });
    }
    if network.driver == OVERLAY && network.note.is_some() {
        overlay::remove(context, name)?;
    } else {
        remove(context, network)?;
    }
    Ok(true)
}

/// The file first: from then on no runtime attaches anything.
pub(crate) fn remove(context: &Context, network: &Network) -> Result<()> {
    if let Some(list) = &network.list {
        absent(std::fs::remove_file(&list.path)).map_err(file_error("remove", &list.path))?;
    }
    let leases = network.lease_dir();
    absent(std::fs::remove_dir_all(&leases)).map_err(file_error("remove", &leases))?;
    if let Some(data_dir) = leases.parent() {
        // Shared with other networks: stays unless it is empty.
        let _ = std::fs::remove_dir(data_dir);
    }
    match &network.link {
        Some(bridge) if network.driver == "bridge" => remove_bridge(context, network, bridge),
        _ => Ok(()),
    }
}

/// The bridge goes if it was made for this network and nothing is in it.
fn remove_bridge(context: &Context, network: &Network, bridge: &str) -> Result<()> {
    vlan_gateway::remove(&context.node, bridge, Some(&network.name))?;
    let rules = inventory::links(&context.node)?.into_iter().find(|rules| rules.link == bridge);
    let others = |name: &String| *name != network.name;
    if rules.as_ref().is_some_and(|rules| rules.networks.iter().any(others)) {
        return Ok(());
    }
    let shared = Known::read(context)?.networks.iter().any(|n| n.link.as_deref() == Some(bridge));
    let made = match &rules {
        Some(rules) => rules.created,
        // Other plugins keep no notes; the name says whose it is.
        None => network.note.is_some() && bridge.starts_with("cl"),
    };
    if shared || !made {
        return Ok(());
    }
    let mut rtnl = Rtnl::open()?;
    if let Some(link) = rtnl.link(bridge)? {
        if !rtnl.ports_of(link.index)?.is_empty() {
            output::warn(&format!("bridge {bridge} is kept: other interfaces are in it"));
            return Ok(());
        }
        rtnl.delete_link(bridge)?;
    }
    Ok(Ruleset::open(&context.node).forget_link(bridge)?)
}

/// What is not there need not be removed.
pub(crate) fn absent(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a folder if nothing is in it.
pub(crate) fn remove_if_empty(folder: &Path) {
    let _ = std::fs::remove_dir(folder);
}
