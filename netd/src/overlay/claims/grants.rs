//! Addresses of own blocks that other nodes ask for.

use std::net::IpAddr;

use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;

use super::picture::{Picture, Wish};
use super::{Claims, Grant};
use crate::overlay::documents::{Ask, Claim, encode};
use crate::overlay::error::Result;
use crate::overlay::keys;
use crate::overlay::store::{Condition, Txn, Write};

/// The pools that addresses of own blocks are leased from.
pub trait Reserve: Send + Sync {
    /// Keeps an address from being leased here, for another node. It may be reserved for that node
    /// already. The error says why it cannot be had, such as that a container uses it.
    fn reserve(
        &self,
        network: &OverlayNetwork,
        address: IpAddr,
        node: &str,
    ) -> std::result::Result<(), String>;

    /// It may be leased here again.
    fn free(&self, network: &OverlayNetwork, address: IpAddr);
}

impl Claims {
    /// Grants what is wished for of own blocks, or says why not.
    pub(super) async fn answer(&self, picture: &Picture, reserve: &dyn Reserve) -> Result<()> {
        for wish in picture.wishes.iter().filter(|wish| wish.ask.refusal.is_none()) {
            let Some(above) = picture.above(wish.address).filter(|above| above.is_of(&self.node))
            else {
                continue;
            };
            let held = self.books.held(&picture.network.id, &above.block);
            let is_ours = held.is_some_and(|held| {
                held.is_usable()
                    && above.claim.as_ref().is_some_and(|claim| claim.nonce == held.nonce)
            });
            if is_ours {
                self.grant(picture, wish, (&above.block, above.revision), reserve).await?;
            }
        }
        Ok(())
    }

    /// In the books before it is another's. Conflicts and lost answers are seen at the next look.
    async fn grant(
        &self,
        picture: &Picture,
        wish: &Wish,
        (block, revision): (&IpNet, i64),
        reserve: &dyn Reserve,
    ) -> Result<()> {
        let (network, node) = (&picture.network, &wish.ask.node);
        let id = &network.id;
        let key = keys::ask(id, wish.address);
        let as_asked = Condition::Unchanged(key.clone(), wish.revision);
        let mut refusal = None;
        self.books.change(network, |book| {
            match book.grants.iter().find(|grant| grant.address == wish.address) {
                Some(grant) if grant.node == *node => {}
                Some(grant) => {
                    refusal = Some(format!("it is granted to node {}; use another one", grant.node))
                }
                None => book.grants.push(Grant { address: wish.address, node: node.clone() }),
            }
        })?;
        if refusal.is_none()
            && let Err(problem) = reserve.reserve(network, wish.address, node)
        {
            self.ungrant(network, wish.address)?;
            refusal = Some(problem);
        }
        let txn = match refusal {
            Some(problem) => {
                let ask = Ask { refusal: Some(problem), ..wish.ask.clone() };
                let value = encode(&key, &ask)?;
                Txn::new([self.fence()?, as_asked], [Write::put(key, value)])
            }
            None => {
                let single = keys::claim(id, &IpNet::from(wish.address));
                let claim = Claim {
                    node: node.clone(),
                    nonce: wish.ask.nonce.clone(),
                    granted_by: Some(self.node.clone()),
                };
                let conditions = [
                    self.fence()?,
                    as_asked,
                    Condition::Unchanged(keys::claim(id, block), revision),
                    Condition::Absent(single.clone()),
                ];
                let value = encode(&single, &claim)?;
                Txn::new(conditions, [Write::put(single, value), Write::Delete(key)])
            }
        };
        self.commit(&txn).await?;
        Ok(())
    }

    /// Grants that nobody claims and nobody asks for are none any more.
    pub(super) fn prune(&self, picture: &Picture, reserve: &dyn Reserve) -> Result<()> {
        let network = &picture.network;
        let grants = self.books.page(&network.id).map(|book| book.grants).unwrap_or_default();
        for grant in grants {
            let claimed =
                picture.of(&IpNet::from(grant.address)).is_some_and(|seen| seen.is_of(&grant.node));
            let asked = picture.wish(grant.address).is_some_and(|wish| wish.ask.node == grant.node);
            if !claimed && !asked {
                self.ungrant(network, grant.address)?;
                reserve.free(network, grant.address);
            }
        }
        Ok(())
    }

    fn ungrant(&self, network: &OverlayNetwork, address: IpAddr) -> Result<()> {
        self.books.change(network, |book| book.grants.retain(|grant| grant.address != address))
    }
}
