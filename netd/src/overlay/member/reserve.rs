//! Addresses of own blocks that other nodes get: reserved here, as by hand, so that no container
//! of this node is given one.

use std::net::IpAddr;
use std::path::PathBuf;

use cleat_engine::ipam::{Owner, Pool, PoolConfig, Range};
use cleat_engine::lease::open_pool;
use cleat_engine::overlay::{self, OverlayNetwork};
use cleat_engine::{Dirs, Node, ipam};
use ipnet::IpNet;

use crate::daemon::node;
use crate::overlay::claims::Reserve;

/// Reserves in the pools below a folder.
pub(in crate::overlay) struct Reservations {
    pub(in crate::overlay) dirs: Dirs,
    pub(in crate::overlay) data_dir: PathBuf,
}

impl Reservations {
    fn pool(&self, node: &Node, network: &OverlayNetwork, address: IpAddr) -> Option<Pool> {
        let subnet = network.subnets.iter().find(|subnet| subnet.contains(&address))?;
        let block = IpNet::new(address, network.block_length(subnet)).ok()?.trunc();
        let range = Range::new(block, None, None, None).ok()?;
        let config = PoolConfig::new(&network.name, &self.data_dir, vec![vec![range]]).ok()?;
        Some(open_pool(node, config))
    }
}

fn owner_of(node: &str) -> Owner {
    Owner::new(format!("node {node}"), "")
}

impl Reserve for Reservations {
    fn reserve(
        &self,
        network: &OverlayNetwork,
        address: IpAddr,
        other: &str,
    ) -> std::result::Result<(), String> {
        let node = node(&self.dirs);
        let _lock = overlay::using(&node, &network.name).map_err(|error| error.to_string())?;
        let pool = self
            .pool(&node, network, address)
            .ok_or_else(|| format!("{address} is in none of its subnets"))?;
        match pool.reserve_durable(&owner_of(other), Some(address)) {
            Ok(_) => Ok(()),
            Err(ipam::Error::Taken { owner, .. }) if owner == owner_of(other) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn free(&self, network: &OverlayNetwork, address: IpAddr) {
        let node = node(&self.dirs);
        let Some(pool) = self.pool(&node, network, address) else { return };
        if let Err(error) = pool.release_address(address) {
            tracing::warn!("address {address} stays reserved: {error}");
        }
    }
}
