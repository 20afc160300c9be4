//! `cleat uninstall`: leaves nothing of ours: containers, attachments, networks, the ruleset,
//! bridges, folders. The programs themselves stay where they were put, and volumes with what is in
//! them.

use std::time::Duration;

use clap::Args;
use cleat_engine::ipam::Kind;
use cleat_engine::lease::open_pool;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::network::Known;
use crate::network::remove::{absent, remove, remove_if_empty};
use crate::network::usage::Usage;
use crate::output;
use crate::run::{record, stop, supervise};

#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// End what runs, and cut off the containers of other runtimes
    #[arg(short, long)]
    pub(crate) force: bool,
}

pub(crate) fn run(context: &Context, asked: &UninstallArgs) -> Result<()> {
    let usage = Usage::read(context)?;
    let running = record::all(context)?.into_iter().filter(|c| c.is_running() || c.is_attended());
    let mut names: Vec<String> = running.map(|container| container.name).collect();
    for attachment in usage.attachments() {
        let owner = &attachment.id.owner;
        if usage.name_of(owner).is_none() && !names.contains(owner) {
            names.push(owner.clone());
        }
    }
    let volumes = crate::volume::volumes(context);
    let used = volumes.list()?.into_iter().filter(|volume| !volume.uses.is_unused());
    let used: Vec<String> = used.map(|volume| volume.record.name.to_string()).collect();
    names.extend(used.iter().map(|name| format!("volume {name}")));
    if !names.is_empty() && !asked.force {
        return Err(Error::StillRunning { what: names.join(", ") });
    }
    let mut errors = Vec::new();
    containers(context, &mut errors)?;
    errors.extend(cleat_engine::collect(&context.node, None, &|_| false).err().map(Error::from));
    cleat_engine::kernel::delete::reap();
    networks(context, &mut errors)?;
    for name in used {
        errors.extend(volumes.reset(&name, crate::volume::deadline()).err().map(Error::from));
    }
    for bridge in cleat_engine::uninstall(&context.node)? {
        output::warn(&format!("bridge {bridge} is kept: interfaces of others are in it"));
    }
    let kept = volumes.list()?.len();
    if kept > 0 {
        output::warn(&format!("{kept} volumes are kept, with what is in them: `cleat volume rm`"));
    }
    // What could not be freed is still known by its records.
    Error::join(errors)?;
    folders(context)
}

fn containers(context: &Context, errors: &mut Vec<Error>) -> Result<()> {
    for container in record::all(context)? {
        errors.extend(stop::stop(context, &container, Duration::from_secs(10)).err());
        if let Some(left) = record::read(context, &container.id)? {
            errors.extend(supervise::take_back(context, &left).err());
            record::forget(context, &left.id)?;
        }
    }
    Ok(())
}

/// Ours go; of others, what was reserved through us.
fn networks(context: &Context, errors: &mut Vec<Error>) -> Result<()> {
    for network in Known::read(context)?.networks {
        if network.note.is_some() {
            errors.extend(remove(context, &network).err());
            continue;
        }
        let Ok(config) = network.pool() else { continue };
        let pool = open_pool(&context.node, config);
        for held in pool.list()?.into_iter().filter(|held| held.kind != Kind::Foreign) {
            errors.extend(pool.release_address(held.address).err().map(Error::from));
        }
    }
    Ok(())
}

/// Who this node was among others, and what it owned.
fn overlay(context: &Context) -> Result<()> {
    let folder = context.node.dirs().state.join("overlay");
    let claims = std::fs::read_dir(folder.join("claims")).into_iter().flatten().count();
    if claims > 0 {
        output::warn(&format!(
            "blocks of {claims} overlay networks are still this node's; another node frees them \
             by `cleat node forget`"
        ));
    }
    absent(std::fs::remove_dir_all(&folder)).map_err(crate::context::file_error("remove", &folder))
}

fn folders(context: &Context) -> Result<()> {
    let run = &context.node.dirs().run;
    absent(std::fs::remove_dir_all(run)).map_err(crate::context::file_error("remove", run))?;
    overlay(context)?;
    // Others may keep things there.
    remove_if_empty(&context.node.dirs().state.join("networks"));
    remove_if_empty(&context.node.dirs().state.join("volumes"));
    remove_if_empty(&context.node.dirs().state);
    Ok(())
}
