//! Which names volumes have. A name becomes the name of a directory, so that it must not be a
//! path, nor look like another one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Longest name in bytes: that of a file (255), less room for what is put before and behind it.
pub(crate) const MAX: usize = 220;

/// A valid name: Docker's rule, ASCII only, so that no two names look alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

impl VolumeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let valid = name.len() <= MAX
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if valid { Ok(Self(name.to_owned())) } else { Err(Error::Name { name: shortened(name) }) }
    }
}

/// An error is no place for a megabyte.
fn shortened(name: &str) -> String {
    let mut text: String = name.chars().take(MAX).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    text
}

impl TryFrom<String> for VolumeName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(MAX);
        for name in ["a", "web-data", "a.b_c-1", "0", "a..b", &long] {
            assert_eq!(name.parse::<VolumeName>().unwrap().as_str(), name);
        }
        let longer = "x".repeat(MAX + 1);
        for name in [
            "", ".", "..", "../a", "a/b", "/a", ".a", "-a", "_a", "a b", "a\0", "a\n", "ä", "ａ",
            "а", &longer,
        ] {
            assert!(name.parse::<VolumeName>().is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_component_of_a_path(name in any::<String>()) {
            if let Ok(name) = name.parse::<VolumeName>() {
                let path = std::path::Path::new("/state").join(name.as_str());
                prop_assert_eq!(path.components().count(), 3);
                prop_assert_eq!(path.file_name().unwrap(), name.as_str());
            }
        }
    }
}
