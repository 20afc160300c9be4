//! `cleat port ls`: published ports of all attachments, by whichever runtime.

use std::net::IpAddr;

use clap::Subcommand;
use serde::Serialize;

use crate::context::Context;
use crate::error::Result;
use crate::network::usage::Usage;
use crate::output::{self, Format, print_table};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List published ports
    #[command(after_long_help = "Examples:\n  cleat port ls\n  cleat --format json port ls site")]
    #[command(visible_alias = "list")]
    Ls {
        /// Of this container only: a name or an id
        container: Option<String>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    protocol: &'static str,
    /// Absent: any of the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_address: Option<IpAddr>,
    host_port: u16,
    address: IpAddr,
    port: u16,
    container: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    network: String,
}

pub(crate) fn run(context: &Context, verb: Verb) -> Result<()> {
    let Verb::Ls { container } = verb;
    let usage = Usage::read(context)?;
    let mut rows = Vec::new();
    for record in usage.attachments() {
        let (owner, name) = (&record.id.owner, usage.name_of(&record.id.owner));
        let wanted = container.as_deref().is_none_or(|wanted| {
            name == Some(wanted) || (!wanted.is_empty() && owner.starts_with(wanted))
        });
        let ports = record.ports.iter().filter(|_| wanted);
        for binding in ports.flat_map(|part| &part.bindings) {
            rows.push(Row {
                protocol: binding.protocol.name(),
                host_address: binding.host,
                host_port: binding.port,
                address: binding.to,
                port: binding.to_port,
                container: owner.clone(),
                name: name.map(str::to_owned),
                network: record.id.network.clone(),
            });
        }
    }
    rows.sort_by(|a, b| {
        (a.host_port, a.protocol, a.address).cmp(&(b.host_port, b.protocol, b.address))
    });
    match context.format {
        Format::Json => output::json(&rows),
        Format::Table => {
            let cells = rows.into_iter().map(|row| {
                let host = row.host_address.map_or_else(
                    || if row.address.is_ipv4() { "0.0.0.0".into() } else { "::".into() },
                    |address| address.to_string(),
                );
                [
                    row.protocol.to_owned(),
                    format!("{}:{}", bracketed(&host), row.host_port),
                    format!("{}:{}", bracketed(&row.address.to_string()), row.port),
                    row.name.unwrap_or(row.container),
                    row.network,
                ]
            });
            let header = ["PROTOCOL", "HOST", "CONTAINER ADDRESS", "CONTAINER", "NETWORK"];
            print_table(header, cells.collect());
        }
    }
    Ok(())
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}
