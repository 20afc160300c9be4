//! The seam between what is wanted of nf_tables and the kernel, and what can be asked of either.

use crate::error::Result;
use crate::key::Key;
use crate::set::Element;
use crate::table::{Base, Family, Hook, Table};
use crate::transaction::Transaction;

/// nf_tables of one network namespace.
pub trait Backend {
    /// Does all of the transaction, or nothing.
    fn commit(&mut self, transaction: &Transaction) -> Result<()>;

    /// Whether the table is there.
    fn table_exists(&mut self, table: Table) -> Result<bool>;

    /// All tables of all families, with the family's number (`NFPROTO_*`).
    fn tables(&mut self) -> Result<Vec<(u8, String)>>;

    /// The chains of any table, of whoever's making; none if there is no such table.
    fn chains(&mut self, family: Family, table: &str) -> Result<Vec<ChainInfo>>;

    /// The rules of any chain in order; none if there is no such table or chain.
    fn rules(&mut self, family: Family, table: &str, chain: &str) -> Result<Vec<RuleInfo>>;

    /// The names of the table's sets and maps; none if there is no such table.
    fn sets(&mut self, table: Table) -> Result<Vec<String>>;

    /// All elements of a set or map. An error if there is no such set.
    fn elements(&mut self, table: Table, set: &str) -> Result<Vec<Element>>;

    /// The element with this key; `None` without it, or without the set.
    fn element(&mut self, table: Table, set: &str, key: &Key) -> Result<Option<Element>>;
}

/// A chain that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInfo {
    /// Its name.
    pub name: String,
    /// What makes it a base chain, if it is one.
    pub base: Option<ChainBase>,
}

/// A found base chain. Wider than [`Base`], for other people's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBase {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// Where it sits; `None` for `ingress` and other hooks that [`Hook`] lacks.
    pub hook: Option<Hook>,
    /// Lower runs earlier.
    pub priority: i32,
    /// The policy is drop.
    pub drop: bool,
}

impl From<Base> for ChainBase {
    fn from(base: Base) -> Self {
        let Base { kind, hook, priority, drop } = base;
        Self { kind: kind.name().to_owned(), hook: Some(hook), priority, drop }
    }
}

/// A rule that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// By which it is deleted.
    pub handle: u64,
    /// Its comment: nft's, or that of iptables' `comment` match.
    pub comment: Option<String>,
    /// The chains that it jumps or goes to by itself, not by a verdict map.
    pub targets: Vec<String>,
    /// The sets and maps that it looks things up in, in order.
    pub sets: Vec<String>,
    /// The names of its expressions in order. iptables' extensions are `match` and `target`.
    pub expressions: Vec<String>,
    /// The values that it compares with `==`, as bytes in the packet's order: an address, a port.
    pub compared: Vec<Vec<u8>>,
    /// The bits, if the rule is `meta mark & bits == bits accept`, with or without a counter.
    pub accepts_mark: Option<u32>,
}
