//! The control plane of one node: what the rest of the daemon asks of it. Tasks behind it keep the
//! session, follow the store and settle the books; none of them touches the kernel.

mod nodes;
mod records;
mod settling;
mod standing;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::claims::{Books, Claims, Held, Licence, Reserve, Single};
use super::config::{Engine, OverlayConfig};
use super::documents::Host;
use super::error::{Error, Result};
use super::identity::{self, Identity, random_id};
use super::networks;
use super::pause::Pause;
use super::request::NetworkRequest;
use super::session::{Session, Standing, Who};
use super::store::{Etcd, Local, Store};
use super::view::{State, View};
use crate::events::now;

pub use nodes::NodeReport;

/// Tries of what others were faster at, or the store did not answer.
const TRIES: u32 = 4;
/// What was committed comes by the feed soon.
const SEEN: Duration = Duration::from_secs(2);

/// What a control plane is made of.
pub struct Setup {
    /// The folder of durable state, `overlay` below the state directory.
    pub state: PathBuf,
    /// The folder of this boot's state, `overlay` below the run directory.
    pub run: PathBuf,
    /// This boot's id.
    pub boot: String,
    /// What tells this machine from a copy of its disk; [`identity::machine`].
    pub machine: String,
    /// This node as others need to know it.
    pub host: Host,
    /// A node that was not heard of for so long counts as down.
    pub ttl: Duration,
    /// The pools of addresses that other nodes may be granted.
    pub reserve: Arc<dyn Reserve>,
}

/// The control plane of this node.
pub struct ControlPlane {
    store: Arc<dyn Store>,
    node: String,
    claims: Claims,
    view: Arc<View>,
    reserve: Arc<dyn Reserve>,
    ttl: Duration,
    known: Mutex<Known>,
}

/// What the tasks found out last.
struct Known {
    standing: Standing,
    /// Some process of this boot acted for the node.
    was_held: bool,
    host: Host,
    /// The revision by which the store was told of the node.
    told: i64,
}

/// The tasks of a control plane; they end with this.
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The store that the configuration names.
///
/// # Errors
/// A file of it cannot be read.
pub fn open_store(config: &OverlayConfig, state: PathBuf) -> Result<Arc<dyn Store>> {
    Ok(match config.engine {
        Engine::Local => Arc::new(Local::open(state)?),
        Engine::Etcd => Arc::new(Etcd::new(config.etcd.clone())?),
    })
}

impl ControlPlane {
    /// Starts it. The store need not answer.
    ///
    /// # Errors
    /// Its files cannot be read; [`Error::Halted`]: they are another machine's.
    pub fn open(store: Arc<dyn Store>, setup: Setup) -> Result<(Arc<Self>, Running)> {
        let Setup { state, run, boot, machine, host, ttl, reserve } = setup;
        let node = Identity::open(&state, &machine)?.id;
        let books = Books::open(state.join("claims"))?;
        let view = Arc::new(View::open(&node, state.clone(), ttl / 3)?);
        let who = Who {
            node: node.clone(),
            boot,
            name: host.name.clone(),
            run: Some(run),
            file: identity::file(&state),
        };
        let session = Session::open(store.clone(), who, ttl)?;
        let standing = Standing::Waiting("the store was not asked yet".to_owned());
        let plane = Arc::new(Self {
            claims: Claims::new(store.clone(), &node, books, random_id),
            view: view.clone(),
            store: store.clone(),
            node,
            reserve,
            ttl,
            known: Mutex::new(Known { standing, was_held: session.was_held(), host, told: 0 }),
        });
        let tasks = vec![
            tokio::spawn(view.follow(store, plane.claims.made())),
            tokio::spawn(standing::keep(plane.clone(), session)),
            tokio::spawn(settling::keep(plane.clone())),
        ];
        Ok((plane, Running { tasks }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's id.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What the store holds.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Whether this process acts for its node.
    pub fn standing(&self) -> Standing {
        self.known().standing.clone()
    }

    /// Makes a network.
    ///
    /// # Errors
    /// [`Error::Network`] naming the field; what the store says.
    pub async fn create_network(&self, request: &NetworkRequest) -> Result<OverlayNetwork> {
        let network = networks::create(&*self.store, request, &random_id(), now()).await?;
        self.seen(|state| state.network(&network.name).is_some()).await;
        Ok(network)
    }

    /// Waits until what was done is in the view too, or until that takes too long.
    async fn seen(&self, is_so: impl Fn(&State) -> bool) {
        let mut changes = self.view.changes();
        let look = async { while !self.view.read(&is_so) && changes.next().await.is_some() {} };
        let _ = tokio::time::timeout(SEEN, look).await;
    }

    /// Removes a network that nobody has addresses of.
    ///
    /// # Errors
    /// [`Error::InUse`] naming the nodes; [`Error::Missing`]; what the store says.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        networks::remove(&*self.store, name).await?;
        self.seen(|state| state.network(name).is_none()).await;
        Ok(())
    }

    /// A block of a subnet beside these: an own one that is none of them, or one more.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Halted`], [`Error::Lost`]; what the store says.
    pub async fn claim(
        &self,
        network: &OverlayNetwork,
        subnet: &IpNet,
        have: &[IpNet],
    ) -> Result<IpNet> {
        self.may_claim()?;
        let mut pause = Pause::new();
        for _ in 1..TRIES {
            match self.claims.block(network, subnet, have).await {
                Err(Error::Lost { .. } | Error::Store { .. }) => {
                    tokio::time::sleep(pause.next()).await
                }
                other => return other,
            }
        }
        self.claims.block(network, subnet, have).await
    }

    /// One address, which another node may have to grant: that is waited for so long.
    ///
    /// # Errors
    /// [`Error::Address`]: it cannot be had, and why; what [`ControlPlane::claim`] says.
    pub async fn address(
        &self,
        network: &OverlayNetwork,
        address: IpAddr,
        patience: Duration,
    ) -> Result<Single> {
        self.may_claim()?;
        let deadline = Instant::now() + patience;
        let mut changes = self.view.changes();
        loop {
            match self.claims.address(network, address).await {
                Ok(Single::Asked) => {}
                other => return other,
            }
            // Looked at again now and then, should nothing be heard.
            let again = (Instant::now() + Duration::from_secs(1)).min(deadline);
            loop {
                match tokio::time::timeout_at(again, changes.next()).await {
                    Ok(Some(c))
                        if !c.all
                            && !c.asks.contains(&*network.id)
                            && !c.claims.contains(&*network.id) => {}
                    _ => break,
                }
            }
            if Instant::now() >= deadline {
                let owner = self.owner_of(network, address);
                // What cannot be withdrawn now is given up when it is granted.
                let _ = self.claims.withdraw(network, address).await;
                return Err(Error::Address {
                    network: network.name.clone(),
                    address,
                    problem: format!("its owner, {owner}, has not answered within {patience:?}"),
                });
            }
        }
    }

    fn owner_of(&self, network: &OverlayNetwork, address: IpAddr) -> String {
        self.view.read(|state| {
            let owner = state.claims(&network.id).find(|(block, _)| block.contains(&address));
            let Some((_, owner)) = owner else { return "nobody".to_owned() };
            let name = state.host(&owner.node).map_or("unknown", |host| host.name.as_str());
            let up = if state.is_up(&owner.node) { "up" } else { "down" };
            format!("node {} ({name}, {up})", owner.node)
        })
    }

    /// Gives up a block or an address, which nothing may be leased from any more.
    ///
    /// # Errors
    /// The books could not be written; then it still is this node's.
    pub async fn release(&self, network: &OverlayNetwork, block: &IpNet) -> Result<()> {
        self.claims.release(network, block).await
    }

    /// What this node owns of a network by its books, by the network's id.
    pub fn held(&self, network: &str) -> Vec<Held> {
        self.claims.books().held_of(network)
    }

    /// The networks that this node owns something of, by its books.
    pub fn owned(&self) -> Vec<OverlayNetwork> {
        self.claims.books().all().into_values().map(|book| book.network).collect()
    }

    /// Why nothing may be leased from what this node owns of a network, by its id; `None`: it may.
    /// Losing the store is no reason.
    pub fn halted(&self, network: &str) -> Option<String> {
        let known = self.known();
        match &known.standing {
            Standing::Refused(reason) => return Some(reason.clone()),
            Standing::Waiting(reason) if !known.was_held => return Some(reason.clone()),
            _ => {}
        }
        drop(known);
        let held = self.held(network);
        // What is halted may not be leased from; what is not, may.
        let is_usable = held.iter().any(|held| held.is_usable() && !held.is_single());
        let halted: Vec<String> = held.into_iter().filter_map(|held| held.halted).collect();
        (!is_usable && !halted.is_empty()).then(|| halted.join("; "))
    }

    /// What the store holds is all there is: not so after it went back, until all nodes had their
    /// time to tell what they own, nor while this process does not act for its node.
    pub fn is_complete(&self) -> bool {
        self.view.went_back().is_none() && matches!(self.claims.licence(), Licence::Full { .. })
    }

    /// Everything that is owned by the books and may not be leased from: the network's name, and why.
    pub fn troubles(&self) -> Vec<(String, String)> {
        let mut troubles = Vec::new();
        if let Standing::Refused(reason) = self.standing() {
            troubles.push(("node".to_owned(), reason));
        }
        for book in self.claims.books().all().into_values() {
            let halted = book.held.into_iter().filter_map(|held| held.halted);
            troubles.extend(halted.map(|reason| (book.network.name.clone(), reason)));
        }
        troubles
    }

    /// New claims need a session, and a node that is not to be emptied.
    fn may_claim(&self) -> Result<()> {
        let reason = match self.standing() {
            Standing::Held(_) if !self.view.read(|state| state.is_draining(&self.node)) => {
                return Ok(());
            }
            Standing::Held(_) => {
                "it is being drained; `cleat node drain --undo` ends that".to_owned()
            }
            Standing::Waiting(reason) | Standing::Refused(reason) => reason,
        };
        Err(Error::Halted { reason })
    }

    /// Keeps on disk what is known of the store, for the next boot.
    pub async fn close(&self) {
        self.view.save().await;
    }
}
