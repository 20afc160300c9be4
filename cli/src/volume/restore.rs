//! `cleat volume restore`: what `backup` wrote, as a volume again. An archive may be anybody's: no
//! entry of it reaches out of the volume. What was written is read back and compared.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use cleat_volumes::kernel::mount::{open_beneath, open_directory};
use cleat_volumes::{Driver, Order, VolumeRecord, copy};
use tar::{Archive, Entry, EntryType};

use super::args::RestoreArgs;
use super::create::pairs;
use super::entry::{DATA, RECORD};
use super::progress::{Counted, bar};
use super::unpack::{Item, Unpacked};
use super::{Held, backup, deadline, volumes};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::{self, Format};

/// More than any record has.
const LONGEST_RECORD: u64 = 1 << 20;

pub(super) fn run(context: &Context, asked: &RestoreArgs) -> Result<()> {
    let volumes = volumes(context);
    let (source, length) = backup::source(asked.file.as_deref())?;
    let bar = bar(length);
    let counted = Counted { inner: source, bar: &bar };
    let is_new = match volumes.get(&asked.name) {
        Ok(_) => false,
        Err(error) if error.is_no_volume() => true,
        Err(error) => return Err(error.into()),
    };
    let mut held = None;
    let outcome = content(counted, |record| {
        if is_new {
            volumes.create(&order(asked, record)?, deadline())?;
        }
        let path = &held.insert(Held::take(&volumes, &asked.name)?).path;
        if !copy::is_empty(path)? {
            return Err(Error::VolumeNotEmpty { name: asked.name.clone() });
        }
        Ok(open_directory(path, false)?)
    });
    drop(held);
    bar.finish_and_clear();
    if outcome.is_err() && is_new {
        let _ = volumes.remove(&asked.name, false, deadline());
    }
    let (files, bytes) = outcome?;
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "name": asked.name, "verifiedFiles": files, "bytes": bytes,
        })),
        Format::Table => output::line(&format!("{}: {files} files verified", asked.name)),
    }
    Ok(())
}

/// Unpacks all of it where `make` says, and compares. How many files, and bytes of them.
fn content(
    source: impl Read,
    make: impl FnOnce(&VolumeRecord) -> Result<OwnedFd>,
) -> Result<(u64, u64)> {
    let fail = |e: io::Error| failed(&e.to_string());
    let mut archive = Archive::new(zstd::Decoder::new(source).map_err(fail)?);
    let mut entries = archive.entries().map_err(fail)?;
    let first = entries.next().ok_or_else(|| failed("the archive is empty"))?.map_err(fail)?;
    let root = make(&read_record(first)?)?;
    let mut unpacked = Unpacked::default();
    for entry in entries {
        one(&root, entry.map_err(fail)?, &mut unpacked)?;
    }
    // The checksum of the stream stands at its end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(fail)?;
    unpacked.finish(&root)?;
    unpacked.verify(&root)
}

pub(super) fn failed(problem: &str) -> Error {
    Error::Archive { what: "restore".into(), problem: problem.to_owned() }
}

fn read_record(mut entry: Entry<'_, impl Read>) -> Result<VolumeRecord> {
    if entry.path_bytes().as_ref() != RECORD.as_bytes() {
        return Err(failed("this was not written by `cleat volume backup`"));
    }
    let mut text = String::new();
    let read = entry.by_ref().take(LONGEST_RECORD).read_to_string(&mut text);
    read.map_err(|e| failed(&e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| failed(&format!("{RECORD}: {e}")))
}

/// Like the one that was backed up, if that was a named one: where content of others lay is
/// nothing to be written to unasked.
fn order(asked: &RestoreArgs, record: &VolumeRecord) -> Result<Order> {
    let mut options = pairs("--opt", &asked.opt)?;
    if options.is_empty() && matches!(record.spec.driver, Driver::Named(_)) {
        options = record.options.clone();
    }
    let (name, labels) = (asked.name.clone(), record.labels.clone());
    Ok(Order { name, options, labels, made_for: None })
}

fn one(root: &OwnedFd, mut entry: Entry<'_, impl Read>, unpacked: &mut Unpacked) -> Result<()> {
    let path = entry.path().map_err(|e| failed(&e.to_string()))?.into_owned();
    let Some(inner) = inside(&path) else {
        return Err(failed(&format!("{}: leads out of the volume", path.display())));
    };
    let item = Item::read(&mut entry, inner)?;
    let parent = item.path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = open_beneath(root.as_fd(), parent.unwrap_or(Path::new(".")))?;
    match entry.header().entry_type() {
        EntryType::Directory => unpacked.directory(&parent, item),
        EntryType::Symlink | EntryType::Link => {
            let target = entry.link_name().map_err(|e| failed(&e.to_string()))?;
            let target = target.map(std::borrow::Cow::into_owned).unwrap_or_default();
            if entry.header().entry_type() == EntryType::Symlink {
                return unpacked.symlink(&parent, item, &target);
            }
            let Some(first) = inside(&target) else {
                return Err(failed(&format!("{}: links out of the volume", path.display())));
            };
            unpacked.link(root, &parent, item, &first)
        }
        EntryType::Fifo | EntryType::Block | EntryType::Char => {
            unpacked.special(&parent, item, entry.header())
        }
        EntryType::Regular | EntryType::GNUSparse | EntryType::Continuous => {
            unpacked.file(&parent, item, &mut entry)
        }
        other => Err(failed(&format!("{}: unknown entry {other:?}", path.display()))),
    }
}

/// The path below the content's folder.
fn inside(path: &Path) -> Option<PathBuf> {
    let inner = path.strip_prefix(DATA).ok()?;
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    inner.components().all(is_plain).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out() {
        assert_eq!(inside(Path::new("data/a/b")), Some(PathBuf::from("a/b")));
        assert_eq!(inside(Path::new("data/")), Some(PathBuf::new()));
        for path in ["data/../x", "/data/x", "other", "data/a/../../x", "../data/x"] {
            assert_eq!(inside(Path::new(path)), None, "{path}");
        }
    }
}
