//! `cleat volume ls` and `inspect`.

use std::collections::BTreeMap;

use cleat_volumes::{Figures, Volume, masked};
use serde::Serialize;

use super::args::LsArgs;
use super::{chosen, filter, volumes};
use crate::context::Context;
use crate::error::Result;
use crate::output::time::{ago, rfc3339};
use crate::output::{self, Format, print_table};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'v> {
    name: &'v str,
    driver: &'v str,
    created: String,
    mountpoint: &'v std::path::Path,
    mounted: bool,
    /// By mount id.
    mounts: &'v BTreeMap<String, u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    published: &'v BTreeMap<String, std::path::PathBuf>,
    labels: &'v BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_for: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Measured>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: &'v Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'v str>,
}

/// Figures with their moment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    bytes: u64,
    inodes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode_limit: Option<u64>,
    measured: String,
}

impl Measured {
    pub(super) fn of(figures: &Figures) -> Self {
        Self {
            bytes: figures.bytes,
            inodes: figures.inodes,
            limit: figures.limit,
            inode_limit: figures.inode_limit,
            measured: rfc3339(figures.at),
        }
    }
}

fn row(volume: &Volume) -> Row<'_> {
    let (record, uses) = (&volume.record, &volume.uses);
    Row {
        name: record.name.as_str(),
        driver: record.spec.driver.name(),
        created: rfc3339(record.created),
        mountpoint: &volume.mountpoint,
        mounted: volume.is_mounted(),
        mounts: &uses.users,
        published: &uses.published,
        labels: &record.labels,
        options: masked(&record.options),
        read_only: record.spec.access.read_only,
        made_for: record.made_for.as_deref(),
        usage: volume.figures.as_ref().map(Measured::of),
        warnings: &uses.warnings,
        failure: uses.failure.as_ref().map(|failure| failure.text.as_str()),
    }
}

pub(super) fn list(context: &Context, asked: &LsArgs) -> Result<()> {
    let mut found = volumes(context).list()?;
    found.retain(|volume| filter::all(&asked.filter, volume));
    if asked.quiet {
        found.iter().for_each(|volume| output::line(volume.record.name.as_str()));
        return Ok(());
    }
    match context.format {
        Format::Json => output::json(&found.iter().map(row).collect::<Vec<_>>()),
        Format::Table => {
            let cells = |volume: &Volume| {
                let figures = volume.figures.as_ref();
                let used = figures.map(|f| size(f.bytes)).unwrap_or_default();
                let mounts: u64 = volume.uses.users.values().map(|n| u64::from(*n)).sum();
                [
                    volume.record.name.to_string(),
                    volume.record.spec.driver.name().to_owned(),
                    if mounts > 0 { mounts.to_string() } else { String::new() },
                    used,
                    ago(volume.record.created),
                ]
            };
            let rows = found.iter().map(cells).collect();
            print_table(["NAME", "DRIVER", "MOUNTS", "SIZE", "CREATED"], rows);
        }
    }
    Ok(())
}

pub(super) fn inspect(context: &Context, names: &[String]) -> Result<()> {
    let found = chosen(&volumes(context), names)?;
    // Whatever the format: a table has no room for all this.
    output::json(&found.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
