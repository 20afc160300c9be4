//! The state of the stand-in, and what each step does to it; errors as net/netfilter/
//! nf_tables_api.c gives them.

use std::collections::BTreeMap;

use rustix::io::Errno;

use crate::key::{Key, Type};
use crate::rule::Rule;
use crate::set::{Data, Element, Set, Verdict};
use crate::table::{Base, Family, Table};
use crate::transaction::{Adding, Op};

/// What is refused: the errno, and which element it is about.
type Refusal = (Errno, Option<usize>);

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) tables: BTreeMap<(Family, String), TableState>,
    handle: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TableState {
    pub(super) chains: BTreeMap<String, Chain>,
    pub(super) sets: BTreeMap<String, SetState>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<(u64, Rule)>,
}

#[derive(Debug, Clone)]
pub(super) struct SetState {
    pub(super) made: Set,
    pub(super) elements: BTreeMap<Key, Element>,
}

impl State {
    /// Does one step.
    pub(super) fn apply(&mut self, table: Table, op: &Op) -> Result<(), Refusal> {
        let id = (table.family, table.name.to_owned());
        match op {
            Op::AddTable { .. } => {
                self.tables.entry(id).or_default();
                return Ok(());
            }
            Op::DeleteTable => {
                return self.tables.remove(&id).map(|_| ()).ok_or(whole(Errno::NOENT));
            }
            _ => {}
        }
        self.handle += 1;
        let state = self.tables.get_mut(&id).ok_or(whole(Errno::NOENT))?;
        match op {
            Op::AddTable { .. } | Op::DeleteTable => Ok(()),
            Op::AddElements(set, elements, adding) => state.add_elements(set, elements, *adding),
            Op::DestroyElements(set, elements) => {
                let set = state.set(set).map_err(whole)?;
                elements.iter().for_each(|e| _ = set.elements.remove(&e.key));
                Ok(())
            }
            Op::AddSet(set) => state.add_set(set).map_err(whole),
            Op::FlushSet(set) => state.set(set).map(|s| s.elements.clear()).map_err(whole),
            Op::DeleteSet(set) => state.delete_set(set).map_err(whole),
            Op::AddChain(name, base) => state.add_chain(name, *base).map_err(whole),
            Op::FlushChain(name) => state.chain(name).map(|c| c.rules.clear()).map_err(whole),
            Op::DeleteChain(name) => state.delete_chain(name).map_err(whole),
            Op::AddRule(name, rule) => {
                state.rule(name, rule).map_err(whole)?.push((self.handle, rule.clone()));
                Ok(())
            }
            Op::InsertRule(name, rule) => {
                state.rule(name, rule).map_err(whole)?.insert(0, (self.handle, rule.clone()));
                Ok(())
            }
            Op::DeleteRule(name, handle) => state.delete_rule(name, *handle).map_err(whole),
        }
    }
}

impl TableState {
    fn chain(&mut self, name: &str) -> Result<&mut Chain, Errno> {
        self.chains.get_mut(name).ok_or(Errno::NOENT)
    }

    fn set(&mut self, name: &str) -> Result<&mut SetState, Errno> {
        self.sets.get_mut(name).ok_or(Errno::NOENT)
    }

    fn add_chain(&mut self, name: &str, base: Option<Base>) -> Result<(), Errno> {
        let new = Chain { base, rules: Vec::new() };
        let chain = self.chains.entry(name.to_owned()).or_insert(new);
        let place = |b: Base| (b.kind, b.hook, b.priority);
        match (base, chain.base) {
            (None, _) => return Ok(()),
            (Some(_), None) => return Err(Errno::OPNOTSUPP),
            (Some(new), Some(old)) if place(new) != place(old) => return Err(Errno::OPNOTSUPP),
            (Some(_), Some(_)) => chain.base = base,
        }
        Ok(())
    }

    /// A chain's own rules go with it, so they do not hold it.
    fn delete_chain(&mut self, name: &str) -> Result<(), Errno> {
        let gone = self.chains.remove(name).ok_or(Errno::NOENT)?;
        let rules = self.chains.values().flat_map(|c| &c.rules);
        let elements = self.sets.values().flat_map(|s| s.elements.values());
        let held = rules.flat_map(|(_, rule)| rule.targets()).any(|t| t == name)
            || elements.filter_map(target).any(|t| t == name);
        if held {
            self.chains.insert(name.to_owned(), gone);
            return Err(Errno::BUSY);
        }
        Ok(())
    }

    /// The chain's rules, once all that the new one refers to is there.
    fn rule(&mut self, chain: &str, rule: &Rule) -> Result<&mut Vec<(u64, Rule)>, Errno> {
        if !rule.exprs.iter().filter_map(|e| e.set()).all(|s| self.sets.contains_key(s)) {
            return Err(Errno::NOENT);
        }
        rule.targets().try_for_each(|target| self.may_jump(target))?;
        Ok(&mut self.chain(chain)?.rules)
    }

    fn may_jump(&self, target: &str) -> Result<(), Errno> {
        match self.chains.get(target) {
            None => Err(Errno::NOENT),
            Some(Chain { base: Some(_), .. }) => Err(Errno::OPNOTSUPP),
            Some(_) => Ok(()),
        }
    }

    fn delete_rule(&mut self, chain: &str, handle: u64) -> Result<(), Errno> {
        let rules = &mut self.chain(chain)?.rules;
        let at = rules.iter().position(|(h, _)| *h == handle).ok_or(Errno::NOENT)?;
        rules.remove(at);
        Ok(())
    }

    fn add_set(&mut self, set: &Set) -> Result<(), Errno> {
        let new = SetState { made: set.clone(), elements: BTreeMap::new() };
        let there = &self.sets.entry(set.name.clone()).or_insert(new).made;
        let same = there.key == set.key && there.data == set.data;
        if same { Ok(()) } else { Err(Errno::EXIST) }
    }

    fn delete_set(&mut self, name: &str) -> Result<(), Errno> {
        self.set(name)?;
        let rules = self.chains.values().flat_map(|c| &c.rules);
        if rules.flat_map(|(_, rule)| &rule.exprs).any(|e| e.set() == Some(name)) {
            return Err(Errno::BUSY);
        }
        self.sets.remove(name);
        Ok(())
    }

    fn add_elements(&mut self, set: &str, list: &[Element], adding: Adding) -> Result<(), Refusal> {
        self.set(set).map_err(whole)?;
        for (n, element) in list.iter().enumerate() {
            let exclusive = adding == Adding::Exclusive;
            let known = exclusive || list.len() == 1;
            let done = self.add_element(set, element, exclusive);
            done.map_err(|errno| (errno, known.then_some(n)))?;
        }
        Ok(())
    }

    fn add_element(&mut self, set: &str, element: &Element, exclusive: bool) -> Result<(), Errno> {
        target(element).map_or(Ok(()), |chain| self.may_jump(chain))?;
        let set = self.set(set)?;
        if !fits(&set.made, element) {
            return Err(Errno::INVAL);
        }
        match set.elements.get(&element.key) {
            None => _ = set.elements.insert(element.key.clone(), element.clone()),
            Some(there) if exclusive || there.data != element.data => return Err(Errno::EXIST),
            Some(_) => {}
        }
        Ok(())
    }
}

fn target(element: &Element) -> Option<&str> {
    match &element.data {
        Data::Verdict(verdict) => Verdict::target(verdict),
        _ => None,
    }
}

fn fits(set: &Set, element: &Element) -> bool {
    let data = match (&set.data, &element.data) {
        (None, Data::None) => true,
        (Some(_), Data::Verdict(_)) => set.is_verdict_map(),
        (Some(types), Data::Value(value)) => {
            !set.is_verdict_map() && value.bytes().len() == Type::total(types)
        }
        _ => false,
    };
    data && element.key.bytes().len() == Type::total(&set.key)
}

fn whole(errno: Errno) -> Refusal {
    (errno, None)
}
