//! Names over all nodes: what attachments of this one are called is told to the store, and what
//! the others tell is put beside the names of this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use cleat_engine::overlay::OverlayNetwork;
use tokio::runtime::Handle;

use crate::names::{Directory, Entry, Membership};
use crate::overlay::documents::Names as Told;
use crate::overlay::view::Changed;
use crate::overlay::{ControlPlane, documents};

/// What is known of the others' names, and what was told of this node's.
#[derive(Default)]
pub(super) struct Names {
    /// By the network's id, and by the record as the index has it.
    heard: BTreeMap<String, BTreeMap<String, Arc<documents::Names>>>,
}

impl Names {
    /// Takes in what the others tell of networks that this node is a member of.
    pub(super) fn hear(
        &mut self,
        plane: &ControlPlane,
        directory: &Directory,
        joined: &[OverlayNetwork],
        changed: &Changed,
    ) {
        let is_member = |id: &str| joined.iter().any(|network| network.id == id);
        let (mut said, mut gone) = (Vec::new(), Vec::new());
        self.heard.retain(|id, heard| {
            let keep = is_member(id);
            if !keep {
                gone.extend(std::mem::take(heard).into_keys());
            }
            keep
        });
        for network in joined {
            let is_new = !self.heard.contains_key(&network.id);
            let is_concerned = changed.all
                || changed.down
                || !changed.live.is_empty()
                || changed.names.contains(network.id.as_str());
            if is_new || is_concerned {
                let heard = self.heard.entry(network.id.clone()).or_default();
                take_in(plane, network, heard, (&mut said, &mut gone));
            }
        }
        if !said.is_empty() || !gone.is_empty() {
            directory.hear(said, &gone);
        }
    }

    /// Tells the store what it does not know of this node's names, and has it forget the rest.
    pub(super) fn tell(
        &self,
        plane: &ControlPlane,
        directory: &Directory,
        joined: &[OverlayNetwork],
        runtime: &Handle,
    ) {
        for network in joined {
            let own = own_names(directory, network);
            let told = plane.view().read(|state| {
                let told = state.names_of(&network.id, plane.node());
                told.map(|(record, names)| (record.to_string(), names.clone()))
                    .collect::<BTreeMap<_, _>>()
            });
            let new = own
                .iter()
                .filter(|(record, names)| told.get(*record).is_none_or(|told| **told != **names));
            let gone = told.keys().filter(|record| !own.contains_key(*record));
            let changes: Vec<(String, Option<Told>)> = new
                .map(|(record, names)| (record.clone(), Some(names.clone())))
                .chain(gone.map(|record| (record.clone(), None)))
                .collect();
            // What cannot be told now is told at the next turn.
            if !changes.is_empty()
                && let Err(error) = runtime.block_on(plane.put_names(network, &changes))
            {
                tracing::debug!("names of {}: {error}", network.name);
            }
        }
    }
}

fn take_in(
    plane: &ControlPlane,
    network: &OverlayNetwork,
    heard: &mut BTreeMap<String, Arc<Told>>,
    (said, gone): (&mut Vec<Entry>, &mut Vec<String>),
) {
    plane.view().read(|state| {
        let mut now = BTreeMap::new();
        for ((node, record), names) in state.names(&network.id) {
            if **node == *plane.node() {
                continue;
            }
            let entry = || {
                let membership = Membership {
                    network: network.name.to_ascii_lowercase().into(),
                    domain: names.domain.as_deref().map(Arc::from),
                    ..Membership::default()
                };
                let of = (&**node, &**record, names.owner.as_str());
                let mut entry = Entry::remote(of, &names.names, membership);
                entry.addresses = names.addresses.iter().copied().collect();
                entry.ports = names.ports.clone().into();
                entry
            };
            let key = Entry::remote_record(node, record);
            if heard.get(&key).is_none_or(|known| !Arc::ptr_eq(known, names)) {
                said.push(entry());
            }
            now.insert(key, names.clone());
        }
        gone.extend(heard.keys().filter(|key| !now.contains_key(*key)).cloned());
        *heard = now;
    });
}

/// The names of this node's attachments on a network, by record.
fn own_names(directory: &Directory, network: &OverlayNetwork) -> BTreeMap<String, Told> {
    let index = directory.current();
    let on_it = index.entries().filter(|entry| {
        let lies_in = |address| network.subnets.iter().any(|subnet| subnet.contains(address));
        entry.node().is_none() && entry.addresses.iter().any(lies_in)
    });
    on_it
        .map(|entry| {
            let told = Told {
                owner: entry.owner().to_owned(),
                names: entry.names().map(str::to_owned).collect(),
                domain: entry.membership.domain.as_deref().map(str::to_owned),
                addresses: entry.addresses.to_vec(),
                ports: entry.ports.to_vec(),
            };
            (entry.record().to_owned(), told)
        })
        .collect()
}
