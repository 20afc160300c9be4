//! A change of nf_tables as a list of steps. The kernel does all of them or none, and packets see
//! either the old state or the new.

use std::fmt;

use crate::rule::Rule;
use crate::set::{Element, Set};
use crate::table::{Base, Table};

/// How elements are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adding {
    /// The same element again is no error; the same key with other data is.
    Shared,
    /// An existing key is an error.
    Exclusive,
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    AddTable { owned: bool },
    DeleteTable,
    AddChain(String, Option<Base>),
    FlushChain(String),
    DeleteChain(String),
    AddRule(String, Rule),
    InsertRule(String, Rule),
    DeleteRule(String, u64),
    AddSet(Set),
    FlushSet(String),
    DeleteSet(String),
    AddElements(String, Vec<Element>, Adding),
    DestroyElements(String, Vec<Element>),
}

impl Op {
    /// The elements that it is about.
    pub(crate) fn elements(&self) -> &[Element] {
        match self {
            Self::AddElements(_, elements, _) | Self::DestroyElements(_, elements) => elements,
            _ => &[],
        }
    }
}

/// Steps to be done together, in order.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    pub(crate) steps: Vec<(Table, Op)>,
}

impl Transaction {
    /// Without a step yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// There is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds the table if it is not there.
    pub fn add_table(&mut self, table: Table) -> &mut Self {
        self.step(table, Op::AddTable { owned: false })
    }

    /// Adds a table that only the committing socket may change, that outlives a ruleset flush,
    /// and that goes when the socket is closed (`flags owner`, Linux 5.12). `EOPNOTSUPP` or
    /// `EPERM` if it is there and not this socket's.
    pub fn add_owned_table(&mut self, table: Table) -> &mut Self {
        self.step(table, Op::AddTable { owned: true })
    }

    /// Deletes the table with all that is in it; its absence is no error.
    pub fn delete_table(&mut self, table: Table) -> &mut Self {
        self.add_table(table).step(table, Op::DeleteTable)
    }

    /// Adds the chain if it is not there; the policy of one that is there is updated. `EOPNOTSUPP`
    /// (or `EEXIST`, by kernel) if it is there with another hook or priority, or no base chain.
    pub fn add_chain(&mut self, table: Table, chain: &str, base: Option<Base>) -> &mut Self {
        self.step(table, Op::AddChain(chain.to_owned(), base))
    }

    /// Deletes the chain's rules.
    pub fn flush_chain(&mut self, table: Table, chain: &str) -> &mut Self {
        self.step(table, Op::FlushChain(chain.to_owned()))
    }

    /// Deletes the chain with its rules; `EBUSY` while something jumps to it.
    pub fn delete_chain(&mut self, table: Table, chain: &str) -> &mut Self {
        self.step(table, Op::DeleteChain(chain.to_owned()))
    }

    /// Adds a rule at the end of the chain.
    pub fn add_rule(&mut self, table: Table, chain: &str, rule: Rule) -> &mut Self {
        self.step(table, Op::AddRule(chain.to_owned(), rule))
    }

    /// Adds a rule at the head of the chain.
    pub fn insert_rule(&mut self, table: Table, chain: &str, rule: Rule) -> &mut Self {
        self.step(table, Op::InsertRule(chain.to_owned(), rule))
    }

    /// Deletes the rule of this handle.
    pub fn delete_rule(&mut self, table: Table, chain: &str, handle: u64) -> &mut Self {
        self.step(table, Op::DeleteRule(chain.to_owned(), handle))
    }

    /// Adds the set or map if it is not there; `EEXIST` if it is there with other types.
    pub fn add_set(&mut self, table: Table, set: Set) -> &mut Self {
        self.step(table, Op::AddSet(set))
    }

    /// Deletes all elements of the set.
    pub fn flush_set(&mut self, table: Table, set: &str) -> &mut Self {
        self.step(table, Op::FlushSet(set.to_owned()))
    }

    /// Deletes the set; `EBUSY` while a rule refers to it.
    pub fn delete_set(&mut self, table: Table, set: &str) -> &mut Self {
        self.step(table, Op::DeleteSet(set.to_owned()))
    }

    /// Adds elements. One that is there is no error (and keeps its comment), unless it maps to
    /// something else (`EEXIST`).
    pub fn add_elements(&mut self, table: Table, set: &str, elements: Vec<Element>) -> &mut Self {
        self.step(table, Op::AddElements(set.to_owned(), elements, Adding::Shared))
    }

    /// Adds elements; `EEXIST`, with the element's index, if the key of one is there.
    /// A failed transaction costs the kernel about 6 ms.
    pub fn add_elements_exclusive(
        &mut self,
        table: Table,
        set: &str,
        elements: Vec<Element>,
    ) -> &mut Self {
        self.step(table, Op::AddElements(set.to_owned(), elements, Adding::Exclusive))
    }

    /// Deletes elements by their keys; the absence of one is no error. That of the set is, from
    /// Linux 6.3 on. Before Linux 6.3 an element that the same transaction adds must not be named here.
    pub fn destroy_elements(
        &mut self,
        table: Table,
        set: &str,
        elements: Vec<Element>,
    ) -> &mut Self {
        self.step(table, Op::DestroyElements(set.to_owned(), elements))
    }

    /// What step `index` does, for an error about its element `element`.
    pub(crate) fn describe(&self, index: usize, element: Option<usize>) -> String {
        match self.steps.get(index) {
            Some((table, op)) => Step { table: *table, op, element }.to_string(),
            None => "commit nf_tables transaction".to_owned(),
        }
    }

    fn step(&mut self, table: Table, op: Op) -> &mut Self {
        self.steps.push((table, op));
        self
    }
}

/// A step as an error message names it.
struct Step<'a> {
    table: Table,
    op: &'a Op,
    element: Option<usize>,
}

impl Step<'_> {
    fn elements(&self, f: &mut fmt::Formatter<'_>, verb: &str, set: &str) -> fmt::Result {
        let elements = self.op.elements();
        match self.element.and_then(|n| elements.get(n)) {
            Some(one) => write!(f, "{verb} element {set} {}", one.key),
            None => write!(f, "{verb} {} elements of {set}", elements.len()),
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table;
        match self.op {
            Op::AddTable { .. } => return write!(f, "add table {table}"),
            Op::DeleteTable => return write!(f, "delete table {table}"),
            Op::AddChain(chain, _) => write!(f, "add chain {chain}"),
            Op::FlushChain(chain) => write!(f, "flush chain {chain}"),
            Op::DeleteChain(chain) => write!(f, "delete chain {chain}"),
            Op::AddRule(chain, rule) => write!(f, "add rule to {chain} ({rule})"),
            Op::InsertRule(chain, rule) => write!(f, "insert rule in {chain} ({rule})"),
            Op::DeleteRule(chain, handle) => write!(f, "delete rule {handle} of {chain}"),
            Op::AddSet(set) => write!(f, "add set {}", set.name),
            Op::FlushSet(set) => write!(f, "flush set {set}"),
            Op::DeleteSet(set) => write!(f, "delete set {set}"),
            Op::AddElements(set, ..) => self.elements(f, "add", set),
            Op::DestroyElements(set, _) => self.elements(f, "delete", set),
        }?;
        write!(f, " in table {table}")
    }
}
