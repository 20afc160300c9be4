//! `cleat ps`.

use serde::Serialize;

use super::args::PsArgs;
use super::record::{self, Container, Joined};
use crate::context::Context;
use crate::error::Result;
use crate::output::{self, Format, Tone, print_table, time, toned};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    command: &'a [String],
    created: String,
    /// `starting`, `running`, `exited` or `abandoned`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<&'a std::path::Path>,
    networks: &'a [Joined],
}

pub(crate) fn run(context: &Context, asked: &PsArgs) -> Result<()> {
    let mut found = record::all(context)?;
    found.retain(|container| asked.all || container.exit_code.is_none());
    if asked.quiet {
        found.iter().for_each(|container| output::line(container.short_id()));
        return Ok(());
    }
    match context.format {
        Format::Json => output::json(&found.iter().map(row).collect::<Vec<_>>()),
        Format::Table => {
            let header = ["ID", "NAME", "COMMAND", "STATUS", "NETWORKS", "PORTS"];
            print_table(header, found.iter().map(cells).collect());
        }
    }
    Ok(())
}

fn row(container: &Container) -> Row<'_> {
    Row {
        id: &container.id,
        name: &container.name,
        command: &container.command,
        created: time::rfc3339(container.created),
        status: status(container),
        pid: container.process.map(|process| process.pid),
        exit_code: container.exit_code,
        netns: container.netns.as_deref(),
        networks: &container.networks,
    }
}

fn status(container: &Container) -> &'static str {
    match container {
        c if c.exit_code.is_some() => "exited",
        c if c.is_running() => "running",
        c if c.is_attended() => "starting",
        _ => "abandoned",
    }
}

fn cells(container: &Container) -> [String; 6] {
    let status = match (status(container), container.exit_code, container.ended) {
        (_, Some(code), Some(ended)) => format!("exited ({code}) {}", time::ago(ended)),
        (word @ "running", ..) => toned(word, Tone::Good),
        (word @ "abandoned", ..) => toned(word, Tone::Bad),
        (word, ..) => word.to_owned(),
    };
    let networks = container.networks.iter().map(|joined| {
        let addresses: Vec<String> =
            joined.addresses.iter().map(|net| net.addr().to_string()).collect();
        format!("{} {}", joined.network, addresses.join(" "))
    });
    let ports = container.networks.iter().flat_map(|joined| &joined.ports);
    [
        container.short_id().to_owned(),
        container.name.clone(),
        shortened(&container.command.join(" ")),
        status,
        networks.collect::<Vec<_>>().join(", "),
        ports.map(ToString::to_string).collect::<Vec<_>>().join(", "),
    ]
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 30;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}
