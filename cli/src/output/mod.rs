//! Printing: tables for people, JSON for programs, warnings on standard error. A reader that
//! went away is no error.

mod table;
pub(crate) mod time;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

pub(crate) use table::{Tone, print_table, render_table, toned};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// One JSON document, of the schema that docs/cli.md has
    Json,
}

/// A line on standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A warning.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "cleat: warning: {text}");
}

/// A document on standard output.
pub(crate) fn json<T: Serialize + ?Sized>(document: &T) {
    // Our own types have string keys throughout, so this has no way to fail.
    if let Ok(text) = serde_json::to_string_pretty(document) {
        line(&text);
    }
}

/// Names of what a verb has done, one per line; for programs under the word for it.
pub(crate) fn names<T: Serialize + ToString>(format: Format, done: &str, names: &[T]) {
    match format {
        Format::Table => names.iter().for_each(|name| line(&name.to_string())),
        Format::Json => json(&std::collections::BTreeMap::from([(done, names)])),
    }
}

/// Standard output takes colour.
pub(crate) fn has_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && io::stdout().is_terminal()
}
