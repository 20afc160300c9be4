//! Leases from this node's part of an overlay network: from its blocks, in host-local's format,
//! without netd as long as they have room; and single addresses that the network lets this node
//! have. What the node may not lease yet is asked of netd.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cleat_ipam::{Directory, Held, Owner, Pool, PoolConfig, Range};
use ipnet::IpNet;

use super::devices::gateway;
use super::membership::{Membership, membership, using};
use super::want::{Want, ask};
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::lease::open_pool;
use crate::plan::{Grant, Grants, Lessor, RouteGrant};
use crate::{Node, inventory};

/// How long netd may take to get what is asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Other attachments may be faster, and take what was got.
const TRIES: usize = 5;
const RT_SCOPE_LINK: u8 = 253;

/// One attachment's addresses on an overlay network.
pub struct OverlayLessor<'n> {
    node: &'n Node,
    network: String,
    id: AttachmentId,
    owner: Owner,
    dir: PathBuf,
    data_dir: PathBuf,
    requested: Vec<IpAddr>,
}

/// This node's part of a network, which it joins if it is no member yet.
///
/// # Errors
/// [`Error::Overlay`]: netd would have to join it and does not run, or refuses.
pub fn joined(node: &Node, network: &str, id: &AttachmentId) -> Result<Membership> {
    for _ in 0..TRIES {
        if let Some(found) = membership(node, network)? {
            return Ok(found);
        }
        let want = Want { network: network.to_owned(), address: None, blocks: 0, refusal: None };
        ask(node, &id.record_name(), &want, PATIENCE)?;
    }
    Err(failed(network, "netd joined it, and left it again".to_owned()))
}

/// What a try came to.
enum Outcome {
    Leased(Grants),
    /// netd has to get this first.
    Lacking(Option<IpAddr>, usize),
}

impl<'n> OverlayLessor<'n> {
    /// Addresses for an attachment on a network, as the store calls it; leases lie below
    /// `data_dir`. Touches nothing.
    pub fn new(node: &'n Node, network: &str, id: &AttachmentId, data_dir: &Path) -> Result<Self> {
        Ok(Self {
            node,
            network: network.to_owned(),
            id: id.clone(),
            owner: Owner::new(id.owner.clone(), id.slot.clone()),
            dir: PoolConfig::lease_dir(network, data_dir)?,
            data_dir: data_dir.to_owned(),
            requested: Vec::new(),
        })
    }

    /// Asks for these addresses.
    #[must_use]
    pub fn with(mut self, requested: Vec<IpAddr>) -> Self {
        self.requested = requested;
        self
    }

    /// Every family has room, or may have after asking.
    ///
    /// # Errors
    /// [`Error::Overlay`] and [`Error::Ipam`] say why an attach would fail.
    pub fn status(&self) -> Result<()> {
        let attended = crate::service::is_attended(self.node);
        let Some(found) = membership(self.node, &self.network)? else {
            let problem = "this node is no member of it yet, and netd, which would join it, does \
                           not run; start netd";
            return if attended { Ok(()) } else { Err(failed(&self.network, problem.to_owned())) };
        };
        if let Some(reason) = found.halted {
            return Err(failed(&self.network, reason));
        }
        if attended {
            return Ok(());
        }
        Ok(self.pool(self.sets(&found, &[])?)?.status()?)
    }

    /// Frees what belongs to nobody: neither `valid`, nor recorded on this node for whichever
    /// network of the runtime's. What was freed.
    pub fn collect(&self, valid: &dyn Fn(&Owner) -> bool) -> Result<Vec<Held>> {
        let Some(found) = membership(self.node, &self.network)? else {
            return Ok(Vec::new());
        };
        let recorded: Vec<Owner> = inventory::attachments(self.node)?
            .into_iter()
            .filter(|record| record.leases.as_ref() == Some(&self.dir))
            .map(|record| Owner::new(record.id.owner, record.id.slot))
            .collect();
        let keep = |owner: &Owner| valid(owner) || recorded.contains(owner);
        Ok(self.pool(whole_subnets(&found)?)?.collect(&keep)?)
    }

    fn try_lease(&self) -> Result<Outcome> {
        // Until the lease is on disk: netd gives no block up meanwhile.
        let _lock = using(self.node, &self.network)?;
        let Some(found) = membership(self.node, &self.network)? else {
            return Ok(Outcome::Lacking(None, 0));
        };
        if let Some(reason) = found.halted {
            return Err(failed(&self.network, reason));
        }
        let blocks = found.blocks.len();
        for address in &self.requested {
            self.check_requested(&found, *address)?;
            let may = found.statics.contains(address)
                || found.blocks.iter().any(|block| block.contains(address));
            if !may {
                return Ok(Outcome::Lacking(Some(*address), blocks));
            }
        }
        let has_block = |subnet: &IpNet| found.blocks.iter().any(|block| subnet.contains(block));
        // One whose address is a single one needs a gateway all the same.
        if !found.network.subnets.iter().all(has_block) {
            return Ok(Outcome::Lacking(None, blocks));
        }
        let singles: Vec<IpAddr> = self.singles(&found);
        let pool = self.pool(self.sets(&found, &singles)?)?;
        match pool.reserve(&self.owner, &self.requested) {
            Ok(leases) => {
                let addresses = leases.iter().map(|lease| lease.address).collect::<Vec<_>>();
                Ok(Outcome::Leased(grants(&found, &singles, &addresses)))
            }
            Err(cleat_ipam::Error::Exhausted { .. }) => Ok(Outcome::Lacking(None, blocks)),
            Err(error) => Err(error.into()),
        }
    }

    fn check_requested(&self, found: &Membership, address: IpAddr) -> Result<()> {
        let subnets = &found.network.subnets;
        if subnets.iter().any(|subnet| subnet.contains(&address)) {
            return Ok(());
        }
        let all: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        let problem = format!("address {address} is not in its subnets, {}", all.join(" and "));
        Err(failed(&self.network, problem))
    }

    /// Those asked for that lie in no block of this node.
    fn singles(&self, found: &Membership) -> Vec<IpAddr> {
        let within = |address: &&IpAddr| found.blocks.iter().any(|block| block.contains(*address));
        self.requested.iter().filter(|address| !within(address)).copied().collect()
    }

    /// A set of each family: the blocks, or the single address that is asked for.
    fn sets(&self, found: &Membership, singles: &[IpAddr]) -> Result<Vec<Vec<Range>>> {
        let mut sets = Vec::new();
        for subnet in &found.network.subnets {
            let single = singles.iter().find(|address| subnet.contains(*address));
            let ranges: std::result::Result<Vec<Range>, _> = match single {
                Some(address) => {
                    let gateway = gateway_of(found, *address);
                    Range::new(*subnet, Some(*address), Some(*address), gateway).map(|r| vec![r])
                }
                None => {
                    let blocks = found.blocks.iter().filter(|block| subnet.contains(*block));
                    blocks.map(|block| Range::new(*block, None, None, None)).collect()
                }
            };
            sets.push(ranges?);
        }
        Ok(sets)
    }

    fn pool(&self, sets: Vec<Vec<Range>>) -> Result<Pool> {
        Ok(open_pool(self.node, PoolConfig::new(&self.network, &self.data_dir, sets)?))
    }

    fn directory(&self) -> Directory {
        Directory::open(&self.dir, &self.node.dirs().run, self.node.boot_id())
    }
}

fn failed(network: &str, problem: String) -> Error {
    Error::Overlay { network: network.to_owned(), problem }
}

fn whole_subnets(found: &Membership) -> Result<Vec<Vec<Range>>> {
    let of = |subnet: &IpNet| Range::new(subnet.trunc(), None, None, None).map(|range| vec![range]);
    Ok(found.network.subnets.iter().map(of).collect::<std::result::Result<_, _>>()?)
}

/// The gateway of this node for an address that lies in none of its blocks.
fn gateway_of(found: &Membership, address: IpAddr) -> Option<IpAddr> {
    let same = found.blocks.iter().find(|block| block.addr().is_ipv4() == address.is_ipv4());
    same.and_then(gateway).map(|net| net.addr())
}

/// Everything of the network is reached through the gateway: beside the block only the host knows
/// where it is.
fn grants(found: &Membership, singles: &[IpAddr], leased: &[IpNet]) -> Grants {
    let mut grants = Grants::default();
    for lease in leased {
        let address = lease.addr();
        let own = if singles.contains(&address) {
            None
        } else {
            found.blocks.iter().find(|block| block.contains(&address))
        };
        let gateway = match own {
            Some(block) => gateway(block).map(|net| net.addr()),
            None => gateway_of(found, address),
        };
        let Some(gateway) = gateway else { continue };
        if own.is_none() {
            let on_link = RouteGrant::to(gateway.into(), None);
            grants.routes.push(RouteGrant { scope: Some(RT_SCOPE_LINK), ..on_link });
        }
        let length = own.map_or(lease.max_prefix_len(), IpNet::prefix_len);
        let Ok(net) = IpNet::new(address, length) else { continue };
        grants.addresses.push(Grant { address: net, gateway: Some(gateway) });
        let behind = found.network.subnets.iter().filter(|subnet| subnet.contains(&address));
        grants.routes.extend(behind.map(|subnet| RouteGrant::to(*subnet, Some(gateway))));
    }
    grants
}

impl Lessor for OverlayLessor<'_> {
    fn lease(&mut self) -> Result<Grants> {
        for _ in 0..TRIES {
            match self.try_lease()? {
                Outcome::Leased(grants) => return Ok(grants),
                Outcome::Lacking(address, blocks) => {
                    let network = self.network.clone();
                    let want = Want { network, address, blocks, refusal: None };
                    ask(self.node, &self.id.record_name(), &want, PATIENCE)?;
                }
            }
        }
        let problem = "this node's blocks are full, and others took what netd claimed; try again";
        Err(failed(&self.network, problem.to_owned()))
    }

    fn release(&mut self) -> Result<()> {
        self.directory().release(&self.owner)?;
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        let Some(found) = membership(self.node, &self.network)? else {
            return Err(failed(&self.network, "this node is no member of it any more".to_owned()));
        };
        Ok(self.pool(whole_subnets(&found)?)?.check(&self.owner)?)
    }

    fn held(&mut self) -> Vec<IpAddr> {
        self.directory().owned(&self.owner).unwrap_or_default()
    }

    fn leases(&self) -> Option<PathBuf> {
        Some(self.dir.clone())
    }
}
