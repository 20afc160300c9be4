//! `cleat volume usage`: measures now.

use super::list::{Measured, size};
use super::{chosen, volumes};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::{self, Format, print_table};

pub(super) fn run(context: &Context, names: &[String]) -> Result<()> {
    let volumes = volumes(context);
    let mut measured = Vec::new();
    let mut errors = Vec::new();
    for volume in chosen(&volumes, names)? {
        let name = volume.record.name.to_string();
        match volumes.measure(&name, true) {
            Ok(figures) => measured.push((name, figures)),
            Err(error) => errors.push(Error::from(error)),
        }
    }
    match context.format {
        Format::Json => {
            let rows = measured.iter().map(|(name, figures)| {
                serde_json::json!({"name": name, "usage": figures.as_ref().map(Measured::of)})
            });
            output::json(&rows.collect::<Vec<_>>());
        }
        Format::Table => {
            let rows = measured.into_iter().map(|(name, figures)| match figures {
                Some(figures) => [
                    name,
                    size(figures.bytes),
                    figures.limit.map(size).unwrap_or_default(),
                    figures.inodes.to_string(),
                    figures.inode_limit.map(|n| n.to_string()).unwrap_or_default(),
                ],
                None => [name, "not mounted".into(), "".into(), "".into(), "".into()],
            });
            print_table(["NAME", "SIZE", "OF", "FILES", "OF"], rows.collect());
        }
    }
    Error::join(errors)
}
