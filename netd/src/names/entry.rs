//! One attachment with names, as far as answers need it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cleat_engine::names::NamesPart;
use cleat_engine::record::{AttachmentRecord, Binding, Phase};

/// An attachment that names stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of its record.
    pub record: String,
    /// Its container.
    pub owner: Arc<str>,
    /// Its network, in lower case.
    pub network: Arc<str>,
    /// A domain that its network's names stand in, beside that of all.
    pub domain: Option<Arc<str>>,
    /// Its names in lower case, the first one before all.
    pub names: Box<[Arc<str>]>,
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
    /// What is published of it.
    pub ports: Box<[Binding]>,
    /// The rest of what its record says of names.
    pub part: NamesPart,
    /// How often it asked.
    pub asked: Arc<Asked>,
    /// Where its namespace was, with the namespace's cookie; kept where netd listens inside.
    pub netns: Option<(PathBuf, Option<u64>)>,
}

/// How often an attachment asked, and how often in vain. No part of what it is.
#[derive(Debug, Default)]
pub struct Asked {
    asked: AtomicU64,
    failed: AtomicU64,
}

impl Asked {
    /// Counts one.
    pub fn count(&self, failed: bool) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All, and those in vain.
    pub fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

impl PartialEq for Asked {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Asked {}

impl Entry {
    /// What a record says; `None` where it has no names, or is not made yet.
    pub fn of(name: &str, record: AttachmentRecord) -> Option<Self> {
        let mut part = record.names?;
        let is_made = record.link.as_ref().is_none_or(|link| link.phase == Phase::Ready);
        if !is_made {
            return None;
        }
        let names = std::mem::take(&mut part.names);
        let listens_inside = part.asks.is_empty() && !part.on_host;
        Some(Self {
            record: name.to_owned(),
            owner: record.id.owner.into(),
            domain: part.domain.take().map(Arc::from),
            network: record.id.network.to_ascii_lowercase().into(),
            names: names.into_iter().map(Arc::from).collect(),
            addresses: record.addresses.iter().map(|grant| grant.address.addr()).collect(),
            ports: record.ports.map(|ports| ports.bindings.into()).unwrap_or_default(),
            part,
            asked: Arc::default(),
            netns: record.netns.filter(|_| listens_inside).map(|netns| (netns.path, netns.cookie)),
        })
    }
}
