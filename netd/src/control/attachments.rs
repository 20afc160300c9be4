//! `GET /v1/attachments`: all attachments on record, with what passed through their host ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use axum::Json;
use cleat_engine::kernel::traffic::Traffic;
use cleat_engine::kernel::{Mac, Rtnl};
use cleat_engine::record::{AttachmentRecord, Binding};
use cleat_engine::{Node, inventory};
use serde::Serialize;

use super::{Outcome, State, with_node};
use crate::daemon::Shared;
use crate::error::Result;
use crate::names::Asked;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment {
    network: String,
    container: String,
    interface: String,
    /// What it is called first.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<Mac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<PathBuf>,
    ports: Vec<Port>,
    /// `false` while an attach is under way.
    ready: bool,
    /// Of the container: received is what it got. Absent where it has no host end.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Counters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Counters>,
    /// Its questions for names since this daemon knows it; absent where it has no names.
    #[serde(skip_serializing_if = "Option::is_none")]
    questions: Option<Questions>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_address: Option<IpAddr>,
    host_port: u16,
    address: IpAddr,
    port: u16,
}

#[derive(Serialize)]
struct Counters {
    packets: u64,
    bytes: u64,
    errors: u64,
    dropped: u64,
}

#[derive(Serialize)]
struct Questions {
    asked: u64,
    failed: u64,
}

pub(super) async fn get(shared: State) -> Outcome<Vec<Attachment>> {
    with_node(shared.0, read).await.map(Json)
}

fn read(shared: &Shared, node: &Node) -> Result<Vec<Attachment>> {
    let traffic = traffic()?;
    let mut records = inventory::attachments(node)?;
    records.retain(|record| node.is_this_boot(&record.boot));
    records.sort_by(|a, b| a.id.cmp(&b.id));
    let index = shared.answerer.directory().current();
    let all = records.into_iter().map(|record| {
        let entry = index.of_record(&record.id.record_name());
        attachment(record, &traffic, entry.map(|entry| &entry.asked))
    });
    Ok(all.collect())
}

/// What passed through the host's links, by index.
pub(super) fn traffic() -> Result<HashMap<u32, Traffic>> {
    let all = Rtnl::open()?.traffic()?;
    Ok(all.into_iter().map(|traffic| (traffic.link, traffic)).collect())
}

fn attachment(
    record: AttachmentRecord,
    traffic: &HashMap<u32, Traffic>,
    asked: Option<&Asked>,
) -> Attachment {
    let ready = !record.is_being_attached();
    let link = record.link.as_ref();
    let counted = link.and_then(|link| traffic.get(&link.host_index?));
    Attachment {
        name: record.names.and_then(|part| part.names.into_iter().next()),
        addresses: record.addresses.iter().map(|grant| grant.address.addr()).collect(),
        mac: link.and_then(|link| link.mac),
        host_interface: link.and_then(|link| link.host.clone()),
        netns: record.netns.map(|netns| netns.path),
        ports: record.ports.iter().flat_map(|part| &part.bindings).map(port).collect(),
        ready,
        // What the host end sends is what the container receives.
        received: counted.map(|traffic| counters(traffic.sent)),
        sent: counted.map(|traffic| counters(traffic.received)),
        questions: asked.map(|asked| {
            let (asked, failed) = asked.counts();
            Questions { asked, failed }
        }),
        network: record.id.network,
        container: record.id.owner,
        interface: record.id.slot,
    }
}

fn counters(of: cleat_engine::kernel::traffic::Counters) -> Counters {
    let cleat_engine::kernel::traffic::Counters { packets, bytes, errors, dropped } = of;
    Counters { packets, bytes, errors, dropped }
}

fn port(binding: &Binding) -> Port {
    Port {
        protocol: binding.protocol.name(),
        host_address: binding.host,
        host_port: binding.port,
        address: binding.to,
        port: binding.to_port,
    }
}
