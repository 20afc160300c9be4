//! Volumes in memory. Their content lives as long as somebody has them mounted.

use cleat_kernel::mount::Detached;

use super::{LABEL, has_selinux};
use crate::error::Result;
use crate::spec::{Access, Tmpfs};

pub(super) fn mount(tmpfs: &Tmpfs, access: &Access) -> Result<Detached> {
    let octal = |mode: u32| format!("{mode:o}");
    let values = [
        ("size", tmpfs.size.clone()),
        ("nr_inodes", tmpfs.inodes.map(|n| n.to_string())),
        ("mode", tmpfs.mode.map(octal)),
        ("uid", tmpfs.uid.map(|n| n.to_string())),
        ("gid", tmpfs.gid.map(|n| n.to_string())),
        ("huge", tmpfs.huge.clone()),
        ("context", has_selinux().then(|| LABEL.to_owned())),
    ];
    let mut parameters = vec![("source", Some("cleat"))];
    for (key, value) in &values {
        if let Some(value) = value {
            parameters.push((*key, Some(value.as_str())));
        }
    }
    Ok(Detached::new("tmpfs", &parameters, access.attributes())?)
}
