//! `cleat network`: conflists as networks.

pub(crate) mod args;
mod conflist;
mod connect;
pub(crate) mod create;
mod inspect;
pub(crate) mod known;
mod link;
mod list;
mod options;
pub(crate) mod overlay;
pub(crate) mod remove;
mod settings;
mod settle;
pub(crate) mod subnets;
pub(crate) mod usage;

pub(crate) use args::Verb;
pub(crate) use known::{Known, Network};

use crate::context::Context;
use crate::error::Result;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create(asked) => create::run(context, &asked),
        Verb::Ls(asked) => list::run(context, &asked),
        Verb::Inspect(asked) => inspect::run(context, &asked),
        Verb::Rm(asked) => remove::run(context, &asked),
        Verb::Prune(asked) => remove::prune(context, &asked),
        Verb::Connect(asked) => connect::connect(context, &asked),
        Verb::Disconnect(asked) => connect::disconnect(context, &asked),
    }
}
