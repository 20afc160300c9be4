//! `cleat volume clone`.

use cleat_volumes::{Driver, Order, copy};

use super::args::CloneArgs;
use super::create::pairs;
use super::list::size;
use super::{Held, deadline, volumes};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::{self, Format};

pub(super) fn run(context: &Context, asked: &CloneArgs) -> Result<()> {
    let volumes = volumes(context);
    let source = volumes.get(&asked.from)?;
    if let Ok(there) = volumes.get(&asked.to) {
        return Err(Error::VolumeExists { name: there.record.name.to_string() });
    }
    let mut options = pairs("--opt", &asked.opt)?;
    if options.is_empty() && matches!(source.record.spec.driver, Driver::Named(_)) {
        options = source.record.options.clone();
    }
    let labels = source.record.labels.clone();
    let order = Order { name: asked.to.clone(), options, labels, made_for: None };
    volumes.create(&order, deadline())?;
    let copied = copied(&volumes, &asked.from, &asked.to);
    if copied.is_err() {
        let _ = volumes.remove(&asked.to, false, deadline());
    }
    let copied = copied?;
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "name": asked.to, "entries": copied.entries, "bytes": copied.bytes,
            "sharedBytes": copied.shared,
        })),
        Format::Table => output::line(&format!(
            "{}: {} files, {}, of which {} share their blocks",
            asked.to,
            copied.entries,
            size(copied.bytes),
            size(copied.shared)
        )),
    }
    Ok(())
}

fn copied(volumes: &cleat_volumes::Volumes, from: &str, to: &str) -> Result<copy::Copied> {
    let from = Held::take(volumes, from)?;
    let to = Held::take(volumes, to)?;
    Ok(copy::tree(&from.path, &to.path)?)
}
