//! Sets, maps, verdict maps and their elements. Hash sets only: interval sets cost a walk or a
//! rebuild per change, so ranges are expanded by the caller.

use std::fmt;

use crate::key::{Key, Type};

/// A set, a map or a verdict map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name within the table.
    pub name: String,
    /// The types of the key's fields; at most five.
    pub key: Vec<Type>,
    /// The types of the data's fields for a map; `[Verdict]` for a verdict map.
    pub data: Option<Vec<Type>>,
    /// Shown by `nft list`.
    pub comment: Option<String>,
}

impl Set {
    /// A set of these keys.
    pub fn new(name: impl Into<String>, key: &[Type]) -> Self {
        Self { name: name.into(), key: key.to_vec(), data: None, comment: None }
    }

    /// A map from these keys to this data.
    pub fn map(name: impl Into<String>, key: &[Type], data: &[Type]) -> Self {
        Self { data: Some(data.to_vec()), ..Self::new(name, key) }
    }

    pub(crate) fn is_verdict_map(&self) -> bool {
        self.data.as_deref() == Some(&[Type::Verdict])
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this hook's chain; later chains are still asked.
    Accept,
    /// It is dropped.
    Drop,
    /// Back to the calling chain, or to the policy.
    Return,
    /// On to the next rule.
    Continue,
    /// To a chain, and back.
    Jump(String),
    /// To a chain, without coming back.
    Goto(String),
}

impl Verdict {
    /// The chain it leads to.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Continue => f.write_str("continue"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// What an element maps its key to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Data {
    /// Nothing: it is a set's.
    #[default]
    None,
    /// A value, for a map.
    Value(Key),
    /// A verdict, for a verdict map.
    Verdict(Verdict),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key.
    pub key: Key,
    /// What it maps to.
    pub data: Data,
    /// Shown by `nft list`; at most 127 bytes are kept.
    pub comment: Option<String>,
}

impl Element {
    /// A set's element.
    pub fn new(key: Key) -> Self {
        Self { key, data: Data::None, comment: None }
    }

    /// A map's element.
    pub fn map(key: Key, data: Key) -> Self {
        Self { key, data: Data::Value(data), comment: None }
    }

    /// A verdict map's element.
    pub fn verdict(key: Key, verdict: Verdict) -> Self {
        Self { key, data: Data::Verdict(verdict), comment: None }
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(comment) = &self.comment {
            write!(f, " comment {comment:?}")?;
        }
        match &self.data {
            Data::None => Ok(()),
            Data::Value(value) => write!(f, " : {value}"),
            Data::Verdict(verdict) => write!(f, " : {verdict}"),
        }
    }
}
