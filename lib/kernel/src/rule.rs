//! Routing rules by source address: which table a packet's route is looked for in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::Rtnl;
use crate::change::{add_ip, family};
use crate::error::Result;
use crate::link::ip_of;
use crate::wire::{Batch, Received, attributes, flags, u32_of};

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
const FRA_SRC: u16 = 2;
const FRA_TABLE: u16 = 15;
const TO_TABLE: u8 = 1;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Packets from here; the whole family for a rule that asks for no source.
    pub source: IpNet,
    /// The table.
    pub table: u32,
}

/// `struct fib_rule_hdr`, then attributes.
pub(crate) fn encode(batch: &mut Batch, add: bool, rule: &Rule) {
    let (kind, flag) =
        if add { (RTM_NEWRULE, flags::CREATE | flags::EXCL) } else { (RTM_DELRULE, 0) };
    let source = rule.source.addr();
    let header = [family(source), 0, rule.source.prefix_len(), 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0];
    let mut m = batch.message(kind, flag, &header);
    add_ip(&mut m, FRA_SRC, source);
    m.u32(FRA_TABLE, rule.table);
}

impl Rtnl {
    /// All rules that lead to a table.
    pub fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut batch = Batch::new();
            let header = [family as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            drop(batch.message(RTM_GETRULE, flags::DUMP, &header));
            match self.socket_mut().dump("list rules", &mut batch, parse) {
                Ok(found) => rules.extend(found),
                Err(error) if error.is_unsupported() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rules)
    }
}

fn parse(message: Received<'_>) -> Option<Rule> {
    if message.kind != RTM_NEWRULE {
        return None;
    }
    let [family, _, prefix, _, table, _, _, action] = *message.payload.first_chunk::<8>()?;
    if action != TO_TABLE {
        return None;
    }
    let any: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut rule = Rule { source: IpNet::new(any, prefix).ok()?, table: u32::from(table) };
    for (kind, value) in attributes(message.payload.get(12..)?) {
        match kind {
            FRA_SRC => rule.source = IpNet::new(ip_of(family, value)?, prefix).ok()?,
            FRA_TABLE => rule.table = u32_of(value)?,
            _ => {}
        }
    }
    Some(rule)
}
