//! Verbs that ask the node daemon: what it does, what happened, which names there are. All of
//! them need it to run; nothing else in this command does.

pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod events;
pub(crate) mod status;
pub(crate) mod top;

/// A number of bytes in a unit that keeps it short: `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Tenths of a unit, so that no number is a float.
    let mut tenths = count.saturating_mul(10) / 1024;
    for unit in UNITS {
        if tenths < 10_240 || unit == "PiB" {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1024;
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "1638.3 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
