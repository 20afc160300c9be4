//! Which names a document may have, and how a name becomes a file name.
//! A name is never a path: what comes from a container runtime must not leave the directory.

use crate::{Error, Result};

/// Longest name in bytes: NAME_MAX (255) less room for the suffixes put behind it.
const MAX: usize = 220;
const SUFFIX: &str = ".json";
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

pub(crate) fn validate(name: &str) -> Result<()> {
    let valid = !name.is_empty()
        && name.len() <= MAX
        && !name.starts_with('.')
        && !name.chars().any(|c| c == '/' || c.is_control());
    if valid { Ok(()) } else { Err(Error::Name { name: name.to_owned(), max: MAX }) }
}

pub(crate) fn file_name(name: &str) -> Result<String> {
    validate(name)?;
    Ok(format!("{name}{SUFFIX}"))
}

/// The document that a directory entry holds; none for temporary and foreign files.
pub(crate) fn document_name(file: &str) -> Option<&str> {
    let name = file.strip_suffix(SUFFIX)?;
    validate(name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_paths_or_hidden_are_refused() {
        let long = "x".repeat(MAX + 1);
        for name in ["", ".", "..", "a/b", "/", "../x", ".hidden", "a\nb", "a\0b", &long] {
            assert!(file_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "net-eth0", "a.b", "x..y", "ünï", "a b", &long[1..]] {
            assert_eq!(file_name(name).unwrap(), format!("{name}.json"));
        }
    }

    #[test]
    fn only_documents_have_a_document_name() {
        for file in [".tmp-1-2", "a", "a.json.unreadable-1", ".json", ".x.json", "a.tmp"] {
            assert_eq!(document_name(file), None, "{file:?}");
        }
    }

    proptest! {
        #[test]
        fn a_valid_name_comes_back_from_its_file(name in any::<String>()) {
            if let Ok(file) = file_name(&name) {
                prop_assert_eq!(document_name(&file), Some(name.as_str()));
                prop_assert_eq!(std::path::Path::new(&file).components().count(), 1);
            }
        }
    }
}
