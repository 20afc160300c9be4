//! Who a node is, by what it announced when this node first saw it: the identity that it signs
//! with is pinned to its id. A store that says something else is not believed; what was accepted
//! last stays in force. An operator who knows better forgets the node.

use std::path::Path;

use cleat_engine::records::{Document, Durability, Store};
use serde::{Deserialize, Serialize};

use super::secret::Public;
use super::signed::{Announcement, Forged, Keys};
use crate::error::Result;

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pin {
    /// Its id: the file's name is a hash.
    node: String,
    /// What was accepted last.
    accepted: Announcement,
}

impl Document for Pin {
    const SCHEMA: u32 = 1;
}

/// Why an announcement is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not prove itself.
    #[error("the keys that node {node} announces are not believed: {why}")]
    Forged {
        /// The node.
        node: String,
        /// Why.
        why: Forged,
    },
    /// It is signed by somebody else than before.
    #[error(
        "node {node} shows the identity {shown}, and {pinned} is pinned, which has not signed it; \
         if its state was lost and it is the same host, run: cleat node forget {node}"
    )]
    Stranger {
        /// The node.
        node: String,
        /// Who it is.
        pinned: Public<32>,
        /// Who it says it is.
        shown: Public<32>,
    },
    /// It is older than what was accepted.
    #[error(
        "node {node} announces what it announced before (number {serial}, and {seen} was seen); \
         the store may have been restored"
    )]
    Replayed {
        /// The node.
        node: String,
        /// Its number.
        serial: u64,
        /// The number that was seen.
        seen: u64,
    },
    /// It has the number of another one.
    #[error("node {node} announces two different things as number {serial}; it may run twice")]
    Ambiguous {
        /// The node.
        node: String,
        /// The number.
        serial: u64,
    },
}

/// What became of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is in force; whether it was the first of this node, or another than before.
    Accepted {
        /// What it says.
        keys: Keys,
        /// The node was not known.
        first: bool,
        /// It is not what was in force before.
        new: bool,
    },
    /// It is not, and what was accepted before stays in force.
    Refused(Refusal),
}

/// The pinned nodes, a file each in the state directory.
#[derive(Debug)]
pub struct Pins {
    store: Store<Pin>,
}

impl Pins {
    /// Those in a folder, which need not exist.
    pub fn open(folder: &Path) -> Self {
        Self { store: Store::open(folder, Durability::Disk) }
    }

    /// Judges what the store says of a node, and remembers it if it is accepted.
    ///
    /// # Errors
    /// A pin that cannot be read or written; then nothing is accepted.
    pub fn judge(&self, node: &str, shown: &Announcement) -> Result<Judgement> {
        let node = node.to_owned();
        let keys = match shown.verify(&node) {
            Ok(keys) => keys,
            Err(why) => return Ok(Judgement::Refused(Refusal::Forged { node, why })),
        };
        let Some(pin) = self.store.read(&file(&node))? else {
            self.store.replace(&file(&node), &Pin { node, accepted: shown.clone() })?;
            return Ok(Judgement::Accepted { keys, first: true, new: true });
        };
        if pin.accepted == *shown {
            return Ok(Judgement::Accepted { keys, first: false, new: false });
        }
        if let Some(refusal) = refusal(&pin, shown, &keys) {
            return Ok(Judgement::Refused(refusal));
        }
        self.store.replace(&file(&node), &Pin { node, accepted: shown.clone() })?;
        Ok(Judgement::Accepted { keys, first: false, new: true })
    }

    /// What is in force for a node; `None`: it is not pinned.
    ///
    /// # Errors
    /// A pin that cannot be read.
    pub fn keys_of(&self, node: &str) -> Result<Option<Keys>> {
        let pin = self.store.read(&file(node))?;
        Ok(pin.and_then(|pin| pin.accepted.verify(node).ok()))
    }

    /// The identity that is pinned for a node.
    ///
    /// # Errors
    /// A pin that cannot be read.
    pub fn identity_of(&self, node: &str) -> Result<Option<Public<32>>> {
        Ok(self.store.read(&file(node))?.map(|pin| pin.accepted.identities.last()))
    }

    /// Forgets a node: what it announces next is pinned anew. Whether it was pinned.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn forget(&self, node: &str) -> Result<bool> {
        Ok(self.store.remove(&file(node))?)
    }
}

fn refusal(pin: &Pin, shown: &Announcement, keys: &Keys) -> Option<Refusal> {
    let (node, serial) = (pin.node.clone(), keys.serial);
    let pinned = pin.accepted.identities.last();
    if !shown.identities.holds(&pinned) {
        return Some(Refusal::Stranger { node, pinned, shown: shown.identities.last() });
    }
    // One that cannot be read any more would have been refused when it was pinned.
    let seen = pin.accepted.verify(&pin.node).map_or(0, |keys| keys.serial);
    match serial.cmp(&seen) {
        std::cmp::Ordering::Less => Some(Refusal::Replayed { node, serial, seen }),
        std::cmp::Ordering::Equal => Some(Refusal::Ambiguous { node, serial }),
        std::cmp::Ordering::Greater => None,
    }
}

fn file(node: &str) -> String {
    super::hashed(node)
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::super::signed::Chain;
    use super::super::signed::tests::announced;
    use super::*;

    #[track_caller]
    fn refused(pins: &Pins, shown: &Announcement) -> Refusal {
        match pins.judge("a", shown).unwrap() {
            Judgement::Refused(refusal) => refusal,
            accepted => panic!("{accepted:?}"),
        }
    }

    #[track_caller]
    fn accepted(pins: &Pins, shown: &Announcement) -> (u64, bool, bool) {
        match pins.judge("a", shown).unwrap() {
            Judgement::Accepted { keys, first, new } => (keys.serial, first, new),
            refused => panic!("{refused:?}"),
        }
    }

    #[test]
    fn the_first_is_pinned_and_a_stranger_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::open(folder.path());
        let (own, other) = (Secret::random(), Secret::random());
        let chain = Chain::of(&own);
        let first = announced(&own, &chain, 5);
        assert_eq!(accepted(&pins, &first), (5, true, true));
        // Another netd reads the same pins.
        let pins = Pins::open(folder.path());
        assert_eq!(accepted(&pins, &first), (5, false, false));
        let stranger = announced(&other, &Chain::of(&other), 6);
        let refusal = refused(&pins, &stranger);
        assert!(matches!(refusal, Refusal::Stranger { .. }), "{refusal:?}");
        assert!(refusal.to_string().contains("cleat node forget a"), "{refusal}");
        // Nor one that signs with its own key under the pinned chain.
        let refusal = refused(&pins, &announced(&other, &chain, 6));
        assert!(matches!(refusal, Refusal::Forged { why: Forged::Signature, .. }), "{refusal:?}");
        assert_eq!(pins.keys_of("a").unwrap().unwrap().serial, 5, "what was accepted stays");
        // The operator knows better.
        assert!(pins.forget("a").unwrap() && !pins.forget("a").unwrap());
        assert_eq!(accepted(&pins, &stranger), (6, true, true));
        assert!(matches!(refused(&pins, &first), Refusal::Stranger { .. }), "returned as another");
    }

    #[test]
    fn what_is_old_is_not_taken_for_new() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::open(folder.path());
        let own = Secret::random();
        let chain = Chain::of(&own);
        let (early, late) = (announced(&own, &chain, 5), announced(&own, &chain, 6));
        accepted(&pins, &early);
        assert_eq!(accepted(&pins, &late), (6, false, true));
        let refusal = Refusal::Replayed { node: "a".to_owned(), serial: 5, seen: 6 };
        assert_eq!(refused(&pins, &early), refusal);
        let mut keys = late.verify("a").unwrap();
        keys.keys[0].port = 1;
        let twice = Announcement::sign(&keys, &own, &chain);
        assert_eq!(refused(&pins, &twice), Refusal::Ambiguous { node: "a".into(), serial: 6 });
    }

    #[test]
    fn an_identity_changes_by_its_own_signature() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::open(folder.path());
        let identities: Vec<Secret> = (0..3).map(|_| Secret::random()).collect();
        let mut chain = Chain::of(&identities[0]);
        let before = announced(&identities[0], &chain, 1);
        accepted(&pins, &before);
        chain.succeed(&identities[0], &identities[1]);
        let middle = chain.clone();
        chain.succeed(&identities[1], &identities[2]);
        // This node was away for the one in the middle.
        assert_eq!(accepted(&pins, &announced(&identities[2], &chain, 3)), (3, false, true));
        // Who stole an identity that was given up gains nothing.
        let stolen = announced(&identities[1], &middle, 4);
        assert!(matches!(refused(&pins, &stolen), Refusal::Stranger { .. }));
    }

    #[test]
    fn a_pin_that_cannot_be_read_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::open(folder.path());
        let own = Secret::random();
        let shown = announced(&own, &Chain::of(&own), 1);
        accepted(&pins, &shown);
        let path = folder.path().join(format!("{}.json", file("a")));
        #[allow(clippy::disallowed_methods, reason = "it is to be half a file")]
        std::fs::write(path, "{").unwrap();
        assert!(pins.judge("a", &shown).is_err());
    }
}
