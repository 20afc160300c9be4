//! JSON read the way Go programs read it, which is the way every CNI config was written.
//!
//! Runtimes send keys in their own case (`HostPort` for `hostPort`), empty texts for absent
//! values and booleans as texts. So here:
//! * the names of struct fields match without regard to ASCII case, an exact match first;
//!   the keys of maps stay as they are;
//! * a `null` field is an absent field, and an `Option` of `""` is `None`;
//! * where a bool is asked, `"true"` and `"false"` in any case will do;
//! * an error names the place: `ipam.ranges[0][0].subnet: invalid value "10.1.0.0/33": ...`.
//!
//! Inside `#[serde(flatten)]`, `untagged` and internally tagged types serde buffers the input
//! by itself, and none of this holds there: do not use them in a config.

mod access;
mod error;
mod reader;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

pub use error::Error;

use reader::Reader;

/// Reads a `T` out of a parsed document.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    from_ref(&value)
}

/// Reads a `T` out of a parsed document without taking it; `T` may borrow texts from it.
pub fn from_ref<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, Error> {
    T::deserialize(Reader(value))
}

/// Parses a document and reads a `T` out of it.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_slice(text.as_bytes())
}

/// Parses a document and reads a `T` out of it.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Error::syntax(&error))?;
    from_value(value)
}

/// The value of a top-level key, found as a struct field would be.
pub(crate) fn field<'v>(
    object: &'v serde_json::Map<String, Value>,
    name: &str,
) -> Option<&'v Value> {
    object.get(name).or_else(|| {
        object.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

/// Indented by four spaces, no newline at the end: the layout of the reference plugins.
pub(crate) fn to_pretty<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer =
        Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    // Writing our own derived types into memory has no way to fail.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
