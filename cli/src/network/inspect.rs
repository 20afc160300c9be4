//! `cleat network inspect`: what the conflist says, and what is there.

use cleat_engine::MAX_PORTS;
use cleat_engine::ipam::Pool;
use cleat_engine::kernel::Rtnl;
use serde::Serialize;
use serde_json::Value;

use super::args::InspectArgs;
use super::known::{Known, Network, Note, OVERLAY, Subnet};
use super::overlay;
use super::usage::{self, Usage, User};
use crate::context::Context;
use crate::error::Result;
use crate::netd::status::parse;
use crate::output::{self, Format, print_table};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    name: &'a str,
    driver: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    internal: bool,
    ipam: &'a str,
    subnets: &'a [Subnet],
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a std::path::Path>,
    #[serde(flatten)]
    note: Option<&'a Note>,
    plugins: &'a [Value],
    /// Of the bridge, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge_ports: Option<Ports>,
    /// One per range set.
    addresses: Vec<Addresses>,
    reserved: Vec<Reserved>,
    attachments: Vec<User>,
    /// What netd knows of an overlay.
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<Value>,
}

#[derive(Serialize)]
struct Ports {
    used: usize,
    limit: usize,
}

#[derive(Serialize)]
struct Addresses {
    held: u128,
    capacity: u128,
}

#[derive(Serialize)]
struct Reserved {
    address: std::net::IpAddr,
    owner: String,
}

pub(super) fn run(context: &Context, asked: &InspectArgs) -> Result<()> {
    let known = Known::read(context)?;
    let usage = Usage::read(context)?;
    let found =
        asked.names.iter().map(|name| known.find(name)).collect::<Result<Vec<&Network>>>()?;
    let reports: Vec<Report<'_>> =
        found.into_iter().map(|n| report(context, &usage, n)).collect::<Result<_>>()?;
    match context.format {
        Format::Json => output::json(&reports),
        Format::Table => {
            for report in &reports {
                print(report)?;
            }
        }
    }
    Ok(())
}

fn report<'a>(context: &Context, usage: &Usage, network: &'a Network) -> Result<Report<'a>> {
    let addresses = match network.pool() {
        Ok(config) => {
            let node = &context.node;
            let pool = Pool::open(config, &node.dirs().run, node.boot_id());
            let sets = pool.usage()?.into_iter();
            sets.map(|set| Addresses { held: set.held, capacity: set.capacity }).collect()
        }
        Err(_) => Vec::new(),
    };
    let reserved = usage::reservations(context, network)?
        .into_iter()
        .map(|held| Reserved { address: held.address, owner: held.owner.id })
        .collect();
    let list = network.list.as_ref();
    Ok(Report {
        name: &network.name,
        driver: &network.driver,
        link: network.link.as_deref(),
        internal: network.internal,
        ipam: &network.ipam,
        subnets: &network.subnets,
        file: list.map(|list| list.path.as_path()),
        note: network.note.as_ref(),
        plugins: list.map(|list| list.plugins.as_slice()).unwrap_or_default(),
        bridge_ports: ports(network)?,
        addresses,
        reserved,
        attachments: usage.of(context, network)?,
        overlay: match network.driver.as_str() {
            OVERLAY => overlay::report(context, &network.name)?,
            _ => None,
        },
    })
}

fn ports(network: &Network) -> Result<Option<Ports>> {
    let Some(name) = network.link.as_deref().filter(|_| has_bridge(&network.driver)) else {
        return Ok(None);
    };
    let mut rtnl = Rtnl::open()?;
    let Some(bridge) = rtnl.link(name)? else { return Ok(None) };
    Ok(Some(Ports { used: rtnl.ports_of(bridge.index)?.len(), limit: MAX_PORTS }))
}

fn has_bridge(driver: &str) -> bool {
    ["bridge", OVERLAY].contains(&driver)
}

fn print(report: &Report<'_>) -> Result<()> {
    let field =
        |name: &str, value: &str| output::line(&format!("{:<14} {value}", format!("{name}:")));
    field("Name", report.name);
    field("Driver", report.driver);
    if let Some(link) = report.link {
        field(if has_bridge(report.driver) { "Bridge" } else { "Master" }, link);
    }
    if let Some(ports) = &report.bridge_ports {
        field("Bridge ports", &format!("{} of {} used", ports.used, ports.limit));
    }
    field("Internal", if report.internal { "yes" } else { "no" });
    for (index, subnet) in report.subnets.iter().enumerate() {
        let mut text = subnet.subnet.to_string();
        if let Some(gateway) = subnet.gateway {
            text.push_str(&format!(", gateway {gateway}"));
        }
        if let Some(used) = report.addresses.get(index) {
            text.push_str(&format!(", {} of {} addresses held", used.held, used.capacity));
        }
        field("Subnet", &text);
    }
    for reserved in &report.reserved {
        field("Reserved", &format!("{} for {}", reserved.address, reserved.owner));
    }
    if let Some(note) = report.note {
        field("Created", &note.created);
        note.labels.iter().for_each(|(key, value)| field("Label", &format!("{key}={value}")));
        note.options.iter().for_each(|(key, value)| field("Option", &format!("{key}={value}")));
    }
    if let Some(file) = report.file {
        field("File", &file.display().to_string());
    }
    if let Some(document) = &report.overlay {
        overlay::print(&parse(document.clone())?, field);
    }
    if report.attachments.is_empty() {
        field("Attachments", "none");
    } else {
        let rows = report.attachments.iter().map(|user| {
            let addresses: Vec<String> = user.addresses.iter().map(ToString::to_string).collect();
            [
                user.label().to_owned(),
                user.interface.clone(),
                addresses.join(", "),
                user.mac.clone().unwrap_or_default(),
            ]
        });
        output::line("");
        print_table(["CONTAINER", "INTERFACE", "ADDRESSES", "MAC"], rows.collect());
    }
    output::line("");
    Ok(())
}
