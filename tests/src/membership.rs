//! A node's part of an overlay network, as netd writes it: for tests in which no netd runs.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::namespace::succeed;

impl Lab {
    /// Writes what netd would have written of a network of 10.77.0.0/16 and fd77::/48, with these
    /// changes.
    pub fn join_overlay(&self, network: &str, changes: Value) {
        let mut note = json!({
            "schema": 1,
            "network": {
                "name": network, "id": "0123456789abcdef", "vni": 4100,
                "subnets": ["10.77.0.0/16", "fd77::/48"],
                "blockV4": 24, "blockV6": 64, "port": 4789, "inbound": "published",
            },
            "blocks": ["10.77.1.0/24", "fd77:0:0:1::/64"],
            "mtu": 1450,
        });
        for (key, value) in changes.as_object().unwrap() {
            note[key] = value.clone();
        }
        let folder = self.folder().join("run/overlay/networks");
        fs::create_dir_all(&folder).unwrap();
        // By the hash of its name, as all files are whose names others choose.
        let hash =
            succeed(Command::new("sh").args(["-c", "printf %s \"$0\" | sha256sum", network]));
        fs::write(folder.join(format!("{}.json", &hash[..16])), note.to_string()).unwrap();
    }
}
