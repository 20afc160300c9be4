//! What an administrator has set for the whole node, in one file that need not exist. It is read
//! when something first asks.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The bit of the packet mark that says "let through by us" where nothing else is set. Other
/// programs use 0x1000 (netavark), 0x2000 (portmap), 0x4000 and 0x8000 (kube-proxy), 0xff0000
/// (Tailscale), 0xffff0000 (Calico).
pub const DEFAULT_MARK: u32 = 0x800;

const MARK_VARIABLE: &str = "CLEAT_MARK";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    mark: Option<Value>,
}

/// The bit of the packet mark: that of the environment, else of the file, else the default.
pub(crate) fn mark(path: &Path) -> Result<u32> {
    if let Some(text) = std::env::var(MARK_VARIABLE).ok().filter(|text| !text.is_empty()) {
        return parse_mark(&text).ok_or_else(|| no_bit(MARK_VARIABLE.to_owned(), text));
    }
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(DEFAULT_MARK),
        Err(error) => return Err(unreadable(path, error.to_string())),
    };
    let wire: Wire =
        serde_json::from_slice(&text).map_err(|error| unreadable(path, error.to_string()))?;
    let Some(value) = wire.mark.filter(|value| !value.is_null()) else {
        return Ok(DEFAULT_MARK);
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    parse_mark(&text).ok_or_else(|| no_bit(format!("{}: mark", path.display()), text))
}

/// One bit, as a decimal number or a hexadecimal one after `0x`.
fn parse_mark(text: &str) -> Option<u32> {
    let bits = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    bits.filter(|bits| bits.is_power_of_two())
}

fn no_bit(place: String, value: String) -> Error {
    Error::Setting { place, value, right: "one bit of the packet mark, as in \"0x800\"" }
}

fn unreadable(path: &Path, why: String) -> Error {
    Error::Settings { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<u32> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::File::create(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .unwrap();
        mark(&path)
    }

    #[test]
    fn one_bit_in_any_spelling() {
        for (text, bits) in [
            (r#"{"mark": "0x800"}"#, 0x800),
            (r#"{"mark": "0x80000000"}"#, 1 << 31),
            (r#"{"mark": "64"}"#, 64),
            (r#"{"mark": 64}"#, 64),
            (r#"{"mark": null, "later": 1}"#, DEFAULT_MARK),
            ("{}", DEFAULT_MARK),
        ] {
            assert_eq!(of(text).unwrap(), bits, "{text}");
        }
        assert_eq!(mark(Path::new("/nowhere/config.json")).unwrap(), DEFAULT_MARK);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (text, named) in [
            (r#"{"mark": "0x1800"}"#, "0x1800"),
            (r#"{"mark": 0}"#, "mark: 0 "),
            (r#"{"mark": -1}"#, "-1"),
            (r#"{"mark": "0x100000000"}"#, "0x100000000"),
            (r#"{"mark": []}"#, "[]"),
            ("mark = 1", "config.json"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
