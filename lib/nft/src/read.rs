//! The kernel's answers as chains, rules and elements. Also reads what others made: iptables-nft
//! tables, and the reference plugins'.

use cleat_kernel::wire::{Received, attributes, be32_of, be64_of, find, str_of, u32_of};

use crate::abi::{self, chain, data, element, rule, set, table};
use crate::backend::{ChainBase, ChainInfo, RuleInfo};
use crate::key::Key;
use crate::set::{Data, Element, Verdict};
use crate::table::Hook;
use crate::userdata;

/// `struct nfgenmsg` before the attributes.
const HEADER: usize = 4;

/// The attributes of an answer.
pub(crate) fn body<'a>(message: &Received<'a>) -> &'a [u8] {
    message.payload.get(HEADER..).unwrap_or_default()
}

/// A table: its family's number and its name.
pub(crate) fn table(message: &Received<'_>) -> Option<(u8, String)> {
    Some((*message.payload.first()?, text(body(message), table::NAME)?))
}

/// A chain, if it is the table's.
pub(crate) fn chain(message: &Received<'_>, of: &str) -> Option<ChainInfo> {
    let body = body(message);
    if text(body, chain::TABLE)? != of {
        return None;
    }
    let base = find(body, chain::HOOK).map(|hook| ChainBase {
        kind: text(body, chain::TYPE).unwrap_or_default(),
        hook: number(hook, chain::HOOK_NUMBER).and_then(Hook::of),
        priority: number(hook, chain::HOOK_PRIORITY).unwrap_or(0) as i32,
        drop: number(body, chain::POLICY) == Some(0),
    });
    Some(ChainInfo { name: text(body, chain::NAME)?, base })
}

/// A rule, if it is the chain's.
pub(crate) fn rule(message: &Received<'_>, (table, chain): (&str, &str)) -> Option<RuleInfo> {
    if table_of(message)? != table {
        return None;
    }
    any_rule(message).filter(|(of, _)| of == chain).map(|(_, rule)| rule)
}

/// A rule, with its chain's name.
pub(crate) fn any_rule(message: &Received<'_>) -> Option<(String, RuleInfo)> {
    let body = body(message);
    let list = find(body, rule::EXPRESSIONS).unwrap_or_default();
    let exprs: Vec<_> = attributes(list).filter_map(|(_, e)| Found::read(e)).collect();
    let native = find(body, rule::USERDATA).and_then(userdata::comment);
    let info = RuleInfo {
        // A rule that is yet to be made has none.
        handle: find(body, rule::HANDLE).and_then(be64_of).unwrap_or_default(),
        comment: native.or_else(|| exprs.iter().find_map(Found::iptables_comment)),
        targets: exprs.iter().filter_map(Found::target).collect(),
        sets: exprs.iter().filter_map(Found::set).collect(),
        compared: exprs.iter().filter_map(Found::compared).map(<[u8]>::to_vec).collect(),
        accepts_mark: accepts_mark(&exprs),
        expressions: exprs.into_iter().map(|e| e.name).collect(),
    };
    Some((text(body, rule::CHAIN)?, info))
}

/// The table's name in a message about one of its chains, rules, sets or elements, where it has
/// the same number as in one about the table itself.
pub(crate) fn table_of(message: &Received<'_>) -> Option<String> {
    text(body(message), table::NAME)
}

/// A set's name.
pub(crate) fn set_name(message: &Received<'_>) -> Option<String> {
    text(body(message), set::NAME)
}

/// A set's name, and the types of its key and data.
pub(crate) fn set(message: &Received<'_>) -> Option<(String, (u32, u32))> {
    Some((set_name(message)?, set_shape(message)?))
}

/// The types of a set's key and of its data, as nft numbers them.
pub(crate) fn set_shape(message: &Received<'_>) -> Option<(u32, u32)> {
    let body = body(message);
    Some((number(body, set::KEY_TYPE)?, number(body, set::DATA_TYPE).unwrap_or(0)))
}

/// The elements of one answer.
pub(crate) fn elements(message: &Received<'_>, (key, value): (u32, u32)) -> Vec<Element> {
    let list = find(body(message), element::LIST_ELEMENTS).unwrap_or_default();
    attributes(list).filter_map(|(_, e)| one_element(e, key, value)).collect()
}

fn one_element(e: &[u8], key: u32, value: u32) -> Option<Element> {
    let data = find(e, element::DATA).unwrap_or_default();
    let plain = find(data, data::VALUE).map(|v| Data::Value(Key::read(v, value)));
    let ruling = || find(data, data::VERDICT).and_then(verdict).map(Data::Verdict);
    Some(Element {
        key: Key::read(find(find(e, element::KEY)?, data::VALUE)?, key),
        data: plain.or_else(ruling).unwrap_or_default(),
        comment: find(e, element::USERDATA).and_then(userdata::comment),
    })
}

fn verdict(nest: &[u8]) -> Option<Verdict> {
    use abi::verdict as code;
    let chain = || text(nest, data::VERDICT_CHAIN).unwrap_or_default();
    Some(match number(nest, data::VERDICT_CODE)? as i32 {
        code::DROP => Verdict::Drop,
        code::ACCEPT => Verdict::Accept,
        code::CONTINUE => Verdict::Continue,
        code::RETURN => Verdict::Return,
        code::JUMP => Verdict::Jump(chain()),
        code::GOTO => Verdict::Goto(chain()),
        _ => return None,
    })
}

/// An expression as the kernel lists it.
struct Found<'a> {
    name: String,
    data: &'a [u8],
}

impl<'a> Found<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let data = find(bytes, abi::expr::DATA).unwrap_or_default();
        Some(Self { name: text(bytes, abi::expr::NAME)?, data })
    }

    /// `NFTA_IMMEDIATE_DATA` as a verdict.
    fn verdict(&self) -> Option<Verdict> {
        let data = (self.name == "immediate").then(|| find(self.data, 2)).flatten()?;
        find(data, data::VERDICT).and_then(verdict)
    }

    fn target(&self) -> Option<String> {
        self.verdict()?.target().map(str::to_owned)
    }

    /// `NFTA_LOOKUP_SET`.
    fn set(&self) -> Option<String> {
        (self.name == "lookup").then(|| text(self.data, 1)).flatten()
    }

    /// `NFTA_MATCH_NAME`, `NFTA_MATCH_INFO`; the latter is `struct xt_comment_info`, a string.
    fn iptables_comment(&self) -> Option<String> {
        let ours = self.name == "match" && text(self.data, 1).as_deref() == Some("comment");
        ours.then(|| text(self.data, 3)).flatten()
    }

    /// `NFTA_META_KEY` of a load.
    fn loads_mark(&self) -> bool {
        let mark = crate::expr::Meta::Mark as u32;
        self.name == "meta" && number(self.data, 2) == Some(mark) && find(self.data, 3).is_none()
    }

    /// `NFTA_BITWISE_MASK`, if `NFTA_BITWISE_XOR` is zero.
    fn mask(&self) -> Option<u32> {
        let part = |kind| find(find(self.data, kind)?, data::VALUE).and_then(u32_of);
        (self.name == "bitwise" && part(5) == Some(0)).then(|| part(4)).flatten()
    }

    /// `NFTA_CMP_DATA` of `NFT_CMP_EQ`.
    fn compared(&self) -> Option<&'a [u8]> {
        let plain = self.name == "cmp" && number(self.data, 2) == Some(0);
        plain.then(|| find(find(self.data, 3)?, data::VALUE)).flatten()
    }

    fn equals(&self) -> Option<u32> {
        self.compared().and_then(u32_of)
    }
}

fn accepts_mark(exprs: &[Found<'_>]) -> Option<u32> {
    let mut rest = exprs.iter().filter(|e| e.name != "counter");
    rest.next().filter(|e| e.loads_mark())?;
    let mask = rest.next()?.mask()?;
    rest.next().filter(|e| e.equals() == Some(mask))?;
    let accepts = rest.next()?.verdict() == Some(Verdict::Accept);
    (accepts && rest.next().is_none()).then_some(mask)
}

pub(crate) fn text(bytes: &[u8], kind: u16) -> Option<String> {
    find(bytes, kind).map(str_of)
}

pub(crate) fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    find(bytes, kind).and_then(be32_of)
}
