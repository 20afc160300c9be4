//! `--opt KEY=VALUE`: names of Docker, of Podman and of the plugins. Every one that these know
//! works, or is refused by name with the reason; a name that nobody knows is answered with the
//! nearest one that is known.

mod bridge;
mod macvlan;
mod overlay;
mod shared;
mod value;

use super::args::DriverName;
use super::settings::Settings;
use crate::error::{Error, Result};

/// What becomes of an option.
enum Entry {
    /// It sets something. The reader answers a bad value with what would be right.
    Set(fn(&mut Settings, &str) -> std::result::Result<(), &'static str>),
    /// It cannot be had.
    Refused(&'static str),
}

type Table = &'static [(&'static str, Entry)];

/// Reads all options of a driver.
pub(crate) fn read(driver: DriverName, given: &[(String, String)]) -> Result<Settings> {
    let mut settings = Settings::default();
    for (key, value) in given {
        let entry = entries(driver).find(|(name, _)| name == key).map(|(_, entry)| entry);
        match entry {
            Some(Entry::Set(set)) => {
                set(&mut settings, value).map_err(|expected| Error::OptionValue {
                    key: key.clone(),
                    value: value.clone(),
                    expected,
                })?;
            }
            Some(Entry::Refused(reason)) => {
                let driver = name_of(driver);
                return Err(Error::RefusedOption { driver, key: key.clone(), reason });
            }
            None => return Err(unknown(driver, key)),
        }
    }
    Ok(settings)
}

/// The options that work, sorted.
pub(crate) fn names(driver: DriverName) -> Vec<&'static str> {
    let works = |entry: &Entry| matches!(entry, Entry::Set(_));
    let mut names: Vec<_> =
        entries(driver).filter(|(_, entry)| works(entry)).map(|(name, _)| *name).collect();
    names.sort_unstable();
    names
}

fn entries(driver: DriverName) -> impl Iterator<Item = &'static (&'static str, Entry)> {
    let own: Table = match driver {
        DriverName::Bridge => bridge::TABLE,
        DriverName::Macvlan => macvlan::TABLE,
        DriverName::Overlay => overlay::TABLE,
    };
    let shared: Table = if driver == DriverName::Overlay { &[] } else { shared::TABLE };
    own.iter().chain(shared)
}

pub(crate) fn name_of(driver: DriverName) -> &'static str {
    match driver {
        DriverName::Bridge => "bridge",
        DriverName::Macvlan => "macvlan",
        DriverName::Overlay => "overlay",
    }
}

fn unknown(driver: DriverName, key: &str) -> Error {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let distance = |name: &&str| edits(key, name).min(edits(&last(key), &last(name)));
    let nearest = names(driver).into_iter().min_by_key(distance).unwrap_or_default();
    Error::UnknownOption { driver: name_of(driver), key: key.to_owned(), nearest }
}

/// Levenshtein's distance.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, above), above_right) in other.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above + usize::from(a != *b)).min(left + 1).min(above_right + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
