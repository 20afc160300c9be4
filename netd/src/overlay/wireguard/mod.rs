//! What encrypted networks need of this node: its own keys, and whom it believes to be whom. The
//! devices are the engine's ([`cleat_engine::overlay::wireguard`]); what is announced travels by
//! whoever calls this.

mod keys;
mod pins;
mod secret;
mod signed;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use cleat_engine::overlay::wireguard::{PeerKey, TunnelPeer, Tunnels, inner_address};
use cleat_engine::records::{Durability, Store};

use crate::error::{Error, Result};
use keys::OwnKeys;

pub use keys::Phase;
pub use pins::{Judgement, Pins, Refusal};
pub use secret::Public;
pub use signed::{Announcement, Chain, Forged, Keys, PublicKey, Succession};

/// The file of the node's own keys, in the state directory.
const FOLDER: &str = "overlay/wireguard";
const OWN: &str = "own";
const PINS: &str = "pins";

/// This node's keys, and the others' that are in force.
#[derive(Debug)]
pub struct Wireguard {
    node: String,
    port: u16,
    store: Store<OwnKeys>,
    own: OwnKeys,
    pins: Pins,
    /// Of the nodes that were judged or asked for.
    known: BTreeMap<String, Keys>,
}

impl Wireguard {
    /// Reads the keys, or makes them at the first start; `port` and the one after it are
    /// WireGuard's, `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Keys that cannot be read are not replaced: other nodes would take this one for a stranger.
    pub fn open(state: &Path, node: &str, port: u16, now: u64) -> Result<Self> {
        let folder = state.join(FOLDER);
        let store = Store::open(&folder, Durability::Disk);
        // Another id is another node, to itself and to others.
        let found = store.read(OWN)?.filter(|own: &OwnKeys| own.are_of(node));
        let (own, is_new) = match found {
            Some(mut own) => {
                let changed = own.renew(port, now);
                (own, changed)
            }
            None => (OwnKeys::make(node, port, now), true),
        };
        if is_new {
            store.replace(OWN, &own)?;
        }
        let pins = Pins::open(&folder.join(PINS));
        Ok(Self { node: node.to_owned(), port, store, own, pins, known: BTreeMap::new() })
    }

    /// What the others must be told.
    pub fn announcement(&self) -> &Announcement {
        self.own.announcement()
    }

    /// How far a change of keys is.
    pub fn phase(&self) -> Phase {
        self.own.phase()
    }

    /// The address inside the tunnels that this node sends from.
    pub fn address(&self) -> Ipv6Addr {
        self.own.address()
    }

    /// Judges what the store says of another node. What is refused leaves in force what was.
    ///
    /// # Errors
    /// A pin that cannot be read or written.
    pub fn judge(&mut self, node: &str, shown: &Announcement) -> Result<Judgement> {
        let judgement = self.pins.judge(node, shown)?;
        match &judgement {
            Judgement::Accepted { keys, .. } => {
                self.known.insert(node.to_owned(), keys.clone());
            }
            Judgement::Refused(_) => {
                if let Some(keys) = self.pins.keys_of(node)? {
                    self.known.insert(node.to_owned(), keys);
                }
            }
        }
        Ok(judgement)
    }

    /// The address inside the tunnels that a node is sent to; `None`: it was never believed, and
    /// nothing may be sent to it.
    pub fn address_of(&self, node: &str) -> Option<Ipv6Addr> {
        self.known.get(node).map(|keys| inner_address(node, keys.current))
    }

    /// The addresses inside that a node may send from: while its keys change there are two. It
    /// goes over to the newer one at a moment of its own.
    pub fn addresses_of(&self, node: &str) -> Vec<Ipv6Addr> {
        let keys = self.known.get(node).into_iter().flat_map(|known| &known.keys);
        keys.map(|key| inner_address(node, key.generation)).collect()
    }

    /// Forgets a node: what it announces next is pinned anew. Whether it was pinned.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn forget(&mut self, node: &str) -> Result<bool> {
        self.known.remove(node);
        self.pins.forget(node)
    }

    /// What the devices must be like, for these nodes at their addresses on the underlay. Those
    /// that were never believed are left out. `complete`: there are no others.
    pub fn tunnels<'n>(
        &self,
        nodes: impl IntoIterator<Item = (&'n str, IpAddr)>,
        complete: bool,
    ) -> Tunnels {
        let peer = |(node, address): (&str, IpAddr)| {
            let key = |key: &PublicKey| PeerKey {
                generation: key.generation,
                key: key.key.0,
                port: key.port,
            };
            let keys = self.known.get(node).filter(|_| node != self.node)?;
            let keys = keys.keys.iter().map(key).collect();
            Some(TunnelPeer { node: node.to_owned(), address, keys })
        };
        Tunnels {
            node: self.node.clone(),
            own: self.own.devices(self.port),
            current: self.own.current(),
            handover: matches!(self.own.phase(), Phase::Offered | Phase::Moved),
            peers: nodes.into_iter().filter_map(peer).collect(),
            complete,
        }
    }

    /// Begins to change this node's keys; what is announced changes.
    ///
    /// # Errors
    /// [`Error::KeysChange`]: a change is under way.
    pub fn rotate(&mut self, now: u64) -> Result<()> {
        let mut own = self.own.clone();
        if !own.rotate(self.port, now) {
            return Err(Error::KeysChange);
        }
        self.keep(own)
    }

    /// Goes on with a change of keys when it is time. `all_have`: every node that is up has shaken
    /// hands with the newest key. Whether something changed: then what is announced and the devices
    /// are to be brought up to date, and segments to [`Self::address`].
    ///
    /// # Errors
    /// The keys cannot be written; then nothing changed.
    pub fn advance(&mut self, all_have: bool, now: u64) -> Result<bool> {
        let mut own = self.own.clone();
        if !own.advance(all_have, self.port, now) {
            return Ok(false);
        }
        self.keep(own)?;
        Ok(true)
    }

    fn keep(&mut self, own: OwnKeys) -> Result<()> {
        self.store.replace(OWN, &own)?;
        self.own = own;
        Ok(())
    }
}

/// A file's name for a node: what others chose is no path.
fn hashed(node: &str) -> String {
    cleat_engine::identity::hashed_name(node, 32)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(folder: &Path, node: &str, now: u64) -> Wireguard {
        Wireguard::open(folder, node, 51871, now).unwrap()
    }

    #[test]
    fn keys_are_made_once_and_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), "a", 1000);
        assert_eq!(first.announcement(), open(folder.path(), "a", 2000).announcement());
        for (path, mode) in [("own.json", 0o600), ("", 0o700)] {
            let path = folder.path().join(FOLDER).join(path);
            let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
        assert_ne!(first.address(), open(folder.path(), "b", 2000).address());
    }

    #[test]
    fn keys_that_cannot_be_read_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), "a", 1000);
        let path = folder.path().join(FOLDER).join("own.json");
        #[allow(clippy::disallowed_methods, reason = "it is to be half a file")]
        std::fs::write(&path, "{").unwrap();
        assert!(Wireguard::open(folder.path(), "a", 51871, 2000).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{");
    }

    #[test]
    fn who_is_not_believed_is_no_peer() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut a = open(folders[0].path(), "a", 1000);
        let mut b = open(folders[1].path(), "b", 1000);
        let at: IpAddr = "192.0.2.2".parse().unwrap();
        assert!(a.tunnels([("b", at)], true).peers.is_empty() && a.address_of("b").is_none());
        a.judge("b", b.announcement()).unwrap();
        assert_eq!(a.address_of("b"), Some(b.address()));
        let tunnels = a.tunnels([("a", at), ("b", at), ("c", at)], true);
        assert_eq!(tunnels.peers.len(), 1);
        assert_eq!(tunnels.peers[0].keys[0].key, b.tunnels([], true).own[0].public);
        // A change of b's keys is followed, and survives a's restart.
        b.rotate(2000).unwrap();
        assert!(matches!(b.rotate(2000), Err(Error::KeysChange)));
        a.judge("b", b.announcement()).unwrap();
        assert_eq!(a.tunnels([("b", at)], true).peers[0].keys.len(), 2);
        assert!(b.advance(true, 2001).unwrap());
        a.judge("b", b.announcement()).unwrap();
        assert_eq!(a.address_of("b"), Some(b.address()));
        // The record of an impostor changes nothing.
        let impostor = open(&folders[1].path().join("other"), "b", 3000);
        let mut again = open(folders[0].path(), "a", 3000);
        let judged = again.judge("b", impostor.announcement()).unwrap();
        assert!(matches!(judged, Judgement::Refused(Refusal::Stranger { .. })), "{judged:?}");
        assert_eq!(again.address_of("b"), Some(b.address()));
        assert!(again.forget("b").unwrap() && again.address_of("b").is_none());
    }
}
