//! Values of options: sizes, modes, ids, maps.

use super::words::{Words, bad};
use crate::error::Result;
use crate::spec::{Access, Idmap, IdmapRange};

/// `10g`, `1.5GiB`, `512m`, `4096`: powers of 1024, as Docker has it.
pub(super) fn size(key: &str, text: &str) -> Result<u64> {
    const EXPECTED: &str = "a size such as 512m or 10g";
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..).unwrap_or_default();
    let unit = unit.trim_end_matches('b').trim_end_matches('i');
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad(key, text, EXPECTED)),
    };
    let bytes = match digits.split_once('.') {
        None => digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)),
        Some((whole, part)) if part.len() <= 3 && !part.is_empty() => {
            let thousandths = format!("{whole}{part:0<3}").parse::<u64>().ok();
            thousandths.and_then(|n| n.checked_mul(1 << shift)).map(|n| n / 1000)
        }
        Some(_) => None,
    };
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| bad(key, text, EXPECTED))
}

/// A count; `k` and `m` multiply.
pub(super) fn count(key: &str, text: &str) -> Result<u64> {
    size(key, text).map_err(|_| bad(key, text, "a number above 0, such as 100000"))
}

/// Octal digits.
pub(super) fn mode(key: &str, text: &str) -> Result<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777 && !digits.starts_with('+'))
        .ok_or_else(|| bad(key, text, "an octal mode such as 0755"))
}

/// A numeric owner.
pub(super) fn id(key: &str, text: &str) -> Result<u32> {
    // The last one means "none" to the kernel.
    text.parse::<u32>()
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| bad(key, text, "a number; names differ between host and containers"))
}

/// `ON_DISK:SEEN:COUNT`, several separated by `/`, since a comma ends an option.
fn ranges(key: &str, text: &str) -> Result<Vec<IdmapRange>> {
    const EXPECTED: &str = "ON_DISK:SEEN:COUNT, such as 0:100000:65536; several separated by /";
    let range = |part: &str| {
        let mut numbers = part.split(':').map(|n| n.parse::<u32>().ok());
        let range = IdmapRange(numbers.next()??, numbers.next()??, numbers.next()??);
        let fits = |first: u32| first.checked_add(range.2).is_some();
        let valid = numbers.next().is_none() && range.2 > 0 && fits(range.0) && fits(range.1);
        valid.then_some(range)
    };
    let parsed: Option<Vec<IdmapRange>> = text.split('/').map(range).collect();
    parsed.filter(|all| all.len() <= 340).ok_or_else(|| bad(key, text, EXPECTED))
}

/// What every driver has.
pub(super) fn access(words: &mut Words) -> Result<Access> {
    // mount(8)'s own, which say when something is mounted and by whom: that is the caller's here.
    // Podman's `noquota` is about quotas of its own.
    for word in ["defaults", "auto", "noauto", "_netdev", "nofail", "relatime", "noquota"] {
        words.flag(word)?;
    }
    words.flag("atime")?;
    Ok(Access {
        read_only: words.either("ro", "rw")?.unwrap_or(false)
            | words.flag("readonly")?.unwrap_or(false),
        noexec: words.either("noexec", "exec")?.unwrap_or(false),
        nosuid: words.either("nosuid", "suid")?.unwrap_or(false),
        nodev: words.either("nodev", "dev")?.unwrap_or(false),
        noatime: words.flag("noatime")?.unwrap_or(false),
        nodiratime: words.flag("nodiratime")?.unwrap_or(false),
        idmap: idmap(words)?,
    })
}

/// The names that [`access`] takes.
pub(super) const ACCESS: &[&str] = &[
    "ro",
    "rw",
    "readonly",
    "noexec",
    "exec",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noatime",
    "atime",
    "nodiratime",
    "relatime",
    "uidmap",
    "gidmap",
    "userns",
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
];

fn idmap(words: &mut Words) -> Result<Option<Idmap>> {
    let users = words.take("uidmap")?;
    let groups = words.take("gidmap")?;
    let namespace = words.take("userns")?;
    match (users, groups, namespace) {
        (None, None, None) => Ok(None),
        (None, None, Some(path)) => {
            if path.starts_with('/') {
                Ok(Some(Idmap::Namespace(path.into())))
            } else {
                Err(bad("userns", &path, "a path such as /proc/1234/ns/user"))
            }
        }
        (users, groups, None) => {
            // One map serves for both.
            let users_text = users.as_deref().or(groups.as_deref()).unwrap_or_default();
            let groups_text = groups.as_deref().or(users.as_deref()).unwrap_or_default();
            let users = ranges("uidmap", users_text)?;
            let groups = ranges("gidmap", groups_text)?;
            Ok(Some(Idmap::Ranges { users, groups }))
        }
        _ => Err(crate::Error::Contradiction { one: "userns".into(), other: "uidmap".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("10g", 10 << 30),
            ("1.5GiB", 3 << 29),
            ("2TB", 2 << 40),
            ("1b", 1),
        ] {
            assert_eq!(size("size", text).unwrap(), bytes, "{text}");
        }
        for text in ["", "0", "-1", "g", "1x", "1.2345g", "1.g", "99999999999p", "1 g m"] {
            assert!(size("size", text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_and_ids() {
        assert_eq!(mode("mode", "0755").unwrap(), 0o755);
        assert_eq!(mode("mode", "1777").unwrap(), 0o1777);
        for text in ["", "8", "77777", "rwx", "-1", "+7"] {
            assert!(mode("mode", text).is_err(), "{text}");
        }
        assert_eq!(id("uid", "1000").unwrap(), 1000);
        for text in ["", "-1", "root", "4294967295", "4294967296"] {
            assert!(id("uid", text).is_err(), "{text}");
        }
    }

    #[test]
    fn maps() {
        assert_eq!(
            ranges("uidmap", "0:100000:65536/65536:0:1").unwrap(),
            [IdmapRange(0, 100_000, 65_536), IdmapRange(65_536, 0, 1)]
        );
        for text in ["", "0", "0:1", "0:1:0", "0:1:2:3", "4294967295:0:2", "a:b:c"] {
            assert!(ranges("uidmap", text).is_err(), "{text}");
        }
    }
}
