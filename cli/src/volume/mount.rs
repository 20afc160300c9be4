//! `cleat volume mount`, `unmount` and `reset`.

use cleat_volumes::Target;

use super::args::{MountArgs, UnmountArgs};
use super::{deadline, volumes};
use crate::context::{Context, file_error};
use crate::error::{Error, Result};
use crate::output::{self, Format};

pub(super) fn mount(context: &Context, asked: &MountArgs) -> Result<()> {
    let volumes = volumes(context);
    let path = match &asked.target {
        None => volumes.mount(&asked.name, &asked.id, deadline())?,
        Some(path) => {
            let path = std::fs::canonicalize(path).map_err(file_error("find", path))?;
            let target = Target {
                path: path.clone(),
                read_only: asked.read_only,
                idmap: None,
                subpath: asked.subpath.clone(),
            };
            volumes.publish(&asked.name, &asked.id, &target, deadline())?;
            path
        }
    };
    match context.format {
        Format::Table => output::line(&path.display().to_string()),
        Format::Json => output::json(&serde_json::json!({"mountpoint": path})),
    }
    Ok(())
}

pub(super) fn unmount(context: &Context, asked: &UnmountArgs) -> Result<()> {
    let volumes = volumes(context);
    let uses = volumes.get(&asked.name)?.uses;
    if uses.published.contains_key(&asked.id) {
        return Ok(volumes.unpublish(&asked.name, &asked.id, deadline())?);
    }
    Ok(volumes.unmount(&asked.name, &asked.id, deadline())?)
}

pub(super) fn reset(context: &Context, names: &[String]) -> Result<()> {
    let volumes = volumes(context);
    let mut settled = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        match volumes.reset(name, deadline()) {
            Ok(found) => settled.push((name, found)),
            Err(error) => errors.push(Error::from(error)),
        }
    }
    match context.format {
        Format::Json => {
            let rows = settled.iter().map(|(name, found)| {
                serde_json::json!({
                    "name": name, "users": found.users, "published": found.published,
                    "wasMounted": found.was_mounted,
                })
            });
            output::json(&rows.collect::<Vec<_>>());
        }
        Format::Table => {
            for (name, found) in settled {
                let mounted = if found.was_mounted { ", unmounted" } else { "" };
                output::line(&format!("{name}: {} uses forgotten{mounted}", found.users.len()));
            }
        }
    }
    Error::join(errors)
}
