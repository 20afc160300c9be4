//! All that the ruleset follows from, as it is on disk.

use std::collections::HashSet;

use cleat_nft::{Element, Key};

use super::INET;
use super::conditions::{self, Conditions};
use super::elements::{Elements, of_attachment};
use super::foreign::Passage;
use super::links::LinkRules;
use super::mark;
use super::skeleton::Shape;
use super::sources::{self, Sources};
use crate::Node;
use crate::error::Result;
use crate::forwarding::{self, Before};
use crate::record::AttachmentRecord;

/// What is stored of links, attachments, conditions and forwarding.
pub(crate) struct Stored {
    pub(crate) links: Vec<LinkRules>,
    /// By the names of their files.
    pub(crate) records: Vec<(String, AttachmentRecord)>,
    /// Everything could be read.
    pub(crate) is_whole: bool,
    mark: u32,
    before: Option<Before>,
    conditions: Vec<Conditions>,
    sources: Vec<Sources>,
}

impl Stored {
    /// Reads it. What cannot be read is warned of.
    pub(crate) fn read(node: &Node) -> Result<Self> {
        let mut links = Vec::new();
        let mut is_whole = true;
        for (name, stored) in node.links().list()? {
            match stored {
                Ok(rules) => links.push(rules),
                Err(error) => {
                    node.warn(&format!("rules of link {name}: {error}"));
                    is_whole = false;
                }
            }
        }
        let mut records = Vec::new();
        for (name, stored) in node.attachments().list()? {
            match stored {
                Ok(record) => records.push((name, record)),
                Err(error) => {
                    node.warn(&format!("record {name}: {error}"));
                    is_whole = false;
                }
            }
        }
        let mark = mark::wanted(node)?;
        let before = forwarding::before(node)?;
        let conditions = conditions::stored(node)?;
        let sources = sources::stored(node)?;
        Ok(Self { links, records, is_whole, mark, before, conditions, sources })
    }

    /// Something here has elements.
    pub(crate) fn needs_tables(&self, node: &Node) -> bool {
        let has = |record: &AttachmentRecord| {
            node.is_this_boot(&record.boot) && !of_attachment(record).is_empty()
        };
        !self.links.is_empty()
            || !self.sources.is_empty()
            || self.records.iter().any(|(_, record)| has(record))
    }

    /// What the chains depend on.
    pub(crate) fn shape(&self) -> Shape<'_> {
        let Self { links, mark, before, conditions, sources, .. } = self;
        Shape { mark: *mark, before: before.as_ref(), links, conditions, sources }
    }

    /// What other programs' firewalls have to let through.
    pub(crate) fn passage(&self) -> Passage {
        let served = self.links.iter().any(LinkRules::is_served);
        Passage { mark: self.mark, input: served || !self.sources.is_empty() }
    }

    /// All elements; those of `current` instead of what the disk may not say of it yet.
    pub(crate) fn elements(&self, node: &Node, current: Option<&AttachmentRecord>) -> Elements {
        let mut elements = self.elements_of_links();
        let others = self.records.iter().map(|(_, record)| record);
        for record in others.filter(|record| current.is_none_or(|c| c.id != record.id)) {
            if node.is_this_boot(&record.boot) {
                elements.append(of_attachment(record));
            }
        }
        if let Some(record) = current {
            elements.append(of_attachment(record));
        }
        elements
    }

    /// The elements that stand for links, those of the host's own included.
    pub(crate) fn elements_of_links(&self) -> Elements {
        let mut elements = Elements::default();
        for rules in &self.links {
            elements.append(rules.elements());
        }
        elements.append(sources::elements(&self.sources));
        for name in self.before.iter().flat_map(|before| &before.links) {
            elements.push(INET, "hostlinks", Element::new(Key::new().ifname(name)));
        }
        elements
    }

    /// Chains whose rules are an administrator's.
    pub(crate) fn admin_chains(&self) -> HashSet<&str> {
        self.links.iter().flat_map(|rules| &rules.admin_chains).map(String::as_str).collect()
    }
}
