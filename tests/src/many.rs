//! Names by the thousand, without the containers that have them, and questions for them.

use std::fs;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::lab::Lab;

impl Lab {
    /// Writes a record for each of so many attachments, as the plugin that registers names does
    /// for interfaces of other programs' making. One of the network is attached already; the
    /// others are on the same boot and network, and ask at the same gateway.
    pub fn record_names(&self, count: usize) {
        let folder = self.folder().join("run/attachments");
        let own = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let own: Value = serde_json::from_slice(&fs::read(own).unwrap()).unwrap();
        let gateway = &own["names"]["asks"][0];
        for number in 0..count {
            let (name, address) = numbered(number);
            let record = json!({
                "schema": own["schema"], "boot": own["boot"], "network": own["network"],
                "owner": format!("{number:0>64x}"), "slot": "eth0",
                "addresses": [{"address": format!("{address}/16"), "gateway": gateway}],
                "names": {"names": [name], "asks": [gateway]},
            });
            // Renamed into place: nobody reads it half.
            let new = folder.join(".many.new");
            fs::write(&new, record.to_string()).unwrap();
            fs::rename(new, folder.join(format!("{number:032x}.json"))).unwrap();
        }
    }
}

/// The name that [`Lab::record_names`] gives to this number, and its address in 10.61.0.0/16.
pub fn numbered(number: usize) -> (String, Ipv4Addr) {
    let (high, low) = (1 + number / 250, 1 + number % 250);
    (format!("n{number}"), Ipv4Addr::new(10, 61, high as u8, low as u8))
}

/// A question for a name's IPv4 address, where building a message costs too much.
pub fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}
