//! Options as they come: a map, of which `o` holds more in mount(8)'s form. Each is taken once;
//! what is left at the end is unknown.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Options not yet understood.
#[derive(Debug)]
pub(super) struct Words {
    words: BTreeMap<String, Option<String>>,
}

impl Words {
    /// Flattens `o` into the rest.
    pub(super) fn new(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut words = Self { words: BTreeMap::new() };
        for (key, value) in options {
            if key == "o" {
                for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                    match word.split_once('=') {
                        Some((key, value)) => words.add(key, Some(value))?,
                        None => words.add(word, None)?,
                    }
                }
            } else {
                words.add(key, Some(value))?;
            }
        }
        Ok(words)
    }

    fn add(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        // Podman writes some of them large.
        let key = &key.to_ascii_lowercase();
        let value = value.map(str::to_owned);
        match self.words.insert(key.clone(), value.clone()) {
            Some(before) if before != value => {
                let shown = |value: &Option<String>| match value {
                    Some(value) => format!("{key}={}", shown_value(key, value)),
                    None => key.clone(),
                };
                Err(Error::Contradiction { one: shown(&before), other: shown(&value) })
            }
            _ => Ok(()),
        }
    }

    /// An option that has a value.
    pub(super) fn take(&mut self, key: &str) -> Result<Option<String>> {
        match self.words.remove(key) {
            Some(None) => Err(bad(key, "", "a value")),
            Some(value) => Ok(value),
            None => Ok(None),
        }
    }

    /// The same under any of several names; more than one of them contradict each other.
    pub(super) fn take_any(&mut self, keys: &[&str]) -> Result<Option<String>> {
        let mut found: Option<(&str, String)> = None;
        for key in keys {
            let Some(value) = self.take(key)? else { continue };
            if let Some((other, before)) = &found
                && *before != value
            {
                return Err(Error::Contradiction { one: (*other).into(), other: (*key).into() });
            }
            found = Some((key, value));
        }
        Ok(found.map(|(_, value)| value))
    }

    /// A word, or `word=true` and `word=false`.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        match self.words.remove(key) {
            None => Ok(None),
            Some(None) => Ok(Some(true)),
            Some(Some(value)) => match value.as_str() {
                "true" | "1" | "yes" | "" => Ok(Some(true)),
                "false" | "0" | "no" => Ok(Some(false)),
                _ => Err(bad(key, &value, "true or false")),
            },
        }
    }

    /// A word and its opposite.
    pub(super) fn either(&mut self, yes: &str, no: &str) -> Result<Option<bool>> {
        match (self.flag(yes)?, self.flag(no)?) {
            (Some(on), Some(off)) if on == off => {
                Err(Error::Contradiction { one: yes.into(), other: no.into() })
            }
            (Some(on), _) => Ok(Some(on)),
            (None, off) => Ok(off.map(|off| !off)),
        }
    }

    /// Whether it is there, value or not; it stays.
    pub(super) fn has(&self, key: &str) -> bool {
        self.words.contains_key(key)
    }

    /// Any word as it is.
    pub(super) fn raw(&mut self, key: &str) -> Option<Option<String>> {
        self.words.remove(key)
    }

    /// Nothing may be left.
    pub(super) fn finish(self, driver: &'static str, known: &[&str]) -> Result<()> {
        match self.words.into_keys().next() {
            None => Ok(()),
            Some(key) => {
                let nearest = super::nearest(&key, known).to_owned();
                let key = key.chars().take(64).collect();
                Err(Error::UnknownOption { key, driver, nearest })
            }
        }
    }
}

/// The value is not what it should be. Secrets are not repeated.
pub(super) fn bad(key: &str, value: &str, expected: &'static str) -> Error {
    Error::OptionValue { key: key.to_owned(), value: shown_value(key, value), expected }
}

/// A value as it may be shown to anybody.
pub(super) fn shown_value(key: &str, value: &str) -> String {
    const SECRETS: [&str; 6] = ["password", "passwd", "pass", "secret", "token", "credential"];
    let key = key.to_ascii_lowercase();
    if SECRETS.iter().any(|secret| key.contains(secret)) {
        return "***".to_owned();
    }
    let mut text: String = value.chars().take(200).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}
