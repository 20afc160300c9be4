//! What this node owns by its own books: on disk before it is used, so that it is known without
//! the store, and told to a store that has forgotten it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cleat_engine::overlay::OverlayNetwork;
use cleat_engine::records::{Document, Durability, Store as Documents};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::overlay::error::Result;

/// A network's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Book {
    /// The network, so that it can be told to a store that has forgotten it.
    pub network: OverlayNetwork,
    /// What is owned, in the order in which it came.
    #[serde(default)]
    pub held: Vec<Held>,
    /// Addresses of own blocks that other nodes have.
    #[serde(default)]
    pub grants: Vec<Grant>,
}

/// Something owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The block, or the single address.
    pub block: IpNet,
    /// The claim's nonce.
    pub nonce: String,
    /// The node in whose block the address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<String>,
    /// It is being given up: nothing is leased from it any more, whether or not the store knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Why nothing may be leased from it: it is another's by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
}

impl Held {
    /// Addresses may be leased from it.
    pub fn is_usable(&self) -> bool {
        !self.leaving && self.halted.is_none()
    }

    /// A single address.
    pub fn is_single(&self) -> bool {
        self.block.prefix_len() == self.block.max_prefix_len()
    }
}

/// An address of an own block that another node has, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The address.
    pub address: IpAddr,
    /// The node.
    pub node: String,
}

impl Document for Book {
    const SCHEMA: u32 = 1;
}

/// The pages of all networks, by id.
pub struct Books {
    pages: Mutex<BTreeMap<String, Book>>,
    documents: Option<Documents<Book>>,
}

impl Books {
    /// Those of a folder, which need not exist.
    ///
    /// # Errors
    /// One cannot be read. What is owned is not guessed at: nothing works until it can.
    pub fn open(folder: PathBuf) -> Result<Self> {
        let documents = Documents::open(folder, Durability::Disk);
        let mut pages = BTreeMap::new();
        for (id, book) in documents.list()? {
            pages.insert(id, book?);
        }
        Ok(Self { pages: Mutex::new(pages), documents: Some(documents) })
    }

    /// Of a node whose disk is somebody else's subject.
    pub fn in_memory(pages: BTreeMap<String, Book>) -> Self {
        Self { pages: Mutex::new(pages), documents: None }
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<String, Book>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All pages, by the network's id.
    pub fn all(&self) -> BTreeMap<String, Book> {
        self.pages().clone()
    }

    /// A network's page.
    pub fn page(&self, id: &str) -> Option<Book> {
        self.pages().get(id).cloned()
    }

    /// What is owned of a network.
    pub fn held_of(&self, id: &str) -> Vec<Held> {
        self.pages().get(id).map(|book| book.held.clone()).unwrap_or_default()
    }

    /// What is written of one claim.
    pub fn held(&self, id: &str, block: &IpNet) -> Option<Held> {
        self.pages().get(id)?.held.iter().find(|held| held.block == *block).cloned()
    }

    /// Changes a page: on disk, and only then here. An empty page goes.
    ///
    /// # Errors
    /// It could not be written; all is as before.
    pub fn change(&self, network: &OverlayNetwork, change: impl FnOnce(&mut Book)) -> Result<()> {
        let mut pages = self.pages();
        let before = pages.get(&network.id);
        let mut book = before.cloned().unwrap_or_else(|| Book {
            network: network.clone(),
            held: Vec::new(),
            grants: Vec::new(),
        });
        change(&mut book);
        let is_empty = book.held.is_empty() && book.grants.is_empty();
        if before.map_or(is_empty, |before| *before == book) {
            return Ok(());
        }
        if let Some(documents) = &self.documents {
            if is_empty {
                documents.remove(&network.id)?;
            } else {
                documents.replace(&network.id, &book)?;
            }
        }
        if is_empty {
            pages.remove(&network.id);
        } else {
            pages.insert(network.id.clone(), book);
        }
        Ok(())
    }

    /// Writes a claim down.
    pub(super) fn hold(&self, network: &OverlayNetwork, new: Held) -> Result<()> {
        self.change(network, |book| match book.held.iter_mut().find(|h| h.block == new.block) {
            Some(held) => *held = new,
            None => book.held.push(new),
        })
    }

    /// Changes what is written of a claim.
    pub(super) fn note(
        &self,
        network: &OverlayNetwork,
        block: &IpNet,
        note: impl FnOnce(&mut Held),
    ) -> Result<()> {
        self.change(network, |book| {
            if let Some(held) = book.held.iter_mut().find(|held| held.block == *block) {
                note(held);
            }
        })
    }

    /// Strikes a claim out, and what others have of it: the store knows them as owners.
    pub(super) fn strike(&self, network: &OverlayNetwork, block: &IpNet) -> Result<()> {
        self.change(network, |book| {
            book.held.retain(|held| held.block != *block);
            book.grants.retain(|grant| !block.contains(&grant.address));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::NetworkRequest;

    fn held(block: &str) -> Held {
        Held {
            block: block.parse().unwrap(),
            nonce: "1".into(),
            granted_by: None,
            leaving: false,
            halted: None,
        }
    }

    #[test]
    fn what_is_held_outlives_the_process_and_what_cannot_be_written_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("claims");
        let books = Books::open(place.clone()).unwrap();
        let network = NetworkRequest::new("a").resolve(&[], "id", 1, 0).unwrap();
        let block = "10.128.1.0/24".parse().unwrap();
        books.hold(&network, held("10.128.1.0/24")).unwrap();
        books.note(&network, &block, |held| held.leaving = true).unwrap();
        let again = Books::open(place.clone()).unwrap();
        assert_eq!(again.all(), books.all());
        assert!(!again.held_of("id")[0].is_usable());
        again.strike(&network, &block).unwrap();
        assert!(Books::open(place.clone()).unwrap().all().is_empty());
        std::fs::remove_dir_all(&place).unwrap();
        std::os::unix::fs::symlink("/dev/null", &place).unwrap();
        again.hold(&network, held("10.128.1.0/24")).unwrap_err();
        assert!(again.all().is_empty());
    }
}
