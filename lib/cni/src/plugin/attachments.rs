//! The list of attachments that GC must keep.
//!
//! What is not in it is collected, so a list that is absent or cannot be read in full is an
//! error and never an empty list.

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, json};

/// The key of 1.1.0, then the one that libcni sent before it.
pub(crate) const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// An attachment that GC must keep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct ValidAttachment {
    /// The container's id.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface's name in the container.
    pub ifname: String,
}

impl ValidAttachment {
    pub(crate) fn to_value(&self) -> Value {
        serde_json::json!({"containerID": self.container_id, "ifname": self.ifname})
    }
}

/// `null` is the empty list: libcni writes it so.
///
/// # Errors
/// Code 7.
pub(super) fn read(raw: &Value) -> Result<Vec<ValidAttachment>, Error> {
    let object = raw.as_object();
    let found = KEYS.iter().find_map(|key| Some((*key, json::field(object?, key)?)));
    match found {
        Some((_, Value::Null)) => Ok(Vec::new()),
        Some((key, list)) => json::from_ref(list).map_err(|error| {
            let separator = if error.path().is_empty() { ": " } else { "" };
            Error::invalid_config(format!("{key}{separator}{error}"))
        }),
        None => Err(Error::invalid_config(format!("missing field {:?}", KEYS[0]))
            .with_details("GC removes every attachment that is not in this list")),
    }
}
