//! Which names there are: an index over the records, kept as they are.

mod directory;
mod entry;
mod index;

pub use directory::Directory;
pub use entry::{Asked, Entry, Membership, Netns};
pub use index::{Entries, Index};
