//! This node's own keys: made at the first start, kept in one file that only root reads, and
//! changed without a pause, in steps. The new key gets a device, a port and an address of its own
//! beside the old one's; once the others have it, they send to it, and then this node sends by it;
//! the old one listens for a while, and goes.

use std::net::Ipv6Addr;

use cleat_engine::overlay::wireguard::{OwnKey, inner_address};
use cleat_engine::records::Document;
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey as Curve, StaticSecret};

use super::secret::{Public, Secret};
use super::signed::{Announcement, Chain, Keys, PublicKey};

/// A node that has not taken the new key for so long does without, in seconds.
const OFFER: u64 = 60 * 60;
/// By then the segments of this node send from the new address, in seconds.
const MOVE: u64 = 5;
/// By then nobody who hears of changes sends to the old address, in seconds.
const DRAIN: u64 = 30;

/// How far a change of keys is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// There is one key.
    Steady,
    /// Others learn the new one; the old one is used.
    Offered,
    /// The new one is used; what is on its way by the old one still goes.
    Moved,
    /// The old one only listens.
    Drained,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnKeys {
    node: String,
    identity: Secret,
    identities: Chain,
    /// Oldest first.
    generations: Vec<Generation>,
    phase: Phase,
    /// When the phase began, in seconds since 1970.
    since: u64,
    /// What was announced last.
    announced: Announcement,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    number: u64,
    key: Secret,
}

impl Document for OwnKeys {
    const SCHEMA: u32 = 1;
}

impl OwnKeys {
    /// New ones.
    pub(super) fn make(node: &str, port: u16, now: u64) -> Self {
        let identity = Secret::random();
        let identities = Chain::of(&identity);
        let generations = vec![Generation { number: 1, key: Secret::random() }];
        let keys = announce(node, &generations, (now, 1), port);
        let announced = Announcement::sign(&keys, &identity, &identities);
        let (node, phase) = (node.to_owned(), Phase::Steady);
        Self { node, identity, identities, generations, phase, since: now, announced }
    }

    /// They are this node's.
    pub(super) fn are_of(&self, node: &str) -> bool {
        self.node == node
    }

    pub(super) fn announcement(&self) -> &Announcement {
        &self.announced
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The generation that is sent by, and that others send to.
    pub(super) fn current(&self) -> u64 {
        let used = match self.phase {
            Phase::Offered => self.generations.first(),
            _ => self.generations.last(),
        };
        used.map_or(1, |generation| generation.number)
    }

    /// The address inside that is sent from.
    pub(super) fn address(&self) -> Ipv6Addr {
        inner_address(&self.node, self.current())
    }

    /// The keys as their devices need them, oldest first.
    pub(super) fn devices(&self, port: u16) -> Vec<OwnKey> {
        let device = |generation: &Generation| OwnKey {
            generation: generation.number,
            private: generation.key.0,
            public: public(&generation.key).0,
            port: port_of(port, generation.number),
        };
        self.generations.iter().map(device).collect()
    }

    /// Begins a change; `false`: one is under way.
    pub(super) fn rotate(&mut self, port: u16, now: u64) -> bool {
        if self.phase != Phase::Steady {
            return false;
        }
        let number = self.current() + 1;
        self.generations.push(Generation { number, key: Secret::random() });
        let identity = Secret::random();
        self.identities.succeed(&self.identity, &identity);
        self.identity = identity;
        self.enter(Phase::Offered, port, now);
        true
    }

    /// Goes on with a change when it is time; `all_have` says that every node that is there uses
    /// the newest key. Whether something changed.
    pub(super) fn advance(&mut self, all_have: bool, port: u16, now: u64) -> bool {
        let passed = now.saturating_sub(self.since);
        let next = match self.phase {
            Phase::Offered if all_have || passed >= OFFER => Phase::Moved,
            Phase::Moved if passed >= MOVE => Phase::Drained,
            Phase::Drained if passed >= DRAIN => Phase::Steady,
            _ => return false,
        };
        if next == Phase::Steady {
            self.generations.drain(..self.generations.len().saturating_sub(1));
        }
        self.enter(next, port, now);
        true
    }

    /// Signs anew if there is something new to say, such as another port. Whether there was.
    pub(super) fn renew(&mut self, port: u16, now: u64) -> bool {
        let Ok(said) = self.announced.verify(&self.node) else {
            self.announce((now, 1), port);
            return true;
        };
        // By the clock, so that a node whose state is restored from a backup is believed.
        let serial = now.max(said.serial + 1);
        let wanted = announce(&self.node, &self.generations, (said.serial, self.current()), port);
        if wanted == said {
            return false;
        }
        self.announce((serial, self.current()), port);
        true
    }

    fn enter(&mut self, phase: Phase, port: u16, now: u64) {
        self.phase = phase;
        self.since = now;
        self.renew(port, now);
    }

    fn announce(&mut self, (serial, current): (u64, u64), port: u16) {
        let keys = announce(&self.node, &self.generations, (serial, current), port);
        self.announced = Announcement::sign(&keys, &self.identity, &self.identities);
    }
}

fn announce(node: &str, all: &[Generation], (serial, current): (u64, u64), port: u16) -> Keys {
    let key = |generation: &Generation| PublicKey {
        generation: generation.number,
        key: public(&generation.key),
        port: port_of(port, generation.number),
    };
    Keys { node: node.to_owned(), serial, current, keys: all.iter().map(key).collect() }
}

fn public(key: &Secret) -> Public<32> {
    Public(Curve::from(&StaticSecret::from(key.0)).to_bytes())
}

/// Two generations that follow each other listen at two ports.
fn port_of(port: u16, generation: u64) -> u16 {
    if !generation.is_multiple_of(2) { port } else { port.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 51871;

    fn said(keys: &OwnKeys) -> Keys {
        keys.announcement().verify("a").unwrap()
    }

    #[test]
    fn keys_change_step_by_step() {
        let mut keys = OwnKeys::make("a", PORT, 1000);
        let old = keys.address();
        assert_eq!((said(&keys).current, said(&keys).keys.len()), (1, 1));
        assert!(keys.rotate(PORT, 2000) && !keys.rotate(PORT, 2000));
        // Both are announced, the old one is used.
        assert_eq!((keys.address(), said(&keys).current), (old, 1));
        let ports: Vec<u16> = said(&keys).keys.iter().map(|key| key.port).collect();
        assert_eq!(ports, [PORT, PORT + 1]);
        assert!(!keys.advance(false, PORT, 2010), "somebody has not taken it");
        assert!(keys.advance(true, PORT, 2010));
        assert_ne!(keys.address(), old);
        assert_eq!(
            (keys.phase(), said(&keys).current, said(&keys).keys.len()),
            (Phase::Moved, 2, 2)
        );
        assert!(!keys.advance(true, PORT, 2011) && keys.advance(true, PORT, 2010 + MOVE));
        assert_eq!((keys.phase(), keys.devices(PORT).len()), (Phase::Drained, 2));
        assert!(keys.advance(true, PORT, 2100) && !keys.advance(true, PORT, 9000));
        assert_eq!((keys.phase(), said(&keys).keys.len()), (Phase::Steady, 1));
        assert_eq!(keys.devices(PORT)[0].port, PORT + 1);
    }

    #[test]
    fn a_node_that_is_away_holds_nothing_up_for_ever() {
        let mut keys = OwnKeys::make("a", PORT, 0);
        keys.rotate(PORT, 0);
        assert!(!keys.advance(false, PORT, OFFER - 1) && keys.advance(false, PORT, OFFER));
    }

    #[test]
    fn each_announcement_has_a_larger_number() {
        let mut keys = OwnKeys::make("a", PORT, 1000);
        let first = keys.announcement().clone();
        assert!(!keys.renew(PORT, 1001) && *keys.announcement() == first);
        // A clock that went back.
        assert!(keys.renew(4000, 10));
        assert_eq!((said(&keys).serial, said(&keys).keys[0].port), (1001, 4000));
        assert!(keys.rotate(4000, 5000));
        assert_eq!(said(&keys).serial, 5000);
    }

    #[test]
    fn the_file_shows_what_it_was_and_debug_shows_no_key() {
        let keys = OwnKeys::make("a", PORT, 1000);
        let text = serde_json::to_string(&keys).unwrap();
        assert_eq!(serde_json::from_str::<OwnKeys>(&text).unwrap(), keys);
        let private = serde_json::to_string(&keys.identity).unwrap();
        assert!(
            text.contains(&private) && !format!("{keys:?}").contains(private.trim_matches('"'))
        );
        // RFC 7748, 6.1: Bob's.
        let hex = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
        let byte = |i: usize| u8::from_str_radix(&hex[i * 2..i * 2 + 2], 16).unwrap();
        let public = public(&Secret(std::array::from_fn(byte)));
        assert_eq!(public.to_string(), "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=");
    }
}
