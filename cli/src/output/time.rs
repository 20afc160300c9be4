//! Moments, and how long ago they were.

pub(crate) use cleat_engine::records::time::{now, rfc3339};

/// How long ago, in its largest unit: `5 minutes`.
pub(crate) fn ago(then: u64) -> String {
    let seconds = now().saturating_sub(then);
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (count, unit) = units
        .into_iter()
        .map(|(length, unit)| (seconds / length, unit))
        .find(|(count, _)| *count > 0)
        .unwrap_or((0, "second"));
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}
