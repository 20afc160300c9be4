//! Single addresses: claimed where no block covers them, else asked of the block's owner.

use std::net::IpAddr;

use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;

use super::picture::{Picture, Seen, subnet_of, wrong_address};
use super::{Claims, TRIES, held};
use crate::overlay::documents::{Ask, encode};
use crate::overlay::error::{Error, Result};
use crate::overlay::keys;
use crate::overlay::store::{Condition, Txn, Write};

/// How a single address is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Single {
    /// It is this node's, by a claim of its own.
    Held(IpNet),
    /// It is of a block of this node, and leased as any other.
    OwnBlock(IpNet),
    /// The owner of its block was asked; ask again when the store has changed.
    Asked,
}

impl Claims {
    /// One address, wherever in the network it is. May be called again and again until it is not
    /// [`Single::Asked`] any more; who does not wait any longer calls [`Claims::withdraw`].
    ///
    /// # Errors
    /// [`Error::Address`]: another node has it, or uses it; [`Error::Halted`], [`Error::Lost`].
    pub async fn address(&self, network: &OverlayNetwork, address: IpAddr) -> Result<Single> {
        let _turn = self.turn.lock().await;
        let subnet = subnet_of(network, address)?;
        let is_v4 = address.is_ipv4();
        if address == subnet.network() || (is_v4 && address == subnet.broadcast()) {
            let problem = "it stands for the whole subnet; use another one".to_owned();
            return Err(wrong_address(network, address, problem));
        }
        let own = self.books.held_of(&network.id);
        if let Some(held) =
            own.iter().find(|held| held.is_usable() && held.block.contains(&address))
        {
            let block = held.block;
            return Ok(if held.is_single() {
                Single::Held(block)
            } else {
                Single::OwnBlock(block)
            });
        }
        let nonce = (self.nonce)();
        for _ in 0..TRIES {
            let picture = Picture::must(&*self.store, network).await?;
            if let Some(block) = self.made_after_all(&picture, &nonce)? {
                let is_single = block == IpNet::from(address);
                return Ok(if is_single { Single::Held(block) } else { Single::OwnBlock(block) });
            }
            if let Some(single) = self.obtain(&picture, address, &nonce).await? {
                return Ok(single);
            }
        }
        Err(Error::Lost { doing: "claim an address", tries: TRIES })
    }

    /// `None`: look again.
    async fn obtain(
        &self,
        picture: &Picture,
        address: IpAddr,
        nonce: &str,
    ) -> Result<Option<Single>> {
        let network = &picture.network;
        let block = IpNet::from(address);
        let wanted = (network.id.clone(), address);
        if let Some(seen) = picture.of(&block) {
            return self.obtained(picture, seen, address, nonce);
        }
        let Some(above) = picture.above(address) else {
            // What was asked of an owner that is none any more.
            if !self.take_back(picture, address).await? {
                return Ok(None);
            }
            let whole = self.whole_block(picture, address)?;
            let made = self.claim(picture, &whole, nonce).await?;
            self.wanted().remove(&wanted);
            let single = if whole == block { Single::Held(whole) } else { Single::OwnBlock(whole) };
            return Ok(made.then_some(single));
        };
        if above.is_of(&self.node) {
            // One that is not in the books, or not usable: it is on its way out.
            let problem = "its block is being given up by this node; try again".to_owned();
            return Err(wrong_address(network, address, problem));
        }
        match picture.wish(address) {
            Some(wish) if wish.ask.node != self.node => {
                let problem = format!("node {} is asking for it too; try again", wish.ask.node);
                Err(wrong_address(network, address, problem))
            }
            Some(wish) => match wish.ask.refusal.clone() {
                None => {
                    self.wanted().insert(wanted);
                    Ok(Some(Single::Asked))
                }
                Some(refusal) => {
                    self.take_back(picture, address).await?;
                    Err(wrong_address(network, address, refusal))
                }
            },
            None => {
                let made = self.ask(picture, above, address, nonce).await?;
                if made {
                    self.wanted().insert(wanted);
                }
                Ok(made.then_some(Single::Asked))
            }
        }
    }

    /// There is a claim of the address alone.
    fn obtained(
        &self,
        picture: &Picture,
        seen: &Seen,
        address: IpAddr,
        nonce: &str,
    ) -> Result<Option<Single>> {
        let network = &picture.network;
        let wanted = (network.id.clone(), address);
        let Some(claim) = seen.claim.as_ref().filter(|claim| claim.node == self.node) else {
            let problem = format!("it belongs to node {}; use another one", seen.owner());
            return Err(wrong_address(network, address, problem));
        };
        // Made by this very try, or granted to an earlier one.
        if claim.nonce != nonce && !self.wanted().contains(&wanted) {
            let problem = "this node is giving it up; try again".to_owned();
            return Err(wrong_address(network, address, problem));
        }
        self.books.hold(network, held(&seen.block, &claim.nonce, claim.granted_by.clone()))?;
        self.wanted().remove(&wanted);
        Ok(Some(Single::Held(seen.block)))
    }

    /// What to claim for the sake of an address that nobody has.
    fn whole_block(&self, picture: &Picture, address: IpAddr) -> Result<IpNet> {
        let network = &picture.network;
        let subnet = picture.subnet(address)?;
        let single = IpNet::from(address);
        if network.static_range(&subnet).is_some_and(|range| range.contains(&address)) {
            return Ok(single);
        }
        let block = IpNet::new(address, network.block_length(&subnet)).map(|net| net.trunc());
        Ok(match block {
            Ok(block) if picture.in_the_way(&block).is_none() => block,
            _ => single,
        })
    }

    async fn ask(
        &self,
        picture: &Picture,
        above: &Seen,
        address: IpAddr,
        nonce: &str,
    ) -> Result<bool> {
        let id = &picture.network.id;
        let key = keys::ask(id, address);
        let ask = Ask { node: self.node.clone(), nonce: nonce.to_owned(), refusal: None };
        let conditions = [
            self.fence()?,
            picture.unchanged(),
            Condition::Absent(key.clone()),
            Condition::Absent(keys::claim(id, &IpNet::from(address))),
            Condition::Unchanged(keys::claim(id, &above.block), above.revision),
        ];
        let value = encode(&key, &ask)?;
        self.commit(&Txn::new(conditions, [Write::put(key, value)])).await
    }

    /// Removes the own wish for an address; true: there is none.
    pub(super) async fn take_back(&self, picture: &Picture, address: IpAddr) -> Result<bool> {
        let Some(wish) = picture.wish(address).filter(|wish| wish.ask.node == self.node) else {
            return Ok(true);
        };
        let key = keys::ask(&picture.network.id, address);
        let conditions = [self.fence()?, Condition::Unchanged(key.clone(), wish.revision)];
        self.commit(&Txn::new(conditions, [Write::Delete(key)])).await
    }

    /// An address is not waited for any more. What was granted meanwhile is given up.
    ///
    /// # Errors
    /// What the store says; then it is given up later.
    pub async fn withdraw(&self, network: &OverlayNetwork, address: IpAddr) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.wanted().remove(&(network.id.clone(), address));
        if self.books.held(&network.id, &IpNet::from(address)).is_some() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let Some(picture) = Picture::look(&*self.store, network).await? else { return Ok(()) };
            if self.take_back(&picture, address).await? {
                let Some(seen) = picture.of(&IpNet::from(address)) else { return Ok(()) };
                if !seen.is_of(&self.node) || self.drop_stray(&picture, seen).await? {
                    return Ok(());
                }
            }
        }
        Err(Error::Lost { doing: "withdraw a wish for an address", tries: TRIES })
    }

    /// Asks again for an address that was granted, of which the store knows nothing any more.
    pub(super) async fn ask_again(
        &self,
        picture: &Picture,
        address: IpAddr,
        nonce: &str,
    ) -> Result<()> {
        if picture.wish(address).is_none()
            && let Some(above) = picture.above(address).filter(|above| !above.is_of(&self.node))
        {
            self.ask(picture, above, address, nonce).await?;
        }
        Ok(())
    }
}
