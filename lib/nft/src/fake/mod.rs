//! nf_tables in memory, for the tests of what stands on it: keeps tables, chains, rules, sets and
//! elements, and refuses what the kernel refuses, with its errno. No packet passes through it.

mod state;

use std::fmt::{self, Write as _};

use rustix::io::Errno;

use self::state::{Chain, State, TableState};
use crate::backend::{Backend, ChainInfo, RuleInfo};
use crate::error::{Error, Result};
use crate::expr::{Expr, Meta};
use crate::key::Key;
use crate::rule::Rule;
use crate::set::{Element, Verdict};
use crate::table::{Family, Table};
use crate::transaction::Transaction;

/// A backend that keeps its state in memory.
#[derive(Debug, Clone, Default)]
pub struct Fake {
    state: State,
    commits: usize,
    failing: Option<usize>,
}

impl Fake {
    /// Without any table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `n`th commit from now on, from 1, fails with `ENOBUFS` and keeps nothing; those after
    /// it are done.
    pub fn fail_at(&mut self, n: usize) {
        self.failing = Some(self.commits + n);
    }

    /// How many transactions were committed or refused.
    pub fn commits(&self) -> usize {
        self.commits
    }

    /// All that there is, for comparison; handles are left out.
    pub fn dump(&self) -> String {
        self.to_string()
    }

    fn table(&self, family: Family, name: &str) -> Option<&TableState> {
        self.state.tables.get(&(family, name.to_owned()))
    }
}

impl Backend for Fake {
    fn commit(&mut self, transaction: &Transaction) -> Result<()> {
        if transaction.is_empty() {
            return Ok(());
        }
        self.commits += 1;
        if self.failing == Some(self.commits) {
            return Err(refused(transaction, usize::MAX, (Errno::NOBUFS, None)));
        }
        let mut next = self.state.clone();
        for (step, (table, op)) in transaction.steps.iter().enumerate() {
            next.apply(*table, op).map_err(|e| refused(transaction, step, e))?;
        }
        self.state = next;
        Ok(())
    }

    fn table_exists(&mut self, table: Table) -> Result<bool> {
        Ok(self.table(table.family, table.name).is_some())
    }

    fn tables(&mut self) -> Result<Vec<(u8, String)>> {
        let names = self.state.tables.keys();
        Ok(names.map(|(family, name)| (family.number(), name.clone())).collect())
    }

    fn chains(&mut self, family: Family, table: &str) -> Result<Vec<ChainInfo>> {
        let chains = self.table(family, table).into_iter().flat_map(|t| &t.chains);
        let info = |(name, chain): (&String, &Chain)| ChainInfo {
            name: name.clone(),
            base: chain.base.map(Into::into),
        };
        Ok(chains.map(info).collect())
    }

    fn rules(&mut self, family: Family, table: &str, chain: &str) -> Result<Vec<RuleInfo>> {
        let chain = self.table(family, table).and_then(|t| t.chains.get(chain));
        let rules = chain.into_iter().flat_map(|c| &c.rules);
        Ok(rules.map(|(handle, rule)| info(*handle, rule)).collect())
    }

    fn sets(&mut self, table: Table) -> Result<Vec<String>> {
        let table = self.table(table.family, table.name);
        Ok(table.into_iter().flat_map(|t| t.sets.keys().cloned()).collect())
    }

    fn elements(&mut self, table: Table, set: &str) -> Result<Vec<Element>> {
        let found = self.table(table.family, table.name).and_then(|t| t.sets.get(set));
        match found {
            Some(found) => Ok(found.elements.values().cloned().collect()),
            None => {
                let object = format!("{set} in table {table}");
                Err(cleat_kernel::Error::kernel("list elements of", object, Errno::NOENT).into())
            }
        }
    }

    fn element(&mut self, table: Table, set: &str, key: &Key) -> Result<Option<Element>> {
        let set = self.table(table.family, table.name).and_then(|t| t.sets.get(set));
        Ok(set.and_then(|s| s.elements.get(key)).cloned())
    }
}

impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((family, name), table) in &self.state.tables {
            writeln!(f, "table {family} {name}")?;
            for (name, set) in &table.sets {
                let types = |types: &[crate::Type]| {
                    types.iter().map(|t| t.name()).collect::<Vec<_>>().join(" . ")
                };
                write!(f, "  set {name} {{ {} ", types(&set.made.key))?;
                set.made.data.iter().try_for_each(|d| write!(f, ": {} ", types(d)))?;
                writeln!(f, "}}")?;
                set.elements.values().try_for_each(|e| writeln!(f, "    {e}"))?;
            }
            for (name, chain) in &table.chains {
                write!(f, "  chain {name}")?;
                chain.base.iter().try_for_each(|b| write!(f, " {{ {b} }}"))?;
                f.write_char('\n')?;
                chain.rules.iter().try_for_each(|(_, rule)| writeln!(f, "    {rule}"))?;
            }
        }
        Ok(())
    }
}

fn refused(transaction: &Transaction, step: usize, at: (Errno, Option<usize>)) -> Error {
    let (errno, element) = at;
    let text = match cleat_kernel::Error::kernel("commit", "", errno) {
        cleat_kernel::Error::Kernel { text, .. } => text,
        other => other.to_string(),
    };
    Error::Refused { op: transaction.describe(step, element), errno, text, element }
}

fn info(handle: u64, rule: &Rule) -> RuleInfo {
    RuleInfo {
        handle,
        comment: rule.comment.clone(),
        targets: rule.targets().map(str::to_owned).collect(),
        sets: rule.exprs.iter().filter_map(Expr::set).map(str::to_owned).collect(),
        expressions: rule.exprs.iter().map(|e| e.name().to_owned()).collect(),
        compared: rule.exprs.iter().filter_map(compared).collect(),
        accepts_mark: accepts_mark(&rule.exprs),
    }
}

fn compared(expr: &Expr) -> Option<Vec<u8>> {
    match expr {
        Expr::Cmp { equal: true, value } => Some(value.clone()),
        _ => None,
    }
}

fn accepts_mark(exprs: &[Expr]) -> Option<u32> {
    let rest: Vec<_> = exprs.iter().filter(|e| **e != Expr::Counter).collect();
    let [
        Expr::Meta { key: Meta::Mark, .. },
        Expr::Bitwise { mask, .. },
        Expr::Cmp { equal: true, value },
        Expr::Verdict(Verdict::Accept),
    ] = rest.as_slice()
    else {
        return None;
    };
    (mask == value).then(|| cleat_kernel::wire::u32_of(mask)).flatten()
}
