//! `GET /v1/networks`: networks that conflists describe, and those that only attachments tell of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Json;
use cleat_cni::{ConfList, conf_files};
use cleat_engine::lease::open_pool;
use cleat_engine::{Node, inventory};
use cleat_front::pool_of;
use serde::Serialize;
use serde_json::Value;

use super::{Outcome, State, with_node};
use crate::error::Result;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Network {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    /// Its conflist.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    attachments: usize,
    pools: Vec<PoolUsage>,
}

/// How full a range set is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolUsage {
    /// The subnet of its first range.
    pub(super) subnet: String,
    pub(super) held: u128,
    pub(super) capacity: u128,
}

pub(super) async fn get(shared: State) -> Outcome<Vec<Network>> {
    with_node(shared.0, |_, node| read(node)).await.map(Json)
}

fn read(node: &Node) -> Result<Vec<Network>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for record in inventory::attachments(node)? {
        *counts.entry(record.id.network).or_default() += 1;
    }
    let mut networks: Vec<Network> = Vec::new();
    for list in lists(node) {
        if networks.iter().any(|known| known.name == list.name) {
            continue;
        }
        networks.push(Network {
            driver: main(&list).and_then(kind).map(str::to_owned),
            attachments: counts.remove(&list.name).unwrap_or_default(),
            pools: pools(node, &list),
            file: Some(list.path),
            name: list.name,
        });
    }
    networks.extend(counts.into_iter().map(|(name, attachments)| Network {
        name,
        driver: None,
        file: None,
        attachments,
        pools: Vec::new(),
    }));
    Ok(networks)
}

/// All conflists that can be read; of the others their users are told.
pub(super) fn lists(node: &Node) -> Vec<ConfList> {
    let files = conf_files(&node.dirs().net).unwrap_or_default();
    files.iter().filter_map(|file| ConfList::load(file).ok()).collect()
}

/// How full a network's pools are; none where it leases none.
pub(super) fn pools(node: &Node, list: &ConfList) -> Vec<PoolUsage> {
    let config = main(list).and_then(|plugin| pool_of(&list.name, plugin).ok().flatten());
    let Some(config) = config else { return Vec::new() };
    let subnets: Vec<String> =
        config.sets.iter().filter_map(|set| Some(set.first()?.subnet().to_string())).collect();
    let usage = open_pool(node, config).usage().unwrap_or_default();
    let named = subnets.into_iter().zip(usage);
    named
        .map(|(subnet, usage)| PoolUsage { subnet, held: usage.held, capacity: usage.capacity })
        .collect()
}

/// Some lists bring the loopback up first.
fn main(list: &ConfList) -> Option<&Value> {
    let main = list.plugins.iter().find(|plugin| kind(plugin) != Some("loopback"));
    main.or(list.plugins.first())
}

fn kind(plugin: &Value) -> Option<&str> {
    plugin.get("type").and_then(Value::as_str)
}
