//! From options as Docker, Podman or a person writes them to what a volume is. Docker's `local`
//! has `type`, `o`, `device` and `size`; all other options can stand by themselves or in `o`.
//! Nothing is passed on unread: what is not known is refused with the nearest known name.

mod local;
mod nfs;
mod value;
mod words;

use std::collections::BTreeMap;

use words::Words;

use crate::error::{Error, Result};
use crate::spec::{Driver, Spec};

/// What the options mean.
pub fn parse(options: &BTreeMap<String, String>) -> Result<Spec> {
    let mut words = Words::new(options)?;
    let kind = words.take("type")?.unwrap_or_default().to_ascii_lowercase();
    let is_bind = [words.flag("bind")?, words.flag("rbind")?];
    let device = words.has("device") || words.has("source");
    let kind = match kind.as_str() {
        "" | "none" if device || is_bind.contains(&Some(true)) => "bind",
        "" | "none" => "named",
        "rbind" => "bind",
        other => other,
    };
    let (driver, known): (Driver, &[&str]) = match kind {
        "named" => (Driver::Named(local::named(&mut words)?), local::NAMED),
        "bind" => {
            let recursive = is_bind.last() == Some(&Some(true));
            (Driver::Bind(local::bind(&mut words, recursive)?), local::BIND)
        }
        "tmpfs" => (Driver::Tmpfs(local::tmpfs(&mut words)?), local::TMPFS),
        "nfs" | "nfs4" => (Driver::Nfs(nfs::nfs(&mut words, kind == "nfs4")?), nfs::NFS),
        other => {
            let expected = "named, none (a directory), tmpfs, nfs or nfs4";
            return Err(words::bad("type", other, expected));
        }
    };
    let access = value::access(&mut words)?;
    let all: Vec<&str> = known.iter().chain(value::ACCESS).chain(&["type", "o"]).copied().collect();
    let name = driver.name();
    words.finish(name, &all)?;
    let spec = Spec { driver, access };
    check(&spec)?;
    Ok(spec)
}

/// What no single option shows.
fn check(spec: &Spec) -> Result<()> {
    if let (Driver::Bind(bind), Some(_)) = (&spec.driver, &spec.access.idmap)
        && bind.recursive
    {
        return Err(Error::Contradiction { one: "rbind".into(), other: "uidmap".into() });
    }
    Ok(())
}

/// The options as they may be shown to anybody.
pub fn masked(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let shown = |(key, value): (&String, &String)| {
        let value = if key == "o" {
            let word = |word: &str| match word.split_once('=') {
                Some((key, value)) => format!("{key}={}", words::shown_value(key, value)),
                None => word.to_owned(),
            };
            value.split(',').map(word).collect::<Vec<_>>().join(",")
        } else {
            words::shown_value(key, value)
        };
        (key.clone(), value)
    };
    options.iter().map(shown).collect()
}

/// The known name that takes the fewest changes to reach.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> &'k str {
    known.iter().copied().min_by_key(|name| distance(word, name)).unwrap_or_default()
}

/// Levenshtein's.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(64).enumerate() {
        let mut before = i + 1;
        let mut next = vec![before];
        for (b, pair) in other.iter().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            before = (above + 1).min(before + 1).min(diagonal + usize::from(a != *b));
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
