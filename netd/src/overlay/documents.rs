//! The values of the store: JSON with a schema number, written in one line. A value that a newer
//! version wrote is refused for its key alone.

use std::net::IpAddr;

use cleat_engine::overlay::OverlayNetwork;
use cleat_engine::record::Binding;
use cleat_engine::records::Document;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::wireguard::Announcement;

/// Who owns a block, or a single address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The node.
    pub node: String,
    /// Which of its claims this is: random, so that a claim whose answer got lost is known again.
    pub nonce: String,
    /// The node in whose block the address is, and which granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<String>,
}

/// Which network has a VNI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VniHolder {
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub id: String,
}

/// A wish for an address of another node's block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks.
    pub node: String,
    /// Which of its wishes this is.
    pub nonce: String,
    /// Why the owner does not grant it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// A node, as others need to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Host {
    /// Its name, for people.
    pub name: String,
    /// The addresses that others send to, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The version of netd.
    pub version: String,
    /// Its WireGuard keys, signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announcement: Option<Box<Announcement>>,
}

/// Which boot and process of a node is in charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The boot's id.
    pub boot: String,
    /// Random, another one for each start.
    pub instance: String,
    /// The node's name, for people.
    pub name: String,
}

/// A node is to give up its blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When it was asked to, in milliseconds since 1970.
    pub since: u64,
}

/// The names of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Its container.
    pub owner: String,
    /// In lower case, the first one before all.
    pub names: Vec<String>,
    /// A domain that the names stand in, beside that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What is published of it, on its node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Binding>,
}

/// How often the store was found to have gone back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// How often.
    pub number: u64,
    /// The cluster's id at that time, in hexadecimal.
    pub cluster: String,
    /// When, in milliseconds since 1970.
    pub since: u64,
}

macro_rules! documents {
    ($($kind:ty),*) => {
        $(impl Document for $kind {
            const SCHEMA: u32 = 1;
        })*
    };
}

documents!(Claim, VniHolder, Ask, Host, Live, Drain, Names, Epoch);

#[derive(Serialize)]
struct Written<'d, T> {
    schema: u32,
    #[serde(flatten)]
    document: &'d T,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

/// A document as a value.
///
/// # Errors
/// [`Error::Document`]: it is no object.
pub fn encode<T: Document>(key: &str, document: &T) -> Result<String> {
    serde_json::to_string(&Written { schema: T::SCHEMA, document })
        .map_err(|error| malformed(key, error))
}

/// A value as a document.
///
/// # Errors
/// [`Error::Document`]: it is of a newer version, or none.
pub fn decode<T: Document>(key: &str, value: &str) -> Result<T> {
    let Schema { schema } = serde_json::from_str(value).map_err(|error| malformed(key, error))?;
    if schema > T::SCHEMA {
        return Err(Error::Document {
            key: key.to_owned(),
            problem: format!(
                "schema {schema} is newer than {}, the newest this program reads; update netd on this node",
                T::SCHEMA
            ),
        });
    }
    serde_json::from_str(value).map_err(|error| malformed(key, error))
}

/// A network, which must be the one that its key says.
///
/// # Errors
/// [`Error::Document`].
pub fn decode_network(key: &str, name: &str, value: &str) -> Result<OverlayNetwork> {
    let network: OverlayNetwork = decode(key, value)?;
    let problem = if network.name != name {
        format!("holds the network {:?}", network.name)
    } else if network.id.is_empty() || network.id.contains('/') {
        format!("id {:?} cannot be part of a key", network.id)
    } else {
        return Ok(network);
    };
    Err(Error::Document { key: key.to_owned(), problem })
}

fn malformed(key: &str, error: serde_json::Error) -> Error {
    Error::Document { key: key.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_newer_refused() {
        let host = Host {
            name: "a".into(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ..Host::default()
        };
        let text = encode("host/a", &host).unwrap();
        assert_eq!(
            text,
            r#"{"schema":1,"name":"a","addresses":["192.0.2.1","2001:db8::1"],"version":""}"#
        );
        assert_eq!(decode::<Host>("host/a", &text).unwrap(), host);
        for (text, part) in [
            (r#"{"schema":2,"name":7}"#, "schema 2 is newer than 1"),
            (r#"{"schema":1,"name":7}"#, "expected a string"),
            (r#"{"name":"a"}"#, "schema"),
            ("", "EOF"),
        ] {
            let error = decode::<Host>("host/a", text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("host/a"), "{text}: {error}");
        }
    }
}
