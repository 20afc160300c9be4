//! A rule's expressions in netlink's form. Attribute numbers stand beside their use, each from
//! the `nft_*_attributes` enum of the expression in include/uapi/linux/netfilter/nf_tables.h.

use cleat_kernel::wire::Message;

use super::{Expr, Guard, Meta, Reject};
use crate::abi::{self, LIST_ELEM, data};
use crate::set::Verdict;
use crate::table::Family;

/// `NFT_REG32_00`.
const FIRST_REGISTER: u32 = 8;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;
const ETHERTYPE_IP: u16 = 0x0800;
const ETHERTYPE_IP6: u16 = 0x86dd;
const ETHERTYPE_ARP: u16 = 0x0806;
const ICMP6: u8 = 58;
/// `NFT_FIB_RESULT_ADDRTYPE` and `NFTA_FIB_F_DADDR`.
const FIB_TYPE_OF_DADDR: (u32, u32) = (3, 2);
/// `NF_NAT_RANGE_PROTO_RANDOM | NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const RANDOM: u32 = 0x14;
/// `NFT_REJECT_ICMPX_UNREACH`.
const ICMPX: u32 = 2;

/// Writes the expressions as a list, for a table of this family.
pub(crate) fn encode(list: &mut Message<'_>, family: Family, exprs: &[Expr]) {
    let mut known = Vec::new();
    for expr in exprs {
        if let Expr::Guard(guard) = expr {
            guarded(list, family, *guard, &mut known);
        } else {
            one(list, expr);
        }
    }
}

/// The attribute of a verdict, as data of an expression or of an element.
pub(crate) fn encode_verdict(to: &mut Message<'_>, verdict: &Verdict) {
    use abi::verdict as code;
    let number = match verdict {
        Verdict::Accept => code::ACCEPT,
        Verdict::Drop => code::DROP,
        Verdict::Return => code::RETURN,
        Verdict::Continue => code::CONTINUE,
        Verdict::Jump(_) => code::JUMP,
        Verdict::Goto(_) => code::GOTO,
    };
    to.nest(data::VERDICT, |v| {
        v.be32(data::VERDICT_CODE, number as u32);
        if let Some(chain) = verdict.target() {
            v.str(data::VERDICT_CHAIN, chain);
        }
    });
}

/// A guard in the terms of the family, unless the rule has made sure of it already.
fn guarded(list: &mut Message<'_>, family: Family, guard: Guard, known: &mut Vec<Guard>) {
    if known.contains(&guard) {
        return;
    }
    known.push(guard);
    let (ether, nfproto) = match guard {
        Guard::Ip => (ETHERTYPE_IP, Family::Ip),
        Guard::Ip6 => (ETHERTYPE_IP6, Family::Ip6),
        Guard::Arp => (ETHERTYPE_ARP, Family::Bridge),
        Guard::Icmp6 => {
            guarded(list, family, Guard::Ip6, known);
            return equals(list, Meta::L4proto, &[ICMP6]);
        }
    };
    match family {
        Family::Bridge => equals(list, Meta::Protocol, &ether.to_be_bytes()),
        Family::Inet => equals(list, Meta::Nfproto, &[nfproto.number()]),
        Family::Ip | Family::Ip6 => {}
    }
}

fn equals(list: &mut Message<'_>, key: Meta, value: &[u8]) {
    one(list, &Expr::Meta { key, to: 0 });
    one(list, &Expr::Cmp { equal: true, value: value.to_vec() });
}

fn one(list: &mut Message<'_>, expr: &Expr) {
    list.nest(LIST_ELEM, |e| {
        e.str(abi::expr::NAME, expr.name());
        e.nest(abi::expr::DATA, |d| attributes(d, expr));
    });
}

fn attributes(d: &mut Message<'_>, expr: &Expr) {
    let register = |word: u8| FIRST_REGISTER + u32::from(word);
    let first = register(0);
    match expr {
        Expr::Guard(_) | Expr::Counter => {}
        Expr::Meta { key, to } => _ = d.be32(1, register(*to)).be32(2, *key as u32),
        Expr::MarkSet { from } => _ = d.be32(2, Meta::Mark as u32).be32(3, register(*from)),
        Expr::Payload { header, offset, len, to } => {
            d.be32(1, register(*to)).be32(2, *header as u32).be32(3, *offset).be32(4, *len);
        }
        Expr::Ct { key, to } => _ = d.be32(1, register(*to)).be32(2, *key as u32),
        Expr::FibDaddrType { to } => {
            let (result, flags) = FIB_TYPE_OF_DADDR;
            d.be32(1, register(*to)).be32(2, result).be32(3, flags);
        }
        Expr::Cmp { equal, value } => {
            d.be32(1, first).be32(2, u32::from(!equal));
            bytes(d, 3, value);
        }
        Expr::Bitwise { mask, xor } => {
            d.be32(1, first).be32(2, first).be32(3, mask.len() as u32);
            bytes(d, 4, mask);
            bytes(d, 5, xor);
        }
        Expr::InSet { set, is } => _ = d.str(1, set).be32(2, first).be32(5, u32::from(!is)),
        Expr::Map { map } => _ = d.str(1, map).be32(2, first).be32(3, first),
        Expr::VerdictMap { map } => _ = d.str(1, map).be32(2, first).be32(3, VERDICT_REGISTER),
        Expr::Immediate { to, value } => {
            d.be32(1, register(*to));
            bytes(d, 2, value);
        }
        Expr::Verdict(to) => _ = d.be32(1, VERDICT_REGISTER).nest(2, |n| encode_verdict(n, to)),
        Expr::Nat { .. } | Expr::Masquerade { .. } | Expr::Redirect { .. } => translation(d, expr),
        Expr::Reject(with) => _ = d.be32(1, ICMPX).u8(2, code(*with)),
    }
}

fn translation(d: &mut Message<'_>, expr: &Expr) {
    match expr {
        Expr::Nat { destination, family, port } => {
            d.be32(1, u32::from(*destination)).be32(2, u32::from(family.number()));
            d.be32(3, FIRST_REGISTER);
            if let Some(word) = port {
                d.be32(5, FIRST_REGISTER + u32::from(*word));
            }
        }
        Expr::Masquerade { random: true } => _ = d.be32(1, RANDOM),
        Expr::Redirect { port: true } => _ = d.be32(1, FIRST_REGISTER),
        _ => {}
    }
}

fn code(with: Reject) -> u8 {
    with as u8
}

fn bytes(d: &mut Message<'_>, kind: u16, value: &[u8]) {
    d.nest(kind, |n| _ = n.bytes(data::VALUE, value));
}
