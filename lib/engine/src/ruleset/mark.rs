//! Which bit of the packet mark the tables were laid with, where that is not the default one:
//! whoever finds that another is wanted now lays them anew.

use cleat_records::{Document, Durability, Store};
use serde::{Deserialize, Serialize};

use crate::Node;
use crate::error::Result;
use crate::settings::DEFAULT_MARK;

#[derive(Serialize, Deserialize)]
struct Laid {
    mark: u32,
}

impl Document for Laid {
    const SCHEMA: u32 = 1;
}

const NAME: &str = "mark";

/// The bit in the tables.
pub(super) fn laid(node: &Node) -> Result<u32> {
    Ok(store(node).read(NAME)?.map_or(DEFAULT_MARK, |laid| laid.mark))
}

/// The bit that is wanted; that of the tables, with a warning, where that cannot be said.
pub(super) fn wanted(node: &Node) -> Result<u32> {
    node.mark().or_else(|error| {
        node.warn(&error.to_string());
        laid(node)
    })
}

/// Notes that the tables have it.
pub(super) fn note(node: &Node, mark: u32) -> Result<()> {
    if mark == DEFAULT_MARK {
        return forget(node);
    }
    Ok(store(node).replace(NAME, &Laid { mark })?)
}

/// Forgets it, with the tables.
pub(super) fn forget(node: &Node) -> Result<()> {
    store(node).remove(NAME)?;
    Ok(())
}

fn store(node: &Node) -> Store<Laid> {
    Store::open(node.dirs().run.clone(), Durability::Runtime)
}
