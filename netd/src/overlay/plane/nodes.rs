//! Nodes: which there are, and how they go for good.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::ControlPlane;
use crate::events::now;
use crate::overlay::documents::{Claim, Drain, Host, decode, encode};
use crate::overlay::error::{Error, Result};
use crate::overlay::keys::{self, Key};
use crate::overlay::networks;
use crate::overlay::store::{Condition, MAX_OPS, Outcome, Range, Txn, Write};

/// A node, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its id.
    pub id: Arc<str>,
    /// What it says of itself.
    pub host: Arc<Host>,
    /// It was heard of lately.
    pub is_up: bool,
    /// It is to give up its blocks.
    pub is_draining: bool,
    /// Its blocks, by the name of their network.
    pub blocks: BTreeMap<Arc<str>, Vec<IpNet>>,
}

impl ControlPlane {
    /// All nodes.
    pub fn nodes(&self) -> Vec<NodeReport> {
        self.view.read(|state| {
            let mut blocks: BTreeMap<&str, BTreeMap<Arc<str>, Vec<IpNet>>> = BTreeMap::new();
            for network in state.networks() {
                let name: Arc<str> = network.name.as_str().into();
                for (block, owner) in state.claims(&network.id) {
                    let of = blocks.entry(&*owner.node).or_default();
                    of.entry(name.clone()).or_default().push(*block);
                }
            }
            let report = |(id, host): (&Arc<str>, &Arc<Host>)| NodeReport {
                id: id.clone(),
                host: host.clone(),
                is_up: state.is_up(id),
                is_draining: state.is_draining(id),
                blocks: blocks.get(&**id).cloned().unwrap_or_default(),
            };
            state.hosts().map(report).collect()
        })
    }

    /// The id of the node that goes by an id, the beginning of one, or a name.
    ///
    /// # Errors
    /// [`Error::Missing`]: none does, or several do.
    pub fn node_by(&self, text: &str) -> Result<Arc<str>> {
        let found: Vec<Arc<str>> = self.view.read(|state| {
            if let Some((id, _)) = state.hosts().find(|(id, _)| &***id == text) {
                return vec![id.clone()];
            }
            let named = |(id, host): &(&Arc<str>, &Arc<Host>)| {
                host.name == text || (!text.is_empty() && id.starts_with(text))
            };
            state.hosts().filter(named).map(|(id, _)| id.clone()).collect()
        });
        let missing = |hint| Error::Missing { kind: "node", name: text.to_owned(), hint };
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(missing("see `cleat node ls`")),
            _ => Err(missing("that is one alone: several nodes go by it; name its id")),
        }
    }

    /// Has a node give up its blocks as they become free, and claim no more; or ends that.
    ///
    /// # Errors
    /// What the store says.
    pub async fn drain(&self, node: &str, drain: bool) -> Result<()> {
        let key = keys::drain(node);
        let write = if drain {
            Write::put(key.as_str(), encode(&key, &Drain { since: now() })?)
        } else {
            Write::Delete(key)
        };
        self.store.commit(&Txn::new([], [write])).await.map(drop)
    }

    /// Frees all that a node owned which does not come back.
    ///
    /// # Errors
    /// [`Error::InUse`]: it is up. What the store says; then it may be repeated.
    pub async fn forget(&self, node: &str) -> Result<()> {
        let is_down = Condition::Absent(keys::live(node));
        let mut writes = Vec::new();
        for network in networks::list(&*self.store).await?.0 {
            writes.push((Vec::new(), Write::DeleteAll(keys::names_of(&network.id, node))));
        }
        for entry in self.store.list(&Range::under("claim/")).await?.entries {
            let claim = decode::<Claim>(&entry.key, &entry.value);
            if claim.is_ok_and(|claim| claim.node == node) {
                let same = Condition::Unchanged(entry.key.clone(), entry.revision);
                writes.push((vec![same], Write::Delete(entry.key)));
            }
        }
        for entry in self.store.list(&Range::under("ask/")).await?.entries {
            let ask = decode::<crate::overlay::documents::Ask>(&entry.key, &entry.value);
            if matches!(Key::parse(&entry.key), Some(Key::Ask { .. }))
                && ask.is_ok_and(|ask| ask.node == node)
            {
                writes.push((Vec::new(), Write::Delete(entry.key)));
            }
        }
        // The node itself last: until then it can be forgotten again.
        writes.push((Vec::new(), Write::Delete(keys::drain(node))));
        writes.push((Vec::new(), Write::Delete(keys::host(node))));
        for some in writes.chunks(MAX_OPS - 1) {
            let mut conditions = vec![is_down.clone()];
            conditions.extend(some.iter().flat_map(|(conditions, _)| conditions.iter().cloned()));
            let txn = Txn::new(
                conditions,
                some.iter().map(|(_, write)| write.clone()).collect::<Vec<_>>(),
            );
            if self.store.commit(&txn).await? == Outcome::Refused {
                return Err(Error::InUse {
                    network: "all".to_owned(),
                    users: format!(
                        "node {node} is up, or changed meanwhile; stop its netd first, or drain it"
                    ),
                });
            }
        }
        Ok(())
    }
}
