//! `/v1/overlay`: networks over many hosts, and the hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::JsonRejection;
use cleat_engine::Node as EngineNode;
use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::{Membership, OverlayNetwork, memberships, wireguard};
use cleat_engine::plan::Inbound;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::refusal::Refusal;
use super::{Outcome, State, with_node};
use crate::daemon::Shared;
use crate::overlay::view::State as View;
use crate::overlay::{
    ControlPlane, Engine, Error, NetworkRequest, NodeReport, Request, conflist_path,
};

/// A network that was just made or removed is seen by this node soon.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// Leaving a network that no container is on takes this long.
const LEFT_WITHIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    engine: &'static str,
    node: String,
    name: String,
    addresses: Vec<IpAddr>,
    store: Store,
    networks: usize,
}

#[derive(Serialize)]
struct Store {
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Network {
    name: String,
    id: String,
    vni: u32,
    subnets: Vec<IpNet>,
    block_v4: u8,
    block_v6: u8,
    encrypted: bool,
    /// In bytes; that of containers here, or what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    port: u16,
    internal: bool,
    dns: bool,
    labels: BTreeMap<String, String>,
    joined: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    halted: Option<String>,
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<Peer>>,
}

#[derive(Serialize)]
struct Peer {
    node: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    blocks: Vec<IpNet>,
    alive: bool,
    #[serde(rename = "self")]
    is_self: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    id: String,
    name: String,
    addresses: Vec<IpAddr>,
    alive: bool,
    #[serde(rename = "self")]
    is_self: bool,
    draining: bool,
    version: String,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
struct Block {
    network: String,
    block: IpNet,
}

/// A network to make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Asked {
    name: String,
    #[serde(default)]
    subnets: Vec<IpNet>,
    #[serde(default)]
    ipv6: bool,
    /// Of the blocks of the first subnet; `blockSizeV6` of the other.
    block_size: Option<u8>,
    #[serde(rename = "blockSizeV6")]
    block_size_v6: Option<u8>,
    vni: Option<u32>,
    #[serde(default)]
    encrypted: bool,
    mtu: Option<u32>,
    port: Option<u16>,
    #[serde(default)]
    internal: bool,
    #[serde(default = "yes")]
    dns: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// What was done, for people.
#[derive(Serialize)]
pub(super) struct Done {
    text: String,
}

fn plane(shared: &Shared) -> Result<&Arc<ControlPlane>, Refusal> {
    shared.overlay.get().ok_or_else(|| Refusal::internal("overlay networks are not started"))
}

pub(super) async fn get(shared: State) -> Outcome<Overview> {
    let plane = plane(&shared)?;
    let own = plane.nodes().into_iter().find(|node| *node.id == *plane.node());
    let problem = plane.view().problem();
    Ok(Json(Overview {
        engine: match shared.config().overlay.engine {
            Engine::Local => "local",
            Engine::Etcd => "etcd",
        },
        node: plane.node().to_owned(),
        name: own.as_ref().map(|own| own.host.name.clone()).unwrap_or_default(),
        addresses: own.map(|own| own.host.addresses.clone()).unwrap_or_default(),
        store: Store {
            reachable: problem.is_none(),
            revision: plane.view().read(View::at).map(|at| at.revision),
            problem,
        },
        networks: plane.view().read(|view| view.networks().count()),
    }))
}

pub(super) async fn networks(shared: State) -> Outcome<Vec<Network>> {
    let notes = notes(&shared).await?;
    let plane = plane(&shared)?;
    let all: Vec<_> = plane.view().read(|view| view.networks().cloned().collect());
    Ok(Json(all.iter().map(|network| report(&shared, plane, network, &notes)).collect()))
}

pub(super) async fn network(shared: State, Path(name): Path<String>) -> Outcome<Network> {
    let notes = notes(&shared).await?;
    let plane = plane(&shared)?;
    let network = known(plane, &name)?;
    let mut found = report(&shared, plane, &network, &notes);
    found.peers = Some(peers(plane, &network));
    Ok(Json(found))
}

pub(super) async fn create(
    shared: State,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Outcome<Network> {
    let Json(asked) = asked?;
    if asked.encrypted {
        // Not made where it could not be used.
        let probe = |_: &Shared, _: &EngineNode| Ok(wireguard::probe(&mut Rtnl::open()?)?);
        with_node(shared.0.clone(), probe).await?;
    }
    let plane = plane(&shared)?.clone();
    let network = plane.create_network(&asked.into_request()).await?;
    let file = conflist_path(&shared.options.dirs.net, &network.name);
    seen(|| file.exists(), SEEN_WITHIN).await;
    if !file.exists() {
        return Err(Refusal::internal(format!(
            "network {} is made, but this node has not written {} yet; see cleat status",
            network.name,
            file.display()
        )));
    }
    let notes = notes(&shared).await?;
    Ok(Json(report(&shared, &plane, &network, &notes)))
}

pub(super) async fn remove(shared: State, Path(name): Path<String>) -> Outcome<Named> {
    let plane = plane(&shared)?;
    // This node need not linger.
    if let Ok(network) = known(plane, &name)
        && !plane.held(&network.id).is_empty()
    {
        shared.requests.ask(Request::Leave(name.clone()));
        shared.attached.wake();
        seen(|| plane.held(&network.id).is_empty(), LEFT_WITHIN).await;
    }
    plane.remove_network(&name).await?;
    let file = conflist_path(&shared.options.dirs.net, &name);
    seen(|| !file.exists(), SEEN_WITHIN).await;
    Ok(Json(Named { name }))
}

#[derive(Serialize)]
pub(super) struct Named {
    name: String,
}

pub(super) async fn nodes(shared: State) -> Outcome<Vec<Node>> {
    let plane = plane(&shared)?;
    let mut all: Vec<Node> =
        plane.nodes().into_iter().map(|report| node_of(plane, report)).collect();
    all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(Json(all))
}

pub(super) async fn node(shared: State, Path(text): Path<String>) -> Outcome<Node> {
    let plane = plane(&shared)?;
    let id = by(plane, &text)?;
    let found = plane.nodes().into_iter().find(|node| node.id == id);
    // The store does not know this node before it has heard of it.
    let found = found.ok_or_else(|| Refusal::unknown(format!("node {text:?}: not known yet")))?;
    Ok(Json(node_of(plane, found)))
}

pub(super) async fn forget(shared: State, Path(text): Path<String>) -> Outcome<Done> {
    let plane = plane(&shared)?;
    let id = by(plane, &text)?;
    if *id == *plane.node() {
        return Err(Refusal::invalid("this is the node itself; to empty it: cleat node drain"));
    }
    plane.forget(&id).await?;
    shared.requests.ask(Request::ForgetKey(id.to_string()));
    shared.attached.wake();
    shared.events.tell("overlay.forgotten", &*id, format!("node {text} is forgotten"));
    Ok(Json(Done { text: format!("node {text} is forgotten; its blocks are free") }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    #[serde(default)]
    undo: bool,
}

pub(super) async fn drain(
    shared: State,
    asked: Result<Json<Drain>, JsonRejection>,
) -> Outcome<Done> {
    let Json(Drain { undo }) = asked?;
    let plane = plane(&shared)?;
    plane.drain(plane.node(), !undo).await?;
    let text = if undo {
        "this node claims blocks again"
    } else {
        "this node claims no more, and gives up each block with its last container"
    };
    shared.events.tell("overlay.drain", plane.node(), text);
    Ok(Json(Done { text: text.to_owned() }))
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match &error {
            Error::Missing { .. } => Self::unknown(error.to_string()),
            Error::Network { .. } | Error::InUse { .. } | Error::Address { .. } => {
                Self::invalid(error.to_string())
            }
            _ => Self::internal(error.to_string()),
        }
    }
}

pub(super) async fn rotate_key(shared: State) -> Outcome<Done> {
    let (sender, answer) = oneshot::channel();
    plane(&shared)?;
    shared.requests.ask(Request::RotateKey(sender));
    shared.attached.wake();
    let outcome = answer.await.map_err(|error| Refusal::internal(error.to_string()))?;
    outcome.map_err(|error| Refusal::invalid(error.to_string()))?;
    let text = "the new key is offered to the other nodes, and is used once all that are up have \
                it; cleat events tells";
    Ok(Json(Done { text: text.to_owned() }))
}

fn by(plane: &ControlPlane, text: &str) -> Result<Arc<str>, Refusal> {
    match text {
        "self" => Ok(plane.node().into()),
        text => Ok(plane.node_by(text)?),
    }
}

fn known(plane: &ControlPlane, name: &str) -> Result<Arc<OverlayNetwork>, Refusal> {
    let found = plane.view().read(|view| view.network(name).cloned());
    found.ok_or_else(|| Refusal::unknown(format!("overlay network {name:?}: there is none")))
}

async fn notes(shared: &State) -> Result<Vec<Membership>, Refusal> {
    with_node(shared.0.clone(), |_, node| Ok(memberships(node)?)).await
}

fn report(
    shared: &Shared,
    plane: &ControlPlane,
    network: &OverlayNetwork,
    notes: &[Membership],
) -> Network {
    let note = notes.iter().find(|note| note.network.id == network.id);
    Network {
        name: network.name.clone(),
        id: network.id.clone(),
        vni: network.vni,
        subnets: network.subnets.clone(),
        block_v4: network.block_v4,
        block_v6: network.block_v6,
        encrypted: network.encrypted,
        mtu: note.map(|note| note.mtu).or(network.mtu),
        port: network.port,
        internal: network.inbound == Inbound::Internal,
        dns: network.dns,
        labels: network.labels.clone(),
        joined: note.is_some(),
        halted: note.and_then(|note| note.halted.clone()).or_else(|| plane.halted(&network.id)),
        file: conflist_path(&shared.options.dirs.net, &network.name),
        peers: None,
    }
}

fn peers(plane: &ControlPlane, network: &OverlayNetwork) -> Vec<Peer> {
    plane.view().read(|view| {
        let mut by_node: BTreeMap<&Arc<str>, Vec<IpNet>> = BTreeMap::new();
        for (block, owner) in view.claims(&network.id) {
            by_node.entry(&owner.node).or_default().push(*block);
        }
        let peer = |(node, blocks): (&Arc<str>, Vec<IpNet>)| {
            let host = view.host(node);
            Peer {
                node: node.to_string(),
                name: host.map(|host| host.name.clone()).unwrap_or_default(),
                address: host.and_then(|host| host.addresses.first().copied()),
                blocks,
                alive: view.is_up(node),
                is_self: **node == *plane.node(),
            }
        };
        by_node.into_iter().map(peer).collect()
    })
}

fn node_of(plane: &ControlPlane, report: NodeReport) -> Node {
    let blocks = report.blocks.iter().flat_map(|(network, blocks)| {
        blocks.iter().map(|block| Block { network: network.to_string(), block: *block })
    });
    Node {
        is_self: *report.id == *plane.node(),
        blocks: blocks.collect(),
        id: report.id.to_string(),
        name: report.host.name.clone(),
        addresses: report.host.addresses.clone(),
        alive: report.is_up,
        draining: report.is_draining,
        version: report.host.version.clone(),
    }
}

impl Asked {
    fn into_request(self) -> NetworkRequest {
        let v6_first = self.subnets.iter().all(|subnet| subnet.addr().is_ipv6());
        let only_v6 = !self.subnets.is_empty() && v6_first;
        let (block_v4, block_v6) = match only_v6 {
            true => (None, self.block_size_v6.or(self.block_size)),
            false => (self.block_size, self.block_size_v6),
        };
        NetworkRequest {
            subnets: self.subnets,
            ipv6: self.ipv6,
            block_v4,
            block_v6,
            vni: self.vni,
            encrypted: self.encrypted,
            mtu: self.mtu,
            port: self.port,
            inbound: if self.internal { Inbound::Internal } else { Inbound::Published },
            dns: self.dns,
            labels: self.labels,
            ..NetworkRequest::new(self.name)
        }
    }
}

async fn seen(is_so: impl Fn() -> bool, within: Duration) {
    let deadline = Instant::now() + within;
    while !is_so() && Instant::now() < deadline {
        sleep(LOOK_AGAIN).await;
    }
}
