//! What a node announces of its WireGuard keys, signed. Whoever can write to the store could
//! otherwise put a key of their own in place of a node's and read what is sent to it.
//!
//! A node signs with an identity (Ed25519) that changes only together with a signature by the one
//! before, so an announcement carries the chain of its identities. Whether the chain begins where
//! it should is not decided here: see [`super::pins`].

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::secret::{Public, Secret};

/// What a signature is said to be for, so that none can be taken for another.
const OF_KEYS: &[u8] = b"cleat node keys 1\0";
const OF_SUCCESSION: &[u8] = b"cleat node identity 1\0";
/// Identities that a chain keeps; a node that missed more of them is told to forget the other.
pub(super) const LINKS: usize = 64;
/// Longer is no announcement.
const BODY: usize = 4096;

/// An announcement, as it is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// [`Keys`] as JSON: this very text is signed.
    pub body: String,
    /// By the last of the identities.
    pub signature: Public<64>,
    /// Who signs, and who did before.
    pub identities: Chain,
}

/// A node's identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// The oldest one that is still known.
    pub first: Public<32>,
    /// Those after it, each signed by the one before.
    #[serde(default)]
    pub then: Vec<Succession>,
}

/// One identity takes over from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    /// The new one.
    pub to: Public<32>,
    /// By the one before.
    pub signature: Public<64>,
}

/// What is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The node's id.
    pub node: String,
    /// Larger than in every earlier announcement of the node.
    pub serial: u64,
    /// The generation that the others send to.
    pub current: u64,
    /// One key, or two while they change.
    pub keys: Vec<PublicKey>,
}

/// A WireGuard key of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// Which of the node's keys it is, counted from 1.
    pub generation: u64,
    /// The key.
    pub key: Public<32>,
    /// The UDP port that its device listens at.
    pub port: u16,
}

/// Why an announcement proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forged {
    /// The body is no [`Keys`].
    #[error("its body: {0}")]
    Body(String),
    /// A signature does not belong to what is signed.
    #[error("its signature is not by the identity that it names")]
    Signature,
    /// An identity was not signed by the one before.
    #[error("its identity {to} was not signed by the one before")]
    Succession {
        /// The identity.
        to: Public<32>,
    },
    /// It is about another node.
    #[error("it is signed for the node {found}")]
    Node {
        /// That node.
        found: String,
    },
}

impl Announcement {
    /// Signs what a node announces.
    pub(super) fn sign(keys: &Keys, identity: &Secret, chain: &Chain) -> Self {
        let body = serde_json::json!(keys).to_string();
        let signature = sign(identity, OF_KEYS, &[body.as_bytes()]);
        Self { body, signature, identities: chain.clone() }
    }

    /// What it says, if it is the node's by its own chain of identities.
    ///
    /// # Errors
    /// [`Forged`].
    pub fn verify(&self, node: &str) -> Result<Keys, Forged> {
        if self.body.len() > BODY || self.identities.then.len() > LINKS {
            return Err(Forged::Body("it is too long".to_owned()));
        }
        let last = self.identities.last_proven()?;
        if !is_signed(&last, OF_KEYS, &[self.body.as_bytes()], &self.signature) {
            return Err(Forged::Signature);
        }
        let keys: Keys =
            serde_json::from_str(&self.body).map_err(|error| Forged::Body(error.to_string()))?;
        if keys.node != node {
            return Err(Forged::Node { found: keys.node });
        }
        let is_current = |key: &PublicKey| key.generation == keys.current && key.port != 0;
        if !(1..=2).contains(&keys.keys.len()) || !keys.keys.iter().any(is_current) {
            return Err(Forged::Body(
                "expected one or two keys, the current one among them".into(),
            ));
        }
        Ok(keys)
    }
}

impl Chain {
    /// A new identity's.
    pub(super) fn of(identity: &Secret) -> Self {
        Self { first: public(identity), then: Vec::new() }
    }

    /// The one that signs.
    pub fn last(&self) -> Public<32> {
        self.then.last().map_or(self.first, |succession| succession.to)
    }

    /// Whether an identity is in it.
    pub(super) fn holds(&self, identity: &Public<32>) -> bool {
        self.first == *identity || self.then.iter().any(|succession| succession.to == *identity)
    }

    /// Adds a new identity, signed by the last one.
    pub(super) fn succeed(&mut self, last: &Secret, new: &Secret) {
        let to = public(new);
        let signature = sign(last, OF_SUCCESSION, &[&self.last().0, &to.0]);
        if self.then.len() == LINKS {
            self.first = self.then.remove(0).to;
        }
        self.then.push(Succession { to, signature });
    }

    fn last_proven(&self) -> Result<Public<32>, Forged> {
        let mut last = self.first;
        for Succession { to, signature } in &self.then {
            if !is_signed(&last, OF_SUCCESSION, &[&last.0, &to.0], signature) {
                return Err(Forged::Succession { to: *to });
            }
            last = *to;
        }
        Ok(last)
    }
}

fn public(identity: &Secret) -> Public<32> {
    Public(SigningKey::from_bytes(&identity.0).verifying_key().to_bytes())
}

fn sign(identity: &Secret, what: &[u8], parts: &[&[u8]]) -> Public<64> {
    let text = [&[what], parts].concat().concat();
    Public(SigningKey::from_bytes(&identity.0).sign(&text).to_bytes())
}

fn is_signed(by: &Public<32>, what: &[u8], parts: &[&[u8]], signature: &Public<64>) -> bool {
    let text = [&[what], parts].concat().concat();
    let signature = Signature::from_bytes(&signature.0);
    // Strict: keys and signatures of which there are several forms are none.
    VerifyingKey::from_bytes(&by.0).is_ok_and(|key| key.verify_strict(&text, &signature).is_ok())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An announcement of one key by a node `a`.
    pub(crate) fn announced(identity: &Secret, chain: &Chain, serial: u64) -> Announcement {
        let key = PublicKey { generation: 1, key: Public([serial as u8; 32]), port: 51871 };
        let keys = Keys { node: "a".to_owned(), serial, current: 1, keys: vec![key] };
        Announcement::sign(&keys, identity, chain)
    }

    #[test]
    fn what_was_signed_is_believed_and_nothing_else() {
        let (first, second) = (Secret::random(), Secret::random());
        let mut chain = Chain::of(&first);
        let good = announced(&first, &chain, 1);
        assert_eq!(good.verify("a").unwrap().serial, 1);
        assert_eq!(good.verify("b"), Err(Forged::Node { found: "a".to_owned() }));
        let mut changed = good.clone();
        changed.body = changed.body.replace("51871", "51872");
        assert_eq!(changed.verify("a"), Err(Forged::Signature));
        // An identity that nobody signed, and one that was.
        let stolen = announced(&second, &chain, 1);
        assert_eq!(stolen.verify("a"), Err(Forged::Signature));
        let forged = Succession { to: public(&second), signature: Public([1; 64]) };
        let unsigned = Chain { first: chain.first, then: vec![forged] };
        let outcome = announced(&second, &unsigned, 1).verify("a");
        assert_eq!(outcome, Err(Forged::Succession { to: public(&second) }));
        chain.succeed(&first, &second);
        assert!(announced(&second, &chain, 1).verify("a").is_ok());
        assert_eq!(announced(&first, &chain, 1).verify("a"), Err(Forged::Signature));
    }

    #[test]
    fn a_chain_is_as_long_as_it_may_be() {
        let mut identity = Secret::random();
        let mut chain = Chain::of(&identity);
        let first = chain.first;
        for _ in 0..LINKS + 3 {
            let next = Secret::random();
            chain.succeed(&identity, &next);
            identity = next;
        }
        assert!(announced(&identity, &chain, 1).verify("a").is_ok() && !chain.holds(&first));
    }

    #[test]
    fn keys_must_make_sense() {
        let identity = Secret::random();
        let chain = Chain::of(&identity);
        let key = |generation| PublicKey { generation, key: Public([1; 32]), port: 1 };
        for (current, keys) in [(1, vec![]), (1, vec![key(2)]), (1, vec![key(1), key(2), key(3)])] {
            let keys = Keys { node: "a".to_owned(), serial: 1, current, keys };
            let outcome = Announcement::sign(&keys, &identity, &chain).verify("a");
            assert!(matches!(outcome, Err(Forged::Body(_))), "{outcome:?}");
        }
    }
}
