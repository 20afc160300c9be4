//! `GET /v1/status`: the daemon at a glance.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use axum::Json;
use cleat_engine::{Node, inventory, service};
use serde::Serialize;

use super::{Outcome, State, networks, with_node};
use crate::daemon::Shared;
use crate::error::Result;
use crate::events::Trouble;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    version: &'static str,
    pid: u32,
    /// Milliseconds since 1970.
    started_at: u64,
    uptime_seconds: u64,
    run_dir: PathBuf,
    state_dir: PathBuf,
    net_dir: PathBuf,
    names: Names,
    relay: Relay,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<SocketAddr>,
    counts: Counts,
    repairs: Vec<Repairs>,
    troubles: Vec<Trouble>,
}

/// Where names are answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    port: u16,
    /// Another server has port 53.
    fallback: bool,
    addresses: Vec<IpAddr>,
    /// Containers that are listened in.
    inside: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relay {
    enabled: bool,
    listeners: u64,
    connections: u64,
    sessions: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    networks: usize,
    attachments: usize,
    named: usize,
    published_ports: usize,
    cache_entries: usize,
}

/// Since the start.
#[derive(Serialize)]
struct Repairs {
    /// What was repaired: `attachment`, `bridge`, `forwarding`, `link`, `ruleset`.
    kind: &'static str,
    done: u64,
    failed: u64,
}

impl From<(&'static str, u64, u64)> for Repairs {
    fn from((kind, done, failed): (&'static str, u64, u64)) -> Self {
        Self { kind, done, failed }
    }
}

pub(super) async fn get(shared: State) -> Outcome<Status> {
    with_node(shared.0, read).await.map(Json)
}

fn read(shared: &Shared, node: &Node) -> Result<Status> {
    let served = service::served(node);
    let attachments = inventory::attachments(node)?;
    let ports = attachments.iter().filter_map(|record| record.ports.as_ref());
    let config = shared.config();
    let relay = &shared.relay;
    let dirs = node.dirs();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        started_at: shared.started_at,
        uptime_seconds: shared.started.elapsed().as_secs(),
        run_dir: dirs.run.clone(),
        state_dir: dirs.state.clone(),
        net_dir: dirs.net.clone(),
        names: Names {
            fallback: served.port != service::DNS_PORT,
            port: served.port,
            addresses: served.addresses,
            inside: service::listened_inside(node),
        },
        relay: Relay {
            enabled: config.relay.enabled,
            listeners: relay.listeners.load(Ordering::Relaxed),
            connections: relay.connections.active(),
            sessions: relay.sessions.active(),
        },
        metrics: config.metrics,
        counts: Counts {
            networks: networks::lists(node).len(),
            published_ports: ports.map(|part| part.bindings.len()).sum(),
            attachments: attachments.len(),
            named: shared.answerer.directory().current().len(),
            cache_entries: shared.answerer.forwarder().kept_count(),
        },
        repairs: shared.metrics.repairs().into_iter().map(Repairs::from).collect(),
        troubles: shared.events.troubles(),
    })
}
