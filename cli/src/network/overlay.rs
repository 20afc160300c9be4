//! Overlay networks: netd makes and removes them, since all nodes have to agree; each node's netd
//! then writes their conflist, so that they are used as all networks are.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::CreateArgs;
use super::settings::Settings;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::netd::client::{Netd, escaped};
use crate::output::{self, print_table};

/// What is asked of netd, as docs/netd-api.md has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    name: &'a str,
    subnets: &'a [IpNet],
    ipv6: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_size: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vni: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    encrypted: bool,
    internal: bool,
    dns: bool,
    labels: std::collections::BTreeMap<String, String>,
}

/// A network as netd tells of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OverlayReport {
    pub(crate) name: String,
    vni: u32,
    pub(crate) port: u16,
    pub(crate) encrypted: bool,
    /// In bytes; of a network that this node is a member of.
    pub(crate) mtu: Option<u32>,
    pub(crate) joined: bool,
    pub(crate) halted: Option<String>,
    pub(crate) peers: Vec<Peer>,
}

/// A node with a part of the network.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    node: String,
    pub(crate) name: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) blocks: Vec<IpNet>,
    pub(crate) alive: bool,
    #[serde(default, rename = "self")]
    pub(crate) is_self: bool,
}

/// Has netd make a network. Its conflist is there when this returns.
pub(super) fn create(
    context: &Context,
    asked: &CreateArgs,
    settings: &Settings,
    labels: Vec<(String, String)>,
) -> Result<std::path::PathBuf> {
    let overlay = &settings.overlay;
    let body = Asked {
        name: &asked.name,
        subnets: &asked.subnet,
        ipv6: settings.ipv6,
        block_size: asked.block_size,
        vni: overlay.vni,
        mtu: settings.mtu,
        port: asked.port,
        encrypted: overlay.encrypted,
        internal: asked.internal,
        dns: settings.names,
        labels: labels.into_iter().collect(),
    };
    let body = serde_json::to_value(&body).unwrap_or_default();
    let made = Netd::new(context)?.post("/v1/overlay/networks", &body)?;
    let file = made.get("file").and_then(Value::as_str).map(std::path::PathBuf::from);
    file.ok_or_else(|| Error::Netd { message: "netd made the network but no conflist".to_owned() })
}

/// Has netd remove a network, everywhere.
pub(super) fn remove(context: &Context, name: &str) -> Result<()> {
    Netd::new(context)?.delete(&path(name)).map(drop)
}

/// What netd knows of a network; without netd that is said, and nothing known.
pub(super) fn report(context: &Context, name: &str) -> Result<Option<Value>> {
    match Netd::new(context)?.get(&path(name)) {
        Ok(document) => Ok(Some(document)),
        Err(error @ (Error::NoNetd { .. } | Error::Netd { .. })) => {
            output::warn(&error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// For people: what it is, and who has which part of it.
pub(super) fn print(report: &OverlayReport, field: impl Fn(&str, &str)) {
    field("VXLAN", &format!("identifier {}, UDP port {}", report.vni, report.port));
    field("Encrypted", if report.encrypted { "yes" } else { "no" });
    match (&report.halted, report.joined) {
        (Some(why), _) => field("Here", &format!("no new containers: {why}")),
        (None, true) => field("Here", "a member"),
        (None, false) => field("Here", "no container yet"),
    }
    if let Some(mtu) = report.mtu {
        field("MTU", &mtu.to_string());
    }
    if report.peers.is_empty() {
        return;
    }
    output::line("");
    let rows = report.peers.iter().map(|peer| {
        let name = if peer.is_self { format!("{} (here)", peer.name) } else { peer.name.clone() };
        let blocks: Vec<String> = peer.blocks.iter().map(ToString::to_string).collect();
        let state = if peer.alive { "up" } else { "down" };
        [
            name,
            peer.address.map(|address| address.to_string()).unwrap_or_default(),
            blocks.join(", "),
            state.to_owned(),
            peer.node.clone(),
        ]
    });
    print_table(["NODE", "ADDRESS", "BLOCKS", "STATE", "ID"], rows.collect());
    output::line("");
}

/// Where netd tells of a network.
pub(crate) fn path(name: &str) -> String {
    format!("/v1/overlay/networks/{}", escaped(name))
}
