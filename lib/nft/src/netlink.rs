//! The kernel as a backend. One socket, opened at first use in the calling thread's network
//! namespace and kept: closing a nfnetlink socket waits up to 7 ms while deletions are pending,
//! so the owner decides when.

use std::os::fd::{AsFd, BorrowedFd};

use cleat_kernel::socket::{Protocol, Refusal, Socket};
use cleat_kernel::wire::{Ack, Batch, Message, Received, flags};
use rustix::io::Errno;

use crate::abi::{chain, element, msg, rule, set, table};
use crate::backend::{Backend, ChainInfo, RuleInfo};
use crate::batch::{self, Deleting, Encoded, Origin};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::read;
use crate::set::Element;
use crate::table::{Family, Table};
use crate::transaction::{Op, Transaction};

/// How often a deletion is begun anew because an element went away meanwhile.
const TRIES: usize = 16;

/// nf_tables of the network namespace in which it is first used.
#[derive(Debug, Default)]
pub struct Netlink {
    socket: Option<Socket>,
    /// The kernel lacks `DESTROYSETELEM`.
    old: bool,
}

impl Netlink {
    /// Opens nothing yet.
    pub fn open() -> Self {
        Self::default()
    }

    /// Over this socket, which is of the netfilter protocol.
    pub fn over(socket: Socket) -> Self {
        Self { socket: Some(socket), old: false }
    }

    /// The socket, opened if it was not; of use to others too, as for conntrack.
    pub fn socket(&mut self) -> Result<&mut Socket> {
        match &mut self.socket {
            Some(socket) => Ok(socket),
            none => Ok(none.insert(Socket::open(Protocol::Netfilter)?)),
        }
    }

    /// The socket, if it was opened: whoever holds it decides when it is closed.
    pub fn into_socket(self) -> Option<Socket> {
        self.socket
    }

    /// The socket's descriptor, if it was opened.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Does as a kernel before Linux 6.3 makes it do: deletes elements one by one.
    pub fn without_destroy(mut self) -> Self {
        self.old = true;
        self
    }

    fn dump<T>(
        &mut self,
        op: &'static str,
        (kind, family): (u16, u8),
        fill: impl FnOnce(&mut Message<'_>),
        parse: impl Fn(&Received<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut request = Batch::new();
        fill(&mut request.message(kind, flags::DUMP, &batch::header(family)));
        Ok(self.socket()?.dump(op, &mut request, |m| parse(&m))?)
    }

    /// All rules of a table, each with its chain's name; chain by chain, in order.
    pub(crate) fn rules_of_all(&mut self, table: Table) -> Result<Vec<(String, RuleInfo)>> {
        let fill = |m: &mut Message<'_>| _ = m.str(rule::TABLE, table.name);
        let ours =
            |m: &Received<'_>| (read::table_of(m)? == table.name).then(|| read::any_rule(m))?;
        let request = (msg::GETRULE, table.family.number());
        absent_is_empty(self.dump("list rules", request, fill, ours))
    }

    /// The sets and maps of a table with the types of their keys and data.
    pub(crate) fn sets_with_types(&mut self, table: Table) -> Result<Vec<(String, (u32, u32))>> {
        let fill = |m: &mut Message<'_>| _ = m.str(set::TABLE, table.name);
        absent_is_empty(self.dump(
            "list sets",
            (msg::GETSET, table.family.number()),
            fill,
            read::set,
        ))
    }

    fn send(&mut self, encoded: &mut Encoded) -> Result<std::result::Result<(), Refusal>> {
        // The edges of a batch are not acknowledged: without a step there is nothing to wait for.
        if encoded.origins.is_empty() {
            return Ok(Ok(()));
        }
        let last = Ack::At(encoded.batch.len().saturating_sub(2));
        Ok(self.socket()?.exchange(&mut encoded.batch, last, |_| {})?)
    }

    /// For kernels without `DESTROYSETELEM`: deletes what is there, one by one, and begins anew
    /// without what went away meanwhile.
    fn commit_old(&mut self, transaction: &Transaction) -> Result<()> {
        let mut present = self.present(transaction)?;
        for _ in 0..TRIES {
            let mut encoded = batch::encode(transaction, &Deleting::Present(&present));
            let Err(refusal) = self.send(&mut encoded)? else {
                return Ok(());
            };
            let Some(gone) = vanished(transaction, &refusal, &encoded.origins) else {
                return Err(refused(transaction, refusal, &encoded.origins));
            };
            present.retain(|p| *p != gone);
        }
        Err(cleat_kernel::Error::Interrupted { op: "delete elements", tries: TRIES as u32 }.into())
    }

    fn present(&mut self, transaction: &Transaction) -> Result<Vec<(usize, usize)>> {
        let mut present = Vec::new();
        for (step, (table, op)) in transaction.steps.iter().enumerate() {
            let Op::DestroyElements(set, elements) = op else {
                continue;
            };
            for (n, element) in elements.iter().enumerate() {
                if self.element(*table, set, &element.key)?.is_some() {
                    present.push((step, n));
                }
            }
        }
        Ok(present)
    }

    /// The types of the set's key and data.
    fn shape(&mut self, table: Table, name: &str) -> Result<Option<(u32, u32)>> {
        let mut request = Batch::new();
        request
            .message(msg::GETSET, 0, &batch::header(table.family.number()))
            .str(set::TABLE, table.name)
            .str(set::NAME, name);
        Ok(self.socket()?.ask("get set", &mut request, |m| read::set_shape(&m))?)
    }
}

impl Backend for Netlink {
    fn commit(&mut self, transaction: &Transaction) -> Result<()> {
        if transaction.is_empty() {
            return Ok(());
        }
        if self.old {
            return self.commit_old(transaction);
        }
        let mut encoded = batch::encode(transaction, &Deleting::Destroy);
        let Err(refusal) = self.send(&mut encoded)? else {
            return Ok(());
        };
        if lacks_destroy(transaction, &refusal, &encoded.origins) {
            self.commit_old(transaction)?;
            // Only now is it sure that the refusal was about the kernel, not about a key.
            self.old = true;
            return Ok(());
        }
        Err(refused(transaction, refusal, &encoded.origins))
    }

    fn table_exists(&mut self, table: Table) -> Result<bool> {
        let mut request = Batch::new();
        request
            .message(msg::GETTABLE, 0, &batch::header(table.family.number()))
            .str(table::NAME, table.name);
        let found = self.socket()?.ask("get table", &mut request, |m| read::table(&m))?;
        Ok(found.is_some())
    }

    fn tables(&mut self) -> Result<Vec<(u8, String)>> {
        self.dump("list tables", (msg::GETTABLE, 0), |_| {}, read::table)
    }

    fn chains(&mut self, family: Family, table: &str) -> Result<Vec<ChainInfo>> {
        let fill = |m: &mut Message<'_>| _ = m.str(chain::TABLE, table);
        let parse = |m: &Received<'_>| read::chain(m, table);
        absent_is_empty(self.dump("list chains", (msg::GETCHAIN, family.number()), fill, parse))
    }

    fn rules(&mut self, family: Family, table: &str, chain: &str) -> Result<Vec<RuleInfo>> {
        let fill = |m: &mut Message<'_>| _ = m.str(rule::TABLE, table).str(rule::CHAIN, chain);
        let parse = |m: &Received<'_>| read::rule(m, (table, chain));
        absent_is_empty(self.dump("list rules", (msg::GETRULE, family.number()), fill, parse))
    }

    fn sets(&mut self, table: Table) -> Result<Vec<String>> {
        Ok(self.sets_with_types(table)?.into_iter().map(|(name, _)| name).collect())
    }

    fn elements(&mut self, table: Table, set: &str) -> Result<Vec<Element>> {
        let Some(shape) = self.shape(table, set)? else {
            return Err(absent(table, set));
        };
        let fill = |m: &mut Message<'_>| {
            m.str(element::LIST_TABLE, table.name).str(element::LIST_SET, set);
        };
        let request = (msg::GETSETELEM, table.family.number());
        let parts = self
            .dump("list elements", request, fill, |m| Some(read::elements(m, shape)))
            .map_err(|e| if e.is_not_found() { absent(table, set) } else { e })?;
        Ok(parts.into_iter().flatten().collect())
    }

    fn element(&mut self, table: Table, set: &str, key: &Key) -> Result<Option<Element>> {
        let Some(shape) = self.shape(table, set)? else {
            return Ok(None);
        };
        let mut request = Batch::new();
        request
            .message(msg::GETSETELEM, 0, &batch::header(table.family.number()))
            .str(element::LIST_TABLE, table.name)
            .str(element::LIST_SET, set)
            .nest(element::LIST_ELEMENTS, |l| {
                l.nest(crate::abi::LIST_ELEM, |e| batch::key(e, key.bytes()));
            });
        let read = |m: Received<'_>| read::elements(&m, shape).pop();
        Ok(self.socket()?.ask("get element", &mut request, read)?)
    }
}

fn absent_is_empty<T>(found: Result<Vec<T>>) -> Result<Vec<T>> {
    match found {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}

fn absent(table: Table, set: &str) -> Error {
    let object = format!("{set} in table {table}");
    cleat_kernel::Error::kernel("list elements of", object, Errno::NOENT).into()
}

/// Which message of the transaction a refusal is about; the first is the batch's begin.
fn origin<'a>(refusal: &Refusal, origins: &'a [Origin]) -> Option<&'a Origin> {
    origins.get(refusal.index.checked_sub(1)?)
}

fn deletes(transaction: &Transaction, origin: &Origin) -> bool {
    matches!(transaction.steps.get(origin.step), Some((_, Op::DestroyElements(..))))
}

fn lacks_destroy(transaction: &Transaction, refusal: &Refusal, origins: &[Origin]) -> bool {
    matches!(refusal.errno, Errno::INVAL | Errno::OPNOTSUPP)
        && origin(refusal, origins).is_some_and(|o| deletes(transaction, o))
}

/// The (step, element) that was to be deleted and is not there.
fn vanished(
    transaction: &Transaction,
    refusal: &Refusal,
    origins: &[Origin],
) -> Option<(usize, usize)> {
    let origin = origin(refusal, origins).filter(|o| deletes(transaction, o))?;
    (refusal.errno == Errno::NOENT).then_some((origin.step, origin.elements.start))
}

fn refused(transaction: &Transaction, refusal: Refusal, origins: &[Origin]) -> Error {
    let origin = origin(&refusal, origins);
    let element = origin.map(|o| &o.elements).filter(|r| r.len() == 1).map(|r| r.start);
    let step = origin.map_or(usize::MAX, |o| o.step);
    let Refusal { errno, text, .. } = refusal;
    Error::Refused { op: transaction.describe(step, element), errno, text, element }
}
