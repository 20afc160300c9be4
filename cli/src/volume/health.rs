//! `cleat volume health`: what is written down against what is there.

use std::process::ExitCode;

use cleat_volumes::{Driver, Health};
use serde::Serialize;

use super::{chosen, volumes};
use crate::context::Context;
use crate::error::Result;
use crate::output::{self, Format, Tone, print_table, toned};

#[derive(Serialize)]
struct Row {
    name: String,
    ok: bool,
    found: Vec<String>,
}

pub(super) fn run(context: &Context, names: &[String]) -> Result<ExitCode> {
    let volumes = volumes(context);
    let mut rows = Vec::new();
    for volume in chosen(&volumes, names)? {
        let Health { problems, notes } = volumes.health(&volume);
        let mut found = problems.clone();
        found.extend(notes);
        if matches!(volume.record.spec.driver, Driver::Tmpfs(_)) && volume.is_mounted() {
            found.push("content is lost with the last mount".into());
        }
        rows.push(Row { name: volume.record.name.to_string(), ok: problems.is_empty(), found });
    }
    let all_well = rows.iter().all(|row| row.ok);
    match context.format {
        Format::Json => output::json(&rows),
        Format::Table => {
            let cells = rows.into_iter().map(|row| {
                let state = match row.ok {
                    true => toned("ok", Tone::Good),
                    false => toned("problem", Tone::Bad),
                };
                [row.name, state, row.found.join("; ")]
            });
            print_table(["NAME", "HEALTH", "FOUND"], cells.collect());
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
