//! One attachment with names, as far as answers need it: small, since a node may have thousands.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cleat_engine::record::{AttachmentRecord, Binding, Phase};
use smallvec::SmallVec;

/// Ends each name in [`Entry::text`]; no name holds it.
const END: char = '\0';

/// Between a node's id and a record of it; no record's name holds it.
const REMOTE: char = '/';

/// The node of a record that is another node's.
pub(super) fn node_of(record: &str) -> Option<&str> {
    record.split_once(REMOTE).map(|(node, _)| node)
}

/// An attachment that names stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of its record, its container's id, and its names: one text for all of them.
    text: Box<str>,
    /// Where the container's id and the names begin in it.
    owner_at: u32,
    names_at: u32,
    /// What it has in common with others of its network.
    pub membership: Arc<Membership>,
    /// Its addresses.
    pub addresses: SmallVec<[IpAddr; 1]>,
    /// What is published of it.
    pub ports: Box<[Binding]>,
    /// How often it asked.
    pub asked: Asked,
    /// Where its namespace was; kept where netd listens inside.
    pub netns: Option<Box<Netns>>,
}

/// Where attachments of a network stand, most often the same for all of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The network, in lower case.
    pub network: Arc<str>,
    /// A domain that its network's names stand in, beside that of all.
    pub domain: Option<Arc<str>>,
    /// The host's addresses at which their questions are answered.
    pub asks: Box<[IpAddr]>,
    /// Who is asked what is no name here.
    pub servers: Box<[IpAddr]>,
    /// No question of theirs leaves the host.
    pub internal: bool,
}

/// A namespace's path, with its cookie.
pub type Netns = (PathBuf, Option<u64>);

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

    /// Begins where another one is.
    pub fn continuing(other: &Self) -> Self {
        let (asked, failed) = other.counts();
        Self { asked: asked.into(), failed: failed.into() }
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
        let part = record.names?;
        let is_made = record.link.as_ref().is_none_or(|link| link.phase == Phase::Ready);
        if !is_made {
            return None;
        }
        let listens_inside = part.asks.is_empty() && !part.on_host;
        let netns = record.netns.filter(|_| listens_inside);
        let membership = Membership {
            network: record.id.network.to_ascii_lowercase().into(),
            domain: part.domain.map(Arc::from),
            asks: part.asks.into(),
            servers: part.servers.into(),
            internal: part.internal,
        };
        Some(Self {
            addresses: record.addresses.iter().map(|grant| grant.address.addr()).collect(),
            ports: record.ports.map(|ports| ports.bindings.into()).unwrap_or_default(),
            netns: netns.map(|netns| Box::new((netns.path, netns.cookie))),
            ..Self::new((name, &record.id.owner), &part.names, membership)
        })
    }

    /// An attachment without addresses, by the name of its record and its container's id.
    pub(crate) fn new(
        (record, owner): (&str, &str),
        names: &[String],
        membership: Membership,
    ) -> Self {
        let room = names.iter().map(|name| name.len() + END.len_utf8()).sum::<usize>();
        let mut text = String::with_capacity(record.len() + owner.len() + room);
        text.push_str(record);
        text.push_str(owner);
        let names_at = text.len();
        // A record that somebody forged may hold anything.
        for name in names.iter().filter(|name| !name.contains(END)) {
            text.push_str(name);
            text.push(END);
        }
        let at = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            owner_at: at(record.len()),
            names_at: at(names_at),
            text: text.into(),
            membership: Arc::new(membership),
            addresses: SmallVec::new(),
            ports: Box::default(),
            asked: Asked::default(),
            netns: None,
        }
    }

    /// An attachment of another node, in an overlay network.
    pub(crate) fn remote(
        (node, record, owner): (&str, &str, &str),
        names: &[String],
        membership: Membership,
    ) -> Self {
        Self::new((&Self::remote_record(node, record), owner), names, membership)
    }

    /// What the record of another node's attachment is called here.
    pub(crate) fn remote_record(node: &str, record: &str) -> String {
        format!("{node}{REMOTE}{record}")
    }

    /// The node that it is on; `None`: this one.
    pub fn node(&self) -> Option<&str> {
        node_of(self.record())
    }

    /// The name of its record.
    pub fn record(&self) -> &str {
        self.text.get(..self.owner_at as usize).unwrap_or_default()
    }

    /// Its container.
    pub fn owner(&self) -> &str {
        self.text.get(self.owner_at as usize..self.names_at as usize).unwrap_or_default()
    }

    /// Its network, in lower case.
    pub fn network(&self) -> &Arc<str> {
        &self.membership.network
    }

    /// Its names in lower case, the first one before all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.text.get(self.names_at as usize..).unwrap_or_default().split_terminator(END)
    }
}
