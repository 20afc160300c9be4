//! nf_tables over netlink: tables, chains, rules, sets, maps, and one transaction for all of a
//! change. A [`Backend`] is the kernel ([`Netlink`]) or a stand-in that keeps state ([`Fake`]).
//!
//! It starts no program, knows no network and no container, and makes no interval sets.

mod abi;
mod backend;
mod batch;
mod error;
pub mod expr;
mod fake;
mod key;
mod layout;
mod monitor;
mod netlink;
mod read;
mod rule;
mod set;
mod table;
mod transaction;
mod userdata;

pub use backend::{Backend, ChainBase, ChainInfo, RuleInfo};
pub use error::{Error, Result};
pub use expr::{Expr, Guard, Reject, Select};
pub use fake::Fake;
pub use key::{Field, Key, Type};
pub use layout::Layout;
pub use monitor::{Commit, Monitor, Touched};
pub use netlink::Netlink;
pub use rule::Rule;
pub use set::{Data, Element, Set, Verdict};
pub use table::{Base, Family, Hook, Kind, Table};
pub use transaction::Transaction;
