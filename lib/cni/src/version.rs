//! The released versions of the CNI specification, in order.
//!
//! A closed list: a version that is not in it is not a `SpecVersion`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A released version of the CNI specification. Later versions compare greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecVersion {
    /// 0.1.0: `ip4` and `ip6` objects in the result. A config without `cniVersion` means this one.
    #[default]
    V0_1_0,
    /// 0.2.0: the VERSION command, `args` reserved.
    V0_2_0,
    /// 0.3.0: result lists, chains of plugins, capabilities.
    V0_3_0,
    /// 0.3.1: corrects a misprint of 0.3.0.
    V0_3_1,
    /// 0.4.0: CHECK, and `prevResult` for DEL.
    V0_4_0,
    /// 1.0.0: no `version` in `ips`, no single-plugin files.
    V1_0_0,
    /// 1.1.0: GC, STATUS, `cniVersions`.
    V1_1_0,
}

impl SpecVersion {
    /// Every version, oldest first.
    pub const ALL: &'static [Self] = &[
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest version that this crate speaks.
    pub const CURRENT: Self = Self::V1_1_0;

    /// The version as it is written in a config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether CHECK exists, and DEL is given `prevResult`.
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether GC and STATUS exist.
    pub fn has_gc(self) -> bool {
        self >= Self::V1_1_0
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is no released version of the specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "CNI version {0:?} is unknown: expected one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
)]
pub struct UnknownVersion(pub String);

impl FromStr for SpecVersion {
    type Err = UnknownVersion;

    /// The empty text means 0.1.0, as libcni has it.
    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        if text.is_empty() {
            return Ok(Self::V0_1_0);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

impl Serialize for SpecVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SpecVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = SpecVersion;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CNI version")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SpecVersion, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_order() {
        assert!(SpecVersion::ALL.is_sorted());
        for version in SpecVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(*version));
        }
        assert_eq!("".parse(), Ok(SpecVersion::V0_1_0));
        assert!("1.2.0".parse::<SpecVersion>().is_err());
    }
}
