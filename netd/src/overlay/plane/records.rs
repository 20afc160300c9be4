//! What this node tells the others: of itself, and the names of its attachments.

use cleat_engine::overlay::OverlayNetwork;

use super::ControlPlane;
use crate::overlay::documents::{Host, Names, encode};
use crate::overlay::error::{Error, Result};
use crate::overlay::keys;
use crate::overlay::networks::missing;
use crate::overlay::session::Standing;
use crate::overlay::store::{Condition, MAX_OPS, Outcome, Txn, Write};

impl ControlPlane {
    /// What others need to know of this node; told at once, or when the store can be asked.
    pub fn set_host(&self, host: Host) {
        let mut known = self.known();
        let is_news = known.host != host;
        known.host = host;
        drop(known);
        if is_news {
            self.view.stir();
        }
    }

    /// Sets or removes (`None`) names of this node's attachments on a network, by record. May be
    /// repeated; what was told before an error stays.
    ///
    /// # Errors
    /// What the store says; [`Error::Missing`]: the network is gone; [`Error::Halted`].
    pub async fn put_names(
        &self,
        network: &OverlayNetwork,
        names: &[(String, Option<Names>)],
    ) -> Result<()> {
        let standing = self.standing();
        let live = match standing {
            Standing::Held(live) => live,
            Standing::Waiting(reason) | Standing::Refused(reason) => {
                return Err(Error::Halted { reason });
            }
        };
        // Names of a network that is gone would stay for ever.
        let made = self.view.read(|state| state.made(&network.name));
        let made = made.ok_or_else(|| missing(&network.name))?;
        let conditions = [
            Condition::Holds(keys::live(&self.node), live),
            Condition::Unchanged(keys::network(&network.name), made),
        ];
        for some in names.chunks(MAX_OPS) {
            let writes = some.iter().map(|(record, names)| {
                let key = keys::name(&network.id, &self.node, record);
                Ok(match names {
                    Some(names) => Write::put(key.as_str(), encode(&key, names)?),
                    None => Write::Delete(key),
                })
            });
            let txn = Txn::new(conditions.clone(), writes.collect::<Result<Vec<Write>>>()?);
            if self.store.commit(&txn).await? == Outcome::Refused {
                return Err(Error::Halted {
                    reason: format!(
                        "network {:?} was removed, or the store does not know this process yet; try \
                         again",
                        network.name
                    ),
                });
            }
        }
        Ok(())
    }
}
