//! Options of volumes on this host: named, bind, tmpfs.

use std::path::{Component, Path, PathBuf};

use super::value;
use super::words::{Words, bad};
use crate::error::{Error, Result};
use crate::spec::{Backing, Bind, Named, Tmpfs};

pub(super) const NAMED: &[&str] = &["uid", "gid", "mode", "size", "inodes", "backing"];
pub(super) const BIND: &[&str] = &[
    "device",
    "source",
    "create",
    "bind",
    "rbind",
    "recursive",
    "propagation",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
];
pub(super) const TMPFS: &[&str] =
    &["size", "inodes", "nr_inodes", "mode", "uid", "gid", "huge", "device"];
/// An ext4 file system has room for nothing in less.
const SMALLEST_IMAGE: u64 = 4 << 20;

pub(super) fn named(words: &mut Words) -> Result<Named> {
    let (uid, gid, mode) = owner(words)?;
    let backing = match words.take("backing")?.as_deref() {
        None | Some("dir" | "directory") => Backing::Dir,
        Some("image") => Backing::Image,
        Some(other) => return Err(bad("backing", other, "dir or image")),
    };
    let size = words.take("size")?.map(|text| value::size("size", &text)).transpose()?;
    let inodes = words.take_any(&["inodes", "nr_inodes"])?;
    let inodes = inodes.map(|text| value::count("inodes", &text)).transpose()?;
    if backing == Backing::Image {
        match size {
            None => {
                return Err(Error::MissingOption {
                    driver: "backing=image",
                    key: "size",
                    example: "size=10g",
                });
            }
            Some(size) if size < SMALLEST_IMAGE => {
                return Err(bad("size", &size.to_string(), "at least 4m with backing=image"));
            }
            Some(_) => {}
        }
    }
    Ok(Named { uid, gid, mode, size, inodes, backing })
}

fn owner(words: &mut Words) -> Result<(Option<u32>, Option<u32>, Option<u32>)> {
    Ok((
        words.take("uid")?.map(|text| value::id("uid", &text)).transpose()?,
        words.take("gid")?.map(|text| value::id("gid", &text)).transpose()?,
        words.take("mode")?.map(|text| value::mode("mode", &text)).transpose()?,
    ))
}

pub(super) fn bind(words: &mut Words, rbind: bool) -> Result<Bind> {
    let source = words.take_any(&["device", "source"])?.ok_or(Error::MissingOption {
        driver: "bind",
        key: "device",
        example: "device=/srv/data",
    })?;
    let source = absolute("device", &source)?;
    let mut propagation = words.take("propagation")?;
    let mut recursive = rbind || words.flag("recursive")?.unwrap_or(false);
    for word in ["private", "rprivate", "slave", "rslave", "shared", "rshared"] {
        if words.flag(word)? == Some(true)
            && let Some(one) = propagation.replace(word.to_owned())
        {
            return Err(Error::Contradiction { one, other: word.into() });
        }
    }
    let propagation = match propagation.as_deref() {
        None => None,
        Some(word) => {
            let plain = match word.strip_prefix('r') {
                Some(plain) => {
                    recursive = true;
                    plain
                }
                None => word,
            };
            if !["private", "slave", "shared"].contains(&plain) {
                return Err(bad("propagation", word, "private, slave or shared, or r before it"));
            }
            Some(plain.to_owned())
        }
    };
    let create = words.flag("create")?.unwrap_or(false);
    Ok(Bind { source, create, recursive, propagation })
}

/// A path that means one place, whoever reads it.
pub(super) fn absolute(key: &str, text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let has_no_dots =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && has_no_dots && !text.contains('\0') && text.len() < 4096 {
        return Ok(path.components().collect());
    }
    Err(bad(key, text, "an absolute path without `..`"))
}

pub(super) fn tmpfs(words: &mut Words) -> Result<Tmpfs> {
    let (uid, gid, mode) = owner(words)?;
    // Docker's local needs one, and the kernel calls it the source; it means nothing.
    words.take("device")?;
    let size = match words.take("size")? {
        Some(text) if text.ends_with('%') => {
            let percent = text.trim_end_matches('%').parse::<u32>().ok();
            percent
                .filter(|percent| (1..=100).contains(percent))
                .map(|percent| Some(format!("{percent}%")))
                .ok_or_else(|| bad("size", &text, "a size such as 64m, or 1% to 100%"))?
        }
        Some(text) => Some(value::size("size", &text)?.to_string()),
        None => None,
    };
    let inodes = words.take_any(&["inodes", "nr_inodes"])?;
    let inodes = inodes.map(|text| value::count("inodes", &text)).transpose()?;
    let huge = words.take("huge")?;
    if let Some(text) = &huge
        && !["never", "always", "within_size", "advise"].contains(&text.as_str())
    {
        return Err(bad("huge", text, "never, always, within_size or advise"));
    }
    Ok(Tmpfs { size, inodes, mode, uid, gid, huge })
}
