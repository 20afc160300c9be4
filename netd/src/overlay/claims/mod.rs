//! Who owns which addresses. A claim is a key without a lease, made in one transaction that holds
//! that nothing overlaps it; this node's own are in its books as well, written before they are
//! used. The two are compared whenever they differ:
//!
//! - in the books and not in the store: the store went back, or forgot the node; it is told again,
//!   and if another owns it by now, nothing more is leased from it here (halted);
//! - in the store and not in the books: the answer to a claim got lost, or the store went back
//!   behind a release; it is given up.
//!
//! What holds, whatever is lost, late or restarted, and as long as no store went back and no
//! machine runs as a copy of another: no address is in the books of two nodes, but for one that a
//! block's owner granted, which is in the owner's books as granted. After a store went back: where
//! two books overlap, one of them is halted there once its node has looked at the store. A copy of
//! a machine changes nothing in the store, since every change holds that the key `live` of the node
//! is still this process's.
//!
//! No timers here: who calls decides when, and again.

mod books;
mod choice;
mod grants;
mod picture;
mod settle;
mod single;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;
use tokio::sync::Mutex as AsyncMutex;

use super::documents::Claim;
use super::error::{Error, Result};
use super::keys;
use super::store::{Condition, Outcome, Store, Txn};
use picture::Picture;

pub use books::{Book, Books, Grant, Held};
pub use grants::Reserve;
pub use settle::differs;
pub use single::Single;

/// Transactions that lost before it is said.
const TRIES: u32 = 16;

/// What this process may do in its node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Licence {
    /// Nothing, for this reason.
    None(String),
    /// Tell the store of what is owned, but own nothing new yet: others may not have told theirs.
    Keep {
        /// The value of the key `live` that is this process's.
        live: String,
    },
    /// Everything.
    Full {
        /// The value of the key `live` that is this process's.
        live: String,
        /// The revision of the key `epoch`.
        epoch: i64,
    },
}

/// A node's claims.
pub struct Claims {
    store: Arc<dyn Store>,
    node: String,
    books: Books,
    licence: Mutex<Licence>,
    /// Addresses that are waited for.
    wanted: Mutex<BTreeSet<(String, IpAddr)>>,
    /// One thing after another: what is looked at stays true but for what others do.
    turn: AsyncMutex<()>,
    nonce: fn() -> String,
    made: Arc<AtomicI64>,
}

impl Claims {
    /// A node's, without a licence. `nonce` gives another text each time, on any machine.
    pub fn new(store: Arc<dyn Store>, node: &str, books: Books, nonce: fn() -> String) -> Self {
        Self {
            store,
            node: node.to_owned(),
            books,
            licence: Mutex::new(Licence::None("netd has just started".to_owned())),
            wanted: Mutex::default(),
            turn: AsyncMutex::new(()),
            nonce,
            made: Arc::default(),
        }
    }

    /// The last revision that was made here: a store that has less went back.
    pub fn made(&self) -> Arc<AtomicI64> {
        self.made.clone()
    }

    /// The books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// What may be done from now on.
    pub fn license(&self, licence: Licence) {
        *self.licence.lock().unwrap_or_else(PoisonError::into_inner) = licence;
    }

    /// What may be done.
    pub fn licence(&self) -> Licence {
        self.licence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<(String, IpAddr)>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process is still the node's, whatever it does.
    fn fence(&self) -> Result<Condition> {
        match self.licence() {
            Licence::None(reason) => Err(Error::Halted { reason }),
            Licence::Keep { live } | Licence::Full { live, .. } => {
                Ok(Condition::Holds(keys::live(&self.node), live))
            }
        }
    }

    /// And the store did not go back.
    fn fences(&self) -> Result<Vec<Condition>> {
        let fence = self.fence()?;
        match self.licence() {
            Licence::Full { epoch, .. } => {
                Ok(vec![fence, Condition::Unchanged(keys::EPOCH.to_owned(), epoch)])
            }
            _ => Err(Error::Halted {
                reason: "the store went back to an earlier state, and all nodes are given time to \
                         tell it what they own; try again in a minute"
                    .to_owned(),
            }),
        }
    }

    /// A block of a subnet that is none of these: an own one, or one more.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Halted`], [`Error::Lost`]; what the store says.
    pub async fn block(
        &self,
        network: &OverlayNetwork,
        subnet: &IpNet,
        have: &[IpNet],
    ) -> Result<IpNet> {
        let _turn = self.turn.lock().await;
        let own = self.books.held_of(&network.id).into_iter().find(|held| {
            held.is_usable()
                && !held.is_single()
                && subnet.contains(&held.block)
                && !have.contains(&held.block)
        });
        if let Some(own) = own {
            return Ok(own.block);
        }
        let nonce = (self.nonce)();
        for _ in 0..TRIES {
            let picture = Picture::must(&*self.store, network).await?;
            if let Some(block) = self.made_after_all(&picture, &nonce)? {
                return Ok(block);
            }
            let taken = picture.claims.iter().map(|seen| seen.block);
            let block = choice::free_block(network, subnet, taken, &self.node)
                .ok_or_else(|| Error::Full { network: network.name.clone(), subnet: *subnet })?;
            if self.claim(&picture, &block, &nonce).await? {
                return Ok(block);
            }
        }
        Err(Error::Lost { doing: "claim a block", tries: TRIES })
    }

    /// Claims something that nobody has, and writes it down; false: look again.
    async fn claim(&self, picture: &Picture, block: &IpNet, nonce: &str) -> Result<bool> {
        let mut when = self.fences()?;
        when.extend(picture.nobody_but(block, &[])?);
        let claim = Claim { node: self.node.clone(), nonce: nonce.to_owned(), granted_by: None };
        if !self.commit(&picture.claiming(block, &claim, when)?).await? {
            return Ok(false);
        }
        self.books.hold(&picture.network, held(block, nonce, None))?;
        Ok(true)
    }

    /// A claim of this try whose answer got lost, written down.
    fn made_after_all(&self, picture: &Picture, nonce: &str) -> Result<Option<IpNet>> {
        let made = picture.claims.iter().find(|seen| {
            seen.is_of(&self.node) && seen.claim.as_ref().is_some_and(|claim| claim.nonce == nonce)
        });
        let Some(made) = made else { return Ok(None) };
        let granted_by = made.claim.as_ref().and_then(|claim| claim.granted_by.clone());
        self.books.hold(&picture.network, held(&made.block, nonce, granted_by))?;
        Ok(Some(made.block))
    }

    /// False: it was not done, or may not have been. Errors are those of the store alone.
    async fn commit(&self, txn: &Txn) -> Result<bool> {
        match self.store.commit(txn).await {
            Ok(Outcome::Committed(revision)) => {
                self.made.fetch_max(revision, Ordering::SeqCst);
                Ok(true)
            }
            Ok(Outcome::Refused) => {
                self.still_licensed().await?;
                Ok(false)
            }
            Err(error) if error.may_have_happened() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// That a transaction was refused may be the fences' doing, and then trying again is in vain.
    async fn still_licensed(&self) -> Result<()> {
        let lost = |reason: &str| Err(Error::Halted { reason: reason.to_owned() });
        if let Condition::Holds(key, value) = self.fence()? {
            let there = super::networks::read(&*self.store, &key).await?;
            if there.is_none_or(|entry| entry.value != value) {
                return lost(
                    "the store does not know this process as the node's any more; it is told again",
                );
            }
        }
        if let Licence::Full { epoch, .. } = self.licence() {
            let there = super::networks::read(&*self.store, keys::EPOCH).await?;
            if there.is_none_or(|entry| entry.revision != epoch) {
                return lost("the store went back to an earlier state; try again in a minute");
            }
        }
        Ok(())
    }

    /// Gives up a block, or a single address. Nothing may be leased from it any more when this is
    /// called. If the store cannot be asked, it is given up later.
    ///
    /// # Errors
    /// The books could not be written: then it still is owned.
    pub async fn release(&self, network: &OverlayNetwork, block: &IpNet) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.books.note(network, block, |held| held.leaving = true)?;
        match self.give_up(network, block).await {
            Err(Error::Records(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn held(block: &IpNet, nonce: &str, granted_by: Option<String>) -> Held {
    Held { block: *block, nonce: nonce.to_owned(), granted_by, leaving: false, halted: None }
}
