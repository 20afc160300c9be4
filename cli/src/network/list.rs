//! `cleat network ls`.

use serde::Serialize;

use super::args::LsArgs;
use super::known::{Known, Network, Subnet};
use crate::context::Context;
use crate::error::Result;
use crate::output::{self, Format, print_table};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    driver: &'a str,
    subnets: &'a [Subnet],
    internal: bool,
    /// The bridge or master.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    /// Made by `cleat network create`.
    ours: bool,
    predefined: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a std::path::Path>,
}

pub(super) fn run(context: &Context, asked: &LsArgs) -> Result<()> {
    let known = Known::read(context)?;
    let wanted = |network: &&Network| asked.label.iter().all(|label| network.has_label(label));
    let found: Vec<&Network> = known.networks.iter().filter(wanted).collect();
    if asked.quiet {
        found.iter().for_each(|network| output::line(&network.name));
        return Ok(());
    }
    match context.format {
        Format::Json => output::json(&found.iter().map(|n| row(n)).collect::<Vec<_>>()),
        Format::Table => {
            let cells = |network: &&Network| {
                let subnets: Vec<String> =
                    network.subnets.iter().map(|s| s.subnet.to_string()).collect();
                let kind = match (network.is_predefined(), &network.note) {
                    (true, _) => "predefined",
                    (_, Some(_)) => "cleat",
                    (_, None) => "other",
                };
                [
                    network.name.clone(),
                    network.driver.clone(),
                    subnets.join(", "),
                    network.link.clone().unwrap_or_default(),
                    kind.to_owned(),
                ]
            };
            let rows = found.iter().map(cells).collect();
            print_table(["NAME", "DRIVER", "SUBNETS", "LINK", "MADE BY"], rows);
        }
    }
    Ok(())
}

fn row(network: &Network) -> Row<'_> {
    Row {
        name: &network.name,
        driver: &network.driver,
        subnets: &network.subnets,
        internal: network.internal,
        link: network.link.as_deref(),
        ours: network.note.is_some(),
        predefined: network.is_predefined(),
        file: network.list.as_ref().map(|list| list.path.as_path()),
    }
}
