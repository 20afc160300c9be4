//! Why a document is not the one expected, and where.

use std::fmt::{self, Write as _};

use serde::de::{Expected, Unexpected};

/// What is wrong at which place of a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Innermost first: it grows while the error travels outwards.
    path: Vec<Segment>,
    message: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syntax,
    Data,
    /// Made by a type's own parser, which did not know that it should name the value.
    Custom,
}

impl Error {
    /// The place, such as `ipam.ranges[0][0].subnet`; empty for the whole document.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.path.iter().rev() {
            segment.append_to(&mut path);
        }
        path
    }

    /// What is wrong there.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the text is not JSON at all.
    pub fn is_syntax(&self) -> bool {
        self.kind == Kind::Syntax
    }

    pub(super) fn syntax(error: &serde_json::Error) -> Self {
        Self { path: Vec::new(), message: error.to_string(), kind: Kind::Syntax }
    }

    pub(super) fn at_key(mut self, key: &str) -> Self {
        self.path.push(Segment::Key(key.to_owned()));
        self
    }

    pub(super) fn at_index(mut self, index: usize) -> Self {
        self.path.push(Segment::Index(index));
        self
    }

    /// Adds the value and what was expected to the error of a type's own parser.
    pub(super) fn about_text(self, text: &str, expected: &str) -> Self {
        if self.kind != Kind::Custom {
            return self;
        }
        let message = format!("invalid value {text:?}: expected {expected} ({})", self.message);
        Self { message, kind: Kind::Data, ..self }
    }

    fn data(message: String) -> Self {
        Self { path: Vec::new(), message, kind: Kind::Data }
    }
}

impl Segment {
    fn append_to(&self, path: &mut String) {
        match self {
            Self::Index(index) => {
                // Writing into a String does not fail.
                let _ = write!(path, "[{index}]");
            }
            Self::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                let plain = |c: char| c.is_alphanumeric() || "-_/".contains(c);
                if !key.is_empty() && key.chars().all(plain) {
                    path.push_str(key);
                } else {
                    let _ = write!(path, "{key:?}");
                }
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path())?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: Vec::new(), message: message.to_string(), kind: Kind::Custom }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::data(format!("invalid value {}: expected {expected}", Found(found)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::data(format!("a list of {length}: expected {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::data(format!("invalid value {variant:?}: expected {}", OneOf(expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::data(format!("unknown field {field:?}: expected {}", OneOf(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::data(format!("missing field {field:?}"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::data(format!("duplicate field {field:?}"))
    }
}

struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(value) => write!(f, "{value}"),
            Unexpected::Unsigned(value) => write!(f, "{value}"),
            Unexpected::Signed(value) => write!(f, "{value}"),
            Unexpected::Float(value) => write!(f, "{value}"),
            Unexpected::Str(value) => write!(f, "{value:?}"),
            Unexpected::Unit | Unexpected::Option => f.write_str("null"),
            Unexpected::Seq => f.write_str("[...]"),
            Unexpected::Map => f.write_str("{...}"),
            other => write!(f, "{other}"),
        }
    }
}

struct OneOf(&'static [&'static str]);

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.0.iter().enumerate() {
            let before = match position {
                0 if self.0.len() > 1 => "one of ",
                0 => "",
                _ => ", ",
            };
            write!(f, "{before}{name:?}")?;
        }
        if self.0.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}
