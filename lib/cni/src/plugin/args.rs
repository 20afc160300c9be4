//! `CNI_ARGS`: `KEY=value;KEY=value`, deprecated and in universal use.
//!
//! Kept as the text that came: only a plugin that has arguments of its own may refuse them.

use std::collections::BTreeMap;

use crate::Error;

const IGNORE_UNKNOWN: &str = "IgnoreUnknown";

/// The text of `CNI_ARGS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniArgs(String);

impl CniArgs {
    /// Takes any text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The arguments among `known`; of a repeated key the last value counts.
    ///
    /// # Errors
    /// Code 4 for an item without exactly one `=`, and for a key that is not known unless
    /// `IgnoreUnknown` is true.
    pub fn parse(&self, known: &[&str]) -> Result<BTreeMap<String, String>, Error> {
        let mut values = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for item in self.0.split(';').filter(|_| !self.0.is_empty()) {
            let (key, value) =
                item.split_once('=').filter(|(_, value)| !value.contains('=')).ok_or_else(
                    || Error::invalid_environment(format!("ARGS: invalid pair {item:?}")),
                )?;
            if key == IGNORE_UNKNOWN {
                ignore_unknown = boolean(value)?;
            } else if known.contains(&key) {
                values.insert(key.to_owned(), value.to_owned());
            } else {
                unknown.push(format!("{key:?}"));
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            let unknown = unknown.join(" ");
            return Err(Error::invalid_environment(format!("ARGS: unknown args [{unknown}]"))
                .with_details("set IgnoreUnknown=1 in CNI_ARGS to have them ignored"));
        }
        Ok(values)
    }

    /// The last value of `key`, whatever the rest of the text is like.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut items = self.0.split(';').rev().filter_map(|item| item.split_once('='));
        items.find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

fn boolean(value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Error::invalid_environment(format!(
            "ARGS: invalid value {value:?} of {IGNORE_UNKNOWN}: expected true or false"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse() {
        let cases = [
            ("", Ok(vec![])),
            ("IP=10.0.0.1", Ok(vec![("IP", "10.0.0.1")])),
            ("IP=a;IP=b;MAC=", Ok(vec![("IP", "b"), ("MAC", "")])),
            ("K8S_POD_NAME=x;IP=a;IgnoreUnknown=1", Ok(vec![("IP", "a")])),
            ("IgnoreUnknown=TRUE;ip=a", Ok(vec![])),
            ("ip=a;X=b", Err(r#"ARGS: unknown args ["ip" "X"]"#)),
            ("X=b;IgnoreUnknown=0", Err(r#"ARGS: unknown args ["X"]"#)),
            ("X=a=b;IgnoreUnknown=1", Err(r#"ARGS: invalid pair "X=a=b""#)),
            ("IP=a;", Err(r#"ARGS: invalid pair """#)),
            (
                "IgnoreUnknown=yes",
                Err("ARGS: invalid value \"yes\" of IgnoreUnknown: expected true or false"),
            ),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|pairs| {
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
            });
            let found = CniArgs::new(text).parse(&["IP", "MAC"]).map_err(|error| error.msg);
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn get_takes_what_it_can() {
        let args = CniArgs::new("IP=a;;X=b=c;IP=b");
        assert_eq!(args.get("IP"), Some("b"));
        assert_eq!(args.get("X"), Some("b=c"));
        assert_eq!(args.get("ip"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A-Z=;a-z]{0,40}|.*") {
            let _ = CniArgs::new(text).parse(&["IP"]);
        }
    }
}
