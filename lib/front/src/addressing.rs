//! Where an attachment's addresses come from: nowhere, our own pool or list in this process, or
//! another program.

use std::path::{Path, PathBuf};

use cleat_cni::{CniResult, Command, Dns, Error, Request, delegate, find};
use cleat_engine::error::Result as EngineResult;
use cleat_engine::ipam::Kind;
use cleat_engine::lease::PoolLessor;
use cleat_engine::plan::{Grants, Lessor, OverLink};
use cleat_engine::{AttachmentId, Error as EngineError, Node, policy};
use ipnet::IpNet;

use crate::convert::grants_of;
use crate::dhcp::Section;
use crate::host_local::HostLocal;
use crate::static_addresses::StaticAddresses;

/// The addresses of one request.
pub struct Addressing<'r> {
    request: &'r Request,
    source: Source,
    /// Give addresses without a gateway the first one of their subnet.
    derive_gateways: bool,
    /// The name servers that came with them.
    dns: Dns,
}

enum Source {
    None,
    Pool(Box<PoolLessor>),
    Fixed(Grants),
    Program(String),
    /// A program that asks a server over the interface.
    OverLink(String, OverLink),
}

impl<'r> Addressing<'r> {
    /// Reads the request's `ipam` section. Our own programs, where they are the ones that the
    /// runtime would find, are served in this process.
    pub fn read(node: &Node, request: &'r Request) -> Result<Self, Error> {
        let mut dns = Dns::default();
        let source = match request.config.ipam.as_ref().map(|ipam| ipam.kind.as_str()) {
            None => Source::None,
            Some("host-local") if is_own("host-local", request) => {
                let section = HostLocal::read(request)?;
                dns = section.dns.clone();
                Source::Pool(Box::new(section.lessor(node, request)))
            }
            Some("static") if is_own("static", request) => {
                let section = StaticAddresses::read(request)?;
                dns = section.dns;
                let result =
                    CniResult { ips: section.ips, routes: section.routes, ..CniResult::default() };
                Source::Fixed(grants_of(&result))
            }
            Some("dhcp") => {
                let over = OverLink { ipv6: Section::read(request)?.asked.ipv6 };
                Source::OverLink("dhcp".to_owned(), over)
            }
            Some(kind) => Source::Program(kind.to_owned()),
        };
        Ok(Self { request, source, derive_gateways: false, dns })
    }

    /// For DEL: a section that cannot be read is no reason to keep the rest.
    pub fn read_or_none(node: &Node, request: &'r Request) -> Self {
        Self::read(node, request).unwrap_or_else(|error| {
            node.warn(&format!("addresses may stay held: {error}"));
            Self { request, source: Source::None, derive_gateways: false, dns: Dns::default() }
        })
    }

    /// Takes the addresses of an earlier result where the request has no section of its own.
    #[must_use]
    pub fn or_inherited(mut self) -> Self {
        let earlier = self.request.config.prev_result.as_ref();
        if let (Source::None, Some(result)) = (&self.source, earlier.filter(|r| !r.ips.is_empty()))
        {
            self.source = Source::Fixed(grants_of(result));
            self.dns = result.dns.clone();
        }
        self
    }

    /// Gives addresses without a gateway the first one of their subnet.
    #[must_use]
    pub fn deriving_gateways(mut self, yes: bool) -> Self {
        self.derive_gateways = yes;
        self
    }

    /// There is an `ipam` section.
    pub fn is_given(&self) -> bool {
        !matches!(self.source, Source::None)
    }

    /// The name servers for the result: the configuration's own before those of the addresses.
    pub fn dns(&self) -> Dns {
        let own = &self.request.config.dns;
        if own.is_empty() { self.dns.clone() } else { own.clone() }
    }

    /// STATUS of the addresses.
    pub fn status(&self) -> Result<(), Error> {
        match &self.source {
            Source::None | Source::Fixed(_) => Ok(()),
            Source::Pool(lessor) => {
                lessor.pool().status().map_err(|error| Error::not_available(error.to_string()))
            }
            Source::Program(kind) | Source::OverLink(kind, _) => {
                delegate(self.request, kind, Command::Status).map(drop)
            }
        }
    }

    /// GC of the addresses.
    pub fn collect(&self, node: &Node) -> Result<(), Error> {
        match &self.source {
            Source::None | Source::Fixed(_) => Ok(()),
            Source::Pool(lessor) => collect_pool(node, lessor, self.request),
            Source::Program(kind) | Source::OverLink(kind, _) => {
                delegate(self.request, kind, Command::Gc).map(drop)
            }
        }
    }
}

/// Frees the pool's leases that belong to no valid attachment, and with those of other programs
/// the rules that the reference plugins make.
pub fn collect_pool(node: &Node, lessor: &PoolLessor, request: &Request) -> Result<(), Error> {
    // An attach that is under way has its lease before the runtime knows of it.
    let adding: Vec<_> = cleat_engine::inventory::attachments(node)
        .map_err(crate::to_cni)?
        .into_iter()
        .filter(|record| record.is_being_attached())
        .map(|record| record.id)
        .collect();
    let keep = |owner: &cleat_engine::ipam::Owner| {
        crate::is_valid_owner(request, owner)
            || adding.iter().any(|id| id.owner == owner.id && id.slot == owner.slot)
    };
    let collected = lessor.pool().collect(&keep).map_err(|error| crate::to_cni(error.into()))?;
    for held in collected.into_iter().filter(|held| held.kind == Kind::Foreign) {
        let id = AttachmentId {
            network: request.config.name.clone(),
            owner: held.owner.id,
            slot: held.owner.slot,
        };
        policy::remove_foreign(node, &id, &[held.address]).map_err(crate::to_cni)?;
    }
    Ok(())
}

impl Lessor for Addressing<'_> {
    fn lease(&mut self) -> EngineResult<Grants> {
        let mut grants = match &mut self.source {
            Source::None => return Ok(Grants::default()),
            Source::Pool(lessor) => lessor.lease()?,
            Source::Fixed(grants) => grants.clone(),
            Source::Program(kind) | Source::OverLink(kind, _) => {
                let result = delegate(self.request, kind, Command::Add).map_err(foreign)?;
                let result = result.unwrap_or_default();
                self.dns = result.dns.clone();
                grants_of(&result)
            }
        };
        if grants.addresses.is_empty() {
            self.release()?;
            let message = "IPAM plugin returned missing IP config".to_owned();
            return Err(foreign(Error::invalid_config(message)));
        }
        if self.derive_gateways {
            for grant in grants.addresses.iter_mut().filter(|grant| grant.gateway.is_none()) {
                grant.gateway = first_host(&grant.address);
            }
        }
        Ok(grants)
    }

    fn release(&mut self) -> EngineResult<()> {
        match &mut self.source {
            Source::None | Source::Fixed(_) => Ok(()),
            Source::Pool(lessor) => lessor.release(),
            Source::Program(kind) | Source::OverLink(kind, _) => {
                delegate(self.request, kind, Command::Del).map(drop).map_err(foreign)
            }
        }
    }

    fn check(&mut self) -> EngineResult<()> {
        match &mut self.source {
            Source::None | Source::Fixed(_) => Ok(()),
            Source::Pool(lessor) => lessor.check(),
            Source::Program(kind) | Source::OverLink(kind, _) => {
                delegate(self.request, kind, Command::Check).map(drop).map_err(foreign)
            }
        }
    }

    fn held(&mut self) -> Vec<std::net::IpAddr> {
        match &mut self.source {
            Source::Pool(lessor) => lessor.held(),
            Source::Fixed(grants) => grants.addresses.iter().map(|g| g.address.addr()).collect(),
            Source::None | Source::Program(_) | Source::OverLink(..) => Vec::new(),
        }
    }

    fn over_link(&self) -> Option<OverLink> {
        match &self.source {
            Source::OverLink(_, over) => Some(*over),
            _ => None,
        }
    }

    fn leases(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Pool(lessor) => lessor.leases(),
            _ => None,
        }
    }
}

/// The program that the runtime's path leads to lies beside this one.
fn is_own(kind: &str, request: &Request) -> bool {
    let Ok(found) = find(kind, &request.path) else {
        // What is not there cannot be run, but we can do its work.
        return true;
    };
    let own = std::env::current_exe().ok();
    if own.as_deref().and_then(Path::parent) == found.parent() {
        return true;
    }
    let folder = |path: &Path| path.parent().and_then(|p| std::fs::canonicalize(p).ok());
    own.as_deref().and_then(folder).is_some_and(|own| folder(&found) == Some(own))
}

fn foreign(error: Error) -> EngineError {
    EngineError::Delegate(Box::new(error))
}

fn first_host(net: &IpNet) -> Option<std::net::IpAddr> {
    net.trunc().hosts().next()
}
