//! A transaction as netlink messages: one send, from the batch's begin to its end.

use std::ops::Range;

use cleat_kernel::wire::{Batch, Message, flags};

use crate::abi::{self, LIST_ELEM, chain, data, element, msg, rule, set, table};
use crate::expr;
use crate::key::Type;
use crate::rule::Rule;
use crate::set::{Data, Element, Set};
use crate::table::{Base, Table};
use crate::transaction::{Adding, Op, Transaction};
use crate::userdata;

/// An attribute's length has 16 bits; the list of a message's elements is one attribute.
const LONGEST_LIST: usize = 60_000;

/// A transaction's messages, and which step each belongs to.
pub(crate) struct Encoded {
    pub(crate) batch: Batch,
    pub(crate) origins: Vec<Origin>,
}

/// Where a message comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The step.
    pub(crate) step: usize,
    /// Which of its elements.
    pub(crate) elements: Range<usize>,
}

/// How elements are deleted.
pub(crate) enum Deleting<'a> {
    /// By `DESTROYSETELEM`, Linux 6.3.
    Destroy,
    /// By `DELSETELEM`, one a message, and only those (step, element).
    Present(&'a [(usize, usize)]),
}

/// The header of a message about a table: `struct nfgenmsg`.
pub(crate) fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// All messages of the transaction.
pub(crate) fn encode(transaction: &Transaction, deleting: &Deleting<'_>) -> Encoded {
    let mut batch = Batch::new();
    let edge = [0, 0, 0, abi::SUBSYSTEM];
    batch.message(abi::BATCH_BEGIN, 0, &edge);
    let mut writer = Writer { batch, origins: Vec::new(), step: 0, sets: 0 };
    for (step, (table, op)) in transaction.steps.iter().enumerate() {
        writer.step = step;
        writer.op(*table, op, deleting);
    }
    let Writer { mut batch, origins, .. } = writer;
    batch.message(abi::BATCH_END, 0, &edge);
    Encoded { batch, origins }
}

struct Writer {
    batch: Batch,
    origins: Vec<Origin>,
    step: usize,
    sets: u32,
}

impl Writer {
    fn op(&mut self, table: Table, op: &Op, deleting: &Deleting<'_>) {
        match op {
            Op::AddTable { owned } => {
                let owner = if *owned { table::OWNER } else { 0 };
                let mut m = self.message(table, msg::NEWTABLE, flags::CREATE);
                m.str(table::NAME, table.name).be32(table::FLAGS, owner);
            }
            Op::DeleteTable => {
                self.message(table, msg::DELTABLE, 0).str(table::NAME, table.name);
            }
            Op::AddChain(name, base) => self.add_chain(table, name, *base),
            Op::DeleteChain(name) => {
                let mut m = self.message(table, msg::DELCHAIN, 0);
                m.str(chain::TABLE, table.name).str(chain::NAME, name);
            }
            Op::AddRule(name, rule) => self.add_rule(table, name, rule, flags::APPEND),
            Op::InsertRule(name, rule) => self.add_rule(table, name, rule, 0),
            Op::FlushChain(name) => {
                let mut m = self.message(table, msg::DELRULE, 0);
                m.str(rule::TABLE, table.name).str(rule::CHAIN, name);
            }
            Op::DeleteRule(name, handle) => {
                let mut m = self.message(table, msg::DELRULE, 0);
                m.str(rule::TABLE, table.name).str(rule::CHAIN, name).be64(rule::HANDLE, *handle);
            }
            Op::AddSet(set) => self.add_set(table, set),
            Op::FlushSet(name) => {
                let mut m = self.message(table, msg::DELSETELEM, 0);
                m.str(element::LIST_TABLE, table.name).str(element::LIST_SET, name);
            }
            Op::DeleteSet(name) => {
                self.message(table, msg::DELSET, 0)
                    .str(set::TABLE, table.name)
                    .str(set::NAME, name);
            }
            Op::AddElements(name, list, adding) => self.add_elements(table, name, list, *adding),
            Op::DestroyElements(name, list) => self.delete_elements(table, name, list, deleting),
        }
    }

    fn add_chain(&mut self, table: Table, name: &str, base: Option<Base>) {
        let mut m = self.message(table, msg::NEWCHAIN, flags::CREATE);
        m.str(chain::TABLE, table.name).str(chain::NAME, name);
        if let Some(base) = base {
            m.nest(chain::HOOK, |h| {
                h.be32(chain::HOOK_NUMBER, base.hook as u32);
                h.be32(chain::HOOK_PRIORITY, base.priority as u32);
            });
            m.be32(chain::POLICY, u32::from(!base.drop)).str(chain::TYPE, base.kind.name());
        }
    }

    fn add_rule(&mut self, table: Table, name: &str, rule: &Rule, place: u16) {
        let mut m = self.message(table, msg::NEWRULE, flags::CREATE | place);
        m.str(rule::TABLE, table.name).str(rule::CHAIN, name);
        m.nest(rule::EXPRESSIONS, |list| expr::encode(list, table.family, &rule.exprs));
        if let Some(comment) = &rule.comment {
            m.bytes(rule::USERDATA, &userdata::of_comment(comment));
        }
    }

    fn add_set(&mut self, table: Table, set: &Set) {
        self.sets += 1;
        let id = self.sets;
        let mut m = self.message(table, msg::NEWSET, flags::CREATE);
        m.str(set::TABLE, table.name).str(set::NAME, &set.name);
        m.be32(set::FLAGS, if set.data.is_some() { set::MAP } else { 0 });
        m.be32(set::KEY_TYPE, Type::number(&set.key));
        m.be32(set::KEY_LEN, Type::total(&set.key) as u32);
        match &set.data {
            Some(_) if set.is_verdict_map() => _ = m.be32(set::DATA_TYPE, set::VERDICT),
            Some(data) => {
                m.be32(set::DATA_TYPE, Type::number(data));
                m.be32(set::DATA_LEN, Type::total(data) as u32);
            }
            None => {}
        }
        m.be32(set::ID, id).bytes(set::USERDATA, &userdata::of_set(set));
    }

    /// Exclusive ones go one a message: the kernel's refusal then tells which.
    fn add_elements(&mut self, table: Table, name: &str, list: &[Element], adding: Adding) {
        let (extra, longest) = match adding {
            Adding::Shared => (0, LONGEST_LIST),
            Adding::Exclusive => (flags::EXCL, 0),
        };
        for range in chunks(list, longest) {
            self.elements(table, name, (msg::NEWSETELEM, flags::CREATE | extra), list, range);
        }
    }

    fn delete_elements(
        &mut self,
        table: Table,
        name: &str,
        list: &[Element],
        deleting: &Deleting<'_>,
    ) {
        let step = self.step;
        match deleting {
            Deleting::Destroy => {
                for range in chunks(list, LONGEST_LIST) {
                    self.elements(table, name, (msg::DESTROYSETELEM, 0), list, range);
                }
            }
            Deleting::Present(present) => {
                for (_, n) in present.iter().filter(|(s, _)| *s == step) {
                    self.elements(table, name, (msg::DELSETELEM, 0), list, *n..*n + 1);
                }
            }
        }
    }

    fn elements(
        &mut self,
        table: Table,
        name: &str,
        (kind, flags): (u16, u16),
        list: &[Element],
        range: Range<usize>,
    ) {
        let chosen = list.get(range.clone()).unwrap_or_default();
        let whole = kind == msg::NEWSETELEM;
        self.origins.push(Origin { step: self.step, elements: range });
        let mut m = self.batch.message(kind, flags, &header(table.family.number()));
        m.str(element::LIST_TABLE, table.name).str(element::LIST_SET, name);
        m.nest(element::LIST_ELEMENTS, |l| {
            for one in chosen {
                l.nest(LIST_ELEM, |e| {
                    key(e, one.key.bytes());
                    if whole {
                        rest(e, one);
                    }
                });
            }
        });
    }

    fn message(&mut self, table: Table, kind: u16, flags: u16) -> Message<'_> {
        self.origins.push(Origin { step: self.step, elements: 0..0 });
        self.batch.message(kind, flags, &header(table.family.number()))
    }
}

/// The element's key attribute.
pub(crate) fn key(e: &mut Message<'_>, bytes: &[u8]) {
    e.nest(element::KEY, |k| _ = k.bytes(data::VALUE, bytes));
}

fn rest(e: &mut Message<'_>, one: &Element) {
    match &one.data {
        Data::None => {}
        Data::Value(value) => {
            e.nest(element::DATA, |d| _ = d.bytes(data::VALUE, value.bytes()));
        }
        Data::Verdict(verdict) => _ = e.nest(element::DATA, |d| expr::encode_verdict(d, verdict)),
    }
    if let Some(comment) = &one.comment {
        e.bytes(element::USERDATA, &userdata::of_comment(comment));
    }
}

/// Runs of elements that fit a list of this many bytes, at least one each.
fn chunks(list: &[Element], longest: usize) -> Vec<Range<usize>> {
    let (mut runs, mut start, mut size) = (Vec::new(), 0, 0);
    for (n, one) in list.iter().enumerate() {
        let next = bound(one);
        if n > start && size + next > longest {
            runs.push(start..n);
            (start, size) = (n, 0);
        }
        size += next;
    }
    if start < list.len() {
        runs.push(start..list.len());
    }
    runs
}

/// An element's encoded size at most.
fn bound(one: &Element) -> usize {
    let data = match &one.data {
        Data::None => 0,
        Data::Value(value) => value.bytes().len(),
        Data::Verdict(verdict) => verdict.target().map_or(0, str::len) + 24,
    };
    one.key.bytes().len() + data + one.comment.as_ref().map_or(0, String::len) + 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::table::Family;
    use proptest::prelude::*;

    const T: Table = Table::new(Family::Inet, "x");

    fn ports(count: u16) -> Vec<Element> {
        (0..count).map(|n| Element::new(Key::new().port(n))).collect()
    }

    #[test]
    fn runs_cover_the_list_and_none_is_too_long() {
        let list = ports(5000);
        let runs = chunks(&list, LONGEST_LIST);
        assert!(runs.len() > 1);
        assert_eq!(
            runs.iter().flat_map(|r| r.clone()).collect::<Vec<_>>(),
            (0..5000).collect::<Vec<_>>()
        );
        assert_eq!(chunks(&list[..3], 0), [0..1, 1..2, 2..3]);
        assert_eq!(chunks(&[], 0), []);
    }

    #[test]
    fn exclusive_elements_go_one_a_message() {
        let mut t = Transaction::new();
        t.add_elements(T, "s", ports(3)).add_elements_exclusive(T, "s", ports(3));
        let encoded = encode(&t, &Deleting::Destroy);
        let origins: Vec<_> = encoded.origins.into_iter().map(|o| (o.step, o.elements)).collect();
        assert_eq!(origins, [(0, 0..3), (1, 0..1), (1, 1..2), (1, 2..3)]);
        assert_eq!(encoded.batch.len(), 6);
    }

    proptest! {
        #[test]
        fn an_element_is_never_longer_than_its_bound(
            comment in prop::option::of(".{0,200}"), jump in prop::option::of("[a-z]{1,40}"),
        ) {
            let data = jump.map_or(Data::None, |chain| Data::Verdict(crate::Verdict::Jump(chain)));
            let one = Element { key: Key::new().mac([0; 6]).proto(1), data, comment };
            let size = |list: &[Element]| {
                let mut t = Transaction::new();
                t.add_elements(T, "s", list.to_vec());
                encode(&t, &Deleting::Destroy).batch.size()
            };
            prop_assert!(size(&[one.clone(), one.clone()]) - size(std::slice::from_ref(&one)) <= bound(&one));
        }
    }
}
