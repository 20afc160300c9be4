//! Leases from a pool on this host, for an attachment.

use std::net::IpAddr;
use std::path::PathBuf;

use cleat_ipam::{Owner, Pool, PoolConfig, ResultCache};

use crate::Node;
use crate::error::Result;
use crate::plan::{Grant, Grants, Lessor, RouteGrant};

/// A pool, one attachment's requests, and the routes that come with an address.
pub struct PoolLessor {
    pool: Pool,
    owner: Owner,
    requested: Vec<IpAddr>,
    routes: Vec<RouteGrant>,
}

impl PoolLessor {
    /// Touches nothing.
    pub fn new(node: &Node, config: PoolConfig, owner: Owner) -> Self {
        Self { pool: open_pool(node, config), owner, requested: Vec::new(), routes: Vec::new() }
    }

    /// Asks for these addresses, and gives these routes along.
    #[must_use]
    pub fn with(mut self, requested: Vec<IpAddr>, routes: Vec<RouteGrant>) -> Self {
        self.requested = requested;
        self.routes = routes;
        self
    }

    /// The pool itself.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A network's pool on this node. Leases of other programs are reclaimed on proof only.
pub fn open_pool(node: &Node, config: PoolConfig) -> Pool {
    let network = config.name.clone();
    let cache = ResultCache::open(ResultCache::DEFAULT_DIR, network);
    Pool::open(config, &node.dirs().run, node.boot_id())
        .reclaim_foreign(move |owner: &Owner| cache.proves_gone(owner))
}

impl Lessor for PoolLessor {
    fn lease(&mut self) -> Result<Grants> {
        let leases = self.pool.reserve(&self.owner, &self.requested)?;
        let addresses = leases
            .into_iter()
            .map(|lease| Grant { address: lease.address, gateway: Some(lease.gateway) })
            .collect();
        Ok(Grants { addresses, routes: self.routes.clone() })
    }

    fn release(&mut self) -> Result<()> {
        self.pool.release(&self.owner)?;
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        Ok(self.pool.check(&self.owner)?)
    }

    fn held(&mut self) -> Vec<IpAddr> {
        self.pool.owned(&self.owner).unwrap_or_default()
    }

    fn leases(&self) -> Option<PathBuf> {
        Some(self.pool.config().dir.clone())
    }
}
