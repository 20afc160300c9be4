//! `cleat volume rm` and `prune`.

use cleat_volumes::Volume;

use super::args::{PruneArgs, RmArgs};
use super::create::ANONYMOUS;
use super::list::size;
use super::{deadline, filter, volumes};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::{self, Format};

pub(super) fn run(context: &Context, asked: &RmArgs) -> Result<()> {
    let volumes = volumes(context);
    let mut removed = Vec::new();
    let mut errors = Vec::new();
    for name in &asked.names {
        match volumes.remove(name, false, deadline()) {
            Ok(_) => removed.push(name.as_str()),
            Err(error) if asked.force && error.is_no_volume() => {}
            Err(error) => errors.push(Error::from(error)),
        }
    }
    output::names(context.format, "removed", &removed);
    Error::join(errors)
}

pub(super) fn prune(context: &Context, asked: &PruneArgs) -> Result<()> {
    let volumes = volumes(context);
    let mut removed = Vec::new();
    let mut errors = Vec::new();
    let mut bytes = 0;
    for volume in volumes.list()? {
        if !is_meant(asked, &volume) {
            continue;
        }
        let name = volume.record.name.as_str();
        let freed = match asked.dry_run {
            true => match volumes.measure(name, true) {
                Ok(figures) => Ok(figures.map(|figures| figures.bytes).unwrap_or_default()),
                Err(error) => Err(error),
            },
            // Somebody may have begun to use it: it is looked at again under its lock.
            false => volumes.remove(name, true, deadline()).map(|freed| freed.bytes),
        };
        match freed {
            Ok(freed) => {
                bytes += freed;
                removed.push(name.to_owned());
            }
            Err(cleat_volumes::Error::InUse { .. }) => {}
            Err(error) => errors.push(Error::from(error)),
        }
    }
    match context.format {
        Format::Table => {
            removed.iter().for_each(|name| output::line(name));
            let word = if asked.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
            output::line(&format!("{word}: {}", size(bytes)));
        }
        Format::Json => {
            output::json(&serde_json::json!({"removed": removed, "bytes": bytes}));
        }
    }
    Error::join(errors)
}

fn is_meant(asked: &PruneArgs, volume: &Volume) -> bool {
    let record = &volume.record;
    volume.uses.is_unused()
        && record.made_for.is_none()
        && (asked.all || record.labels.contains_key(ANONYMOUS))
        && filter::all(&asked.filter, volume)
}
