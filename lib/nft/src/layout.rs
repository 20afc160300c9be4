//! What a table is made of: its chains with their rules, and its sets with their types; elements
//! aside. Read from a transaction that lays it or from the kernel, so that the two compare: both
//! are the same netlink messages, read by the same code.

use std::collections::BTreeMap;

use cleat_kernel::wire;

use crate::abi::msg;
use crate::backend::{Backend, ChainBase, ChainInfo, RuleInfo};
use crate::batch::{self, Deleting};
use crate::error::Result;
use crate::netlink::Netlink;
use crate::read;
use crate::table::Table;
use crate::transaction::Transaction;

/// A table's chains and sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    chains: BTreeMap<String, Chain>,
    /// The types of key and data, as nft numbers them.
    sets: BTreeMap<String, (u32, u32)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    base: Option<ChainBase>,
    rules: Vec<RuleInfo>,
}

impl Layout {
    /// Of the table as the transaction lays it where nothing is yet.
    pub fn of(transaction: &Transaction, table: Table) -> Self {
        let encoded = batch::encode(transaction, &Deleting::Destroy);
        let mut layout = Self::default();
        let about = |m: &wire::Received<'_>| {
            m.payload.first() == Some(&table.family.number())
                && read::table_of(m).as_deref() == Some(table.name)
        };
        for message in wire::messages(encoded.batch.bytes()).filter(about) {
            match message.kind {
                msg::NEWCHAIN => layout.add_chain(read::chain(&message, table.name)),
                msg::NEWRULE => layout.add_rule(read::any_rule(&message)),
                msg::NEWSET => layout.add_set(read::set(&message)),
                _ => {}
            }
        }
        layout
    }

    /// Of the table in the kernel; `None` without it.
    pub fn read(backend: &mut Netlink, table: Table) -> Result<Option<Self>> {
        if !backend.table_exists(table)? {
            return Ok(None);
        }
        let mut layout = Self::default();
        backend.chains(table.family, table.name)?.into_iter().for_each(|chain| {
            layout.add_chain(Some(chain));
        });
        backend.rules_of_all(table)?.into_iter().for_each(|rule| layout.add_rule(Some(rule)));
        backend.sets_with_types(table)?.into_iter().for_each(|set| layout.add_set(Some(set)));
        Ok(Some(layout))
    }

    /// The names of its sets and maps.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// The first thing that is here and not, or not the same, in `found`, in words. What `found`
    /// has beyond is somebody else's, but for rules in chains that are here: those must be the same.
    /// Chains of which `is_theirs` says so may hold any rules.
    pub fn first_lack(&self, found: &Self, is_theirs: impl Fn(&str) -> bool) -> Option<String> {
        for (name, shape) in &self.sets {
            match found.sets.get(name) {
                None => return Some(format!("set {name} is missing")),
                Some(other) if other != shape => {
                    return Some(format!("set {name} has other types"));
                }
                Some(_) => {}
            }
        }
        for (name, chain) in &self.chains {
            let Some(there) = found.chains.get(name) else {
                return Some(format!("chain {name} is missing"));
            };
            if there.base != chain.base {
                return Some(format!("chain {name} has another hook, priority or policy"));
            }
            if is_theirs(name) {
                continue;
            }
            let (wanted, has) = (chain.rules.len(), there.rules.len());
            if wanted != has {
                return Some(format!("chain {name} has {has} rules instead of {wanted}"));
            }
            let differs = chain.rules.iter().zip(&there.rules).position(|(a, b)| a != b);
            if let Some(at) = differs {
                return Some(format!("rule {} of chain {name} is another", at + 1));
            }
        }
        None
    }

    fn add_chain(&mut self, chain: Option<ChainInfo>) {
        if let Some(ChainInfo { name, base }) = chain {
            self.chains.entry(name).or_default().base = base;
        }
    }

    fn add_rule(&mut self, rule: Option<(String, RuleInfo)>) {
        if let Some((chain, rule)) = rule {
            // What it is, not which one it is.
            let rule = RuleInfo { handle: 0, ..rule };
            self.chains.entry(chain).or_default().rules.push(rule);
        }
    }

    fn add_set(&mut self, set: Option<(String, (u32, u32))>) {
        self.sets.extend(set);
    }
}
