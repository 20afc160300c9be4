//! The books and the store are made to agree.

use std::net::IpAddr;

use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;

use super::picture::{Picture, Seen};
use super::{Book, Claims, Held, Licence, Reserve, TRIES};
use crate::overlay::documents::Claim;
use crate::overlay::error::{Error, Result};
use crate::overlay::store::{Condition, Txn, Write};
use crate::overlay::view::Wished;
use crate::overlay::{keys, networks};

/// Whether a network's page and what is known of the store call for [`Claims::settle`]. A look at
/// memory, so that nobody asks the store about changes of others.
pub fn differs<'v>(
    node: &str,
    book: Option<&Book>,
    claims: impl Iterator<Item = (IpNet, &'v Claim)>,
    mut asks: impl Iterator<Item = (IpAddr, &'v Wished)>,
) -> bool {
    let held = book.map(|book| book.held.as_slice()).unwrap_or_default();
    let grants = book.map(|book| book.grants.as_slice()).unwrap_or_default();
    if held.iter().any(|held| !held.is_usable()) {
        return true;
    }
    let mut agreed = 0;
    let mut granted = 0;
    for (block, claim) in claims {
        if claim.node == node {
            match held.iter().find(|held| held.block == block) {
                Some(held) if held.nonce == claim.nonce => agreed += 1,
                _ => return true,
            }
        } else if grants
            .iter()
            .any(|grant| IpNet::from(grant.address) == block && grant.node == claim.node)
        {
            granted += 1;
        }
    }
    if agreed != held.len() || granted != grants.len() {
        return true;
    }
    // Own wishes end with who waits for them.
    let is_here = |address: &IpAddr| {
        held.iter().any(|held| !held.is_single() && held.block.contains(address))
    };
    asks.any(|(address, wished)| *wished.node == *node || (!wished.refused && is_here(&address)))
}

impl Claims {
    /// Compares a network's page with the store and settles what differs; answers who asks for
    /// addresses of own blocks.
    ///
    /// # Errors
    /// What kept it from being settled whole. It is to be called again later.
    pub async fn settle(&self, network: &OverlayNetwork, reserve: &dyn Reserve) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.fence()?;
        let picture = match Picture::look(&*self.store, network).await? {
            Some(picture) => picture,
            None if self.books.page(&network.id).is_none() => return Ok(()),
            None => match self.tell_network(network).await? {
                Some(picture) => picture,
                None => return Ok(()),
            },
        };
        for held in self.books.held_of(&network.id) {
            self.settle_held(&picture, &held).await?;
        }
        for seen in picture.claims.iter().filter(|seen| seen.is_of(&self.node)) {
            let is_known = self.books.held(&network.id, &seen.block).is_some();
            let is_wanted = self.wanted().contains(&(network.id.clone(), seen.block.addr()));
            if !is_known && !is_wanted {
                self.drop_stray(&picture, seen).await?;
            }
        }
        for wish in picture.wishes.iter().filter(|wish| wish.ask.node == self.node) {
            let is_wanted = self.wanted().contains(&(network.id.clone(), wish.address));
            let is_asked_again = self.books.held(&network.id, &IpNet::from(wish.address)).is_some();
            if !is_wanted && !is_asked_again {
                self.take_back(&picture, wish.address).await?;
            }
        }
        self.answer(&picture, reserve).await?;
        // While others may still have to tell theirs, nothing that was granted is taken for free.
        if matches!(self.licence(), Licence::Full { .. }) {
            let now = Picture::must(&*self.store, network).await?;
            self.prune(&now, reserve)?;
        }
        Ok(())
    }

    async fn settle_held(&self, picture: &Picture, held: &Held) -> Result<()> {
        let network = &picture.network;
        let halt =
            |reason: String| self.books.note(network, &held.block, |h| h.halted = Some(reason));
        match picture.of(&held.block) {
            Some(_) | None if held.leaving => self.give_up(network, &held.block).await,
            Some(seen) if seen.is_of(&self.node) => {
                if seen.claim.as_ref().is_some_and(|claim| claim.nonce == held.nonce) {
                    return self.books.note(network, &held.block, |h| h.halted = None);
                }
                halt(format!(
                    "{} was claimed by another machine with the id of this node, {}; one of them \
                     must become another node",
                    held.block, self.node
                ))
            }
            Some(seen) => halt(belongs(&held.block, seen)),
            None if held.granted_by.is_some() => {
                let address = held.block.addr();
                let refusal = picture.wish(address).and_then(|wish| wish.ask.refusal.clone());
                if let Some(refusal) = refusal {
                    // Asked once more the next time.
                    self.take_back(picture, address).await?;
                    return halt(format!("{address}: the owner of its block says: {refusal}"));
                }
                self.ask_again(picture, address, &held.nonce).await?;
                halt(format!("{address}: the owner of its block is asked again"))
            }
            None => self.tell(picture, held).await,
        }
    }

    /// Tells the store of a claim that it does not know.
    async fn tell(&self, picture: &Picture, held: &Held) -> Result<()> {
        let network = &picture.network;
        let grants = self.books.page(&network.id).map(|book| book.grants).unwrap_or_default();
        let is_granted = |seen: &Seen| {
            grants.iter().any(|g| IpNet::from(g.address) == seen.block && seen.is_of(&g.node))
        };
        let around = picture.claims.iter();
        let around = around
            .filter(|seen| seen.block.contains(&held.block) || held.block.contains(&seen.block));
        let (inside, in_the_way): (Vec<&Seen>, Vec<&Seen>) =
            around.partition(|seen| is_granted(seen));
        if let Some(seen) = in_the_way.first() {
            let reason = belongs(&held.block, seen);
            return self.books.note(network, &held.block, |h| h.halted = Some(reason));
        }
        let mut when = vec![self.fence()?];
        when.extend(picture.nobody_but(&held.block, &inside)?);
        let claim = Claim { node: self.node.clone(), nonce: held.nonce.clone(), granted_by: None };
        if self.commit(&picture.claiming(&held.block, &claim, when)?).await? {
            return self.books.note(network, &held.block, |h| h.halted = None);
        }
        // Another look tells whether it is there or somebody was faster; until then nothing new
        // is leased.
        let reason = format!("{}: the store does not know yet that it is this node's", held.block);
        self.books.note(network, &held.block, |h| h.halted = Some(reason))
    }

    /// Tells the store of a network that it does not know, since this node owns a part of it. A
    /// network is not removed while somebody does.
    async fn tell_network(&self, network: &OverlayNetwork) -> Result<Option<Picture>> {
        let halted = match networks::tell(&*self.store, network, self.fence()?).await {
            Ok(true) => return Picture::look(&*self.store, network).await,
            Ok(false) => "the store does not know the network; it is told again".to_owned(),
            Err(error @ Error::Network { .. }) => {
                format!(
                    "the store does not know the network, and has another one in its place: {error}"
                )
            }
            Err(error) => return Err(error),
        };
        self.books.change(network, |book| {
            book.held.retain(|held| !held.leaving);
            book.held.iter_mut().for_each(|held| held.halted = Some(halted.clone()));
        })?;
        Ok(None)
    }

    /// Removes what is leaving from the store, and then from the books.
    pub(super) async fn give_up(&self, network: &OverlayNetwork, block: &IpNet) -> Result<()> {
        let Some(held) = self.books.held(&network.id, block) else { return Ok(()) };
        let key = keys::claim(&network.id, block);
        for _ in 0..TRIES {
            let there = networks::read(&*self.store, &key).await?;
            let ours = there.filter(|entry| {
                let claim = super::super::documents::decode::<Claim>(&key, &entry.value);
                claim.is_ok_and(|claim| claim.node == self.node && claim.nonce == held.nonce)
            });
            let Some(entry) = ours else { return self.books.strike(network, block) };
            let conditions = [self.fence()?, Condition::Unchanged(key.clone(), entry.revision)];
            if self.commit(&Txn::new(conditions, [Write::Delete(key.clone())])).await? {
                return self.books.strike(network, block);
            }
        }
        Err(Error::Lost { doing: "give up a claim", tries: TRIES })
    }

    /// Removes a claim of this node that is not in its books: nothing was ever leased from it.
    pub(super) async fn drop_stray(&self, picture: &Picture, seen: &Seen) -> Result<bool> {
        let key = keys::claim(&picture.network.id, &seen.block);
        let conditions = [self.fence()?, Condition::Unchanged(key.clone(), seen.revision)];
        self.commit(&Txn::new(conditions, [Write::Delete(key)])).await
    }
}

fn belongs(block: &IpNet, seen: &Seen) -> String {
    format!(
        "by the store {} belongs to node {}: it went back to a state in which this node did not \
         have {block} yet, or the node was forgotten; end the containers in {block}, so that it \
         is given up",
        seen.block,
        seen.owner()
    )
}
