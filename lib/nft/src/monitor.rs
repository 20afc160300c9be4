//! What others change in nf_tables, as the kernel tells it: a transaction at a time, with the
//! program that made it and the tables that it touched. Says what kind of thing changed where, not
//! what it is now, so that thousands of elements cost no more than to be read over; a listener that
//! cannot follow is told that it missed some.

use std::os::fd::{AsFd, BorrowedFd};

use cleat_kernel::Drained;
use cleat_kernel::socket::{Protocol, Socket};
use cleat_kernel::wire::Received;

use crate::abi::{self, element, generation, msg};
use crate::error::Result;
use crate::read;

/// A reload of 10,000 elements is some 3 MiB.
const QUEUE: usize = 16 * 1024 * 1024;

/// A transaction that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The name of the process, as the kernel has it: at most 15 bytes. Empty for a transaction
    /// whose end was missed.
    pub program: String,
    /// The id of the thread that made it, in the listener's pid namespace.
    pub thread: u32,
    /// What it touched.
    pub tables: Vec<Touched>,
}

/// What a transaction did to a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// The family's number (`NFPROTO_*`).
    pub family: u8,
    /// The table's name.
    pub table: String,
    /// The table itself, a chain, a rule or a set of it is gone.
    pub cut: bool,
    /// The table itself, a chain, a rule or a set of it came or was changed.
    pub laid: bool,
    /// Elements of its sets are gone.
    pub emptied: bool,
    /// Its sets that elements were added to.
    pub filled: Vec<String>,
}

/// A listener of one network namespace. Readable (poll) when [`Monitor::drain`] has something to
/// say.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    open: Vec<Touched>,
}

impl Monitor {
    /// Listens in the calling thread's namespace from now on.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(Protocol::Netfilter)?;
        // Without the right to it the queue is shorter, and more is lost.
        let _ = socket.set_receive_buffer(QUEUE);
        socket.join(abi::GROUP)?;
        Ok(Self { socket, open: Vec::new() })
    }

    /// The transactions since the last call, in order, and whether some are missing; never waits.
    pub fn drain(&mut self) -> Result<(Vec<Commit>, Drained)> {
        let mut commits = Vec::new();
        let open = &mut self.open;
        let drained = self.socket.drain(|message| commits.extend(hear(open, &message)))?;
        if drained == Drained::SomeLost {
            open.clear();
        }
        Ok((commits, drained))
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Notes what a message tells; the transaction, if it ends one.
fn hear(open: &mut Vec<Touched>, message: &Received<'_>) -> Option<Commit> {
    if message.kind == msg::NEWGEN {
        let body = read::body(message);
        return Some(Commit {
            program: read::text(body, generation::NAME).unwrap_or_default(),
            thread: read::number(body, generation::PROCESS).unwrap_or_default(),
            tables: std::mem::take(open),
        });
    }
    let family = *message.payload.first()?;
    let table = read::table_of(message)?;
    let known = open.iter().position(|t| t.family == family && t.table == table);
    let touched = match known {
        Some(at) => open.get_mut(at)?,
        None => {
            open.push(Touched { family, table, ..Touched::default() });
            open.last_mut()?
        }
    };
    match message.kind {
        msg::DELTABLE | msg::DELCHAIN | msg::DELRULE | msg::DELSET => touched.cut = true,
        msg::NEWTABLE | msg::NEWCHAIN | msg::NEWRULE | msg::NEWSET => touched.laid = true,
        msg::DELSETELEM => touched.emptied = true,
        msg::NEWSETELEM => {
            let set = read::text(read::body(message), element::LIST_SET)?;
            if !touched.filled.contains(&set) {
                touched.filled.push(set);
            }
        }
        _ => {}
    }
    None
}
