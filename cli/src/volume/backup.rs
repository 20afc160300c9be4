//! `cleat volume backup`: a volume's content as tar.zst.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cleat_volumes::{copy, size_of};
use indicatif::ProgressBar;
use tar::Builder;

use super::args::BackupArgs;
use super::entry::{self, DATA};
use super::progress::bar;
use super::{Held, volumes};
use crate::context::{Context, file_error};
use crate::error::{Error, Result};
use crate::output;

pub(super) fn run(context: &Context, asked: &BackupArgs) -> Result<()> {
    let volumes = volumes(context);
    let volume = volumes.get(&asked.name)?;
    let file = asked.file.as_deref().filter(|path| *path != Path::new("-"));
    if file.is_none() && io::stdout().is_terminal() {
        let problem = "an archive is nothing for a terminal: name a file, or pipe it".to_owned();
        return Err(Error::Argument { argument: "FILE", value: String::new(), problem });
    }
    let held = Held::take(&volumes, &asked.name)?;
    let bar = bar(Some(size_of(&held.path)?.bytes));
    let record = serde_json::to_vec_pretty(&volume.record).unwrap_or_default();
    let write = |out: Box<dyn Write>| -> Result<Box<dyn Write>> {
        let fail = |e: io::Error| failed(&asked.name, &e);
        let mut encoder = zstd::Encoder::new(out, asked.level).map_err(fail)?;
        encoder.include_checksum(true).map_err(fail)?;
        let mut builder = Builder::new(encoder);
        entry::record(&mut builder, &record, volume.record.created).map_err(fail)?;
        let mut archive = Archive { builder, links: HashMap::new(), bar: &bar };
        archive.tree(&held.path, Path::new(DATA))?;
        archive.builder.into_inner().and_then(zstd::Encoder::finish).map_err(fail)
    };
    match file {
        None => drop(write(Box::new(io::stdout().lock()))?),
        Some(path) => to_file(path, write)?,
    }
    bar.finish_and_clear();
    Ok(())
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::Archive { what: format!("backup of {what}"), problem: error.to_string() }
}

/// There is a whole archive under the name, or none.
fn to_file(
    path: &Path,
    write: impl FnOnce(Box<dyn Write>) -> Result<Box<dyn Write>>,
) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
    let file = opened.map_err(file_error("create", &part))?;
    let copy = file.try_clone().map_err(file_error("open", &part))?;
    let written = write(Box::new(io::BufWriter::new(copy))).and_then(|mut out| {
        out.flush().and_then(|()| file.sync_all()).map_err(file_error("write", &part))?;
        fs::rename(&part, path).map_err(file_error("make", path))
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

struct Archive<'b, W: Write> {
    builder: Builder<W>,
    /// The first name of files that have several.
    links: HashMap<(u64, u64), PathBuf>,
    bar: &'b ProgressBar,
}

impl<W: Write> Archive<'_, W> {
    fn tree(&mut self, path: &Path, name: &Path) -> Result<()> {
        let read = |path: &Path| fs::symlink_metadata(path).map_err(file_error("read", path));
        let meta = read(path)?;
        if !meta.is_dir() && meta.nlink() > 1 {
            if let Some(first) = self.links.get(&(meta.dev(), meta.ino())) {
                let linked = entry::link(&mut self.builder, name, first, &meta);
                return linked.map_err(|e| failed(&path.display().to_string(), &e));
            }
            self.links.insert((meta.dev(), meta.ino()), name.to_owned());
        }
        let attributes = copy::attributes(path)?;
        let written = entry::file(&mut self.builder, (name, path), &meta, &attributes)
            .map_err(|e| failed(&path.display().to_string(), &e))?;
        if !written {
            output::warn(&format!("{}: a socket; left out", path.display()));
        }
        self.bar.inc(meta.blocks() * 512);
        if !meta.is_dir() {
            return Ok(());
        }
        let entries = fs::read_dir(path).map_err(file_error("list", path))?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(file_error("list", path))?.file_name());
        }
        // The same content gives the same archive.
        names.sort_unstable();
        for inner in names {
            self.tree(&path.join(&inner), &name.join(&inner))?;
        }
        Ok(())
    }
}

/// A file or standard input.
pub(super) fn source(file: Option<&Path>) -> Result<(Box<dyn io::Read>, Option<u64>)> {
    match file.filter(|path| *path != Path::new("-")) {
        None => Ok((Box::new(io::stdin().lock()), None)),
        Some(path) => {
            let file = File::open(path).map_err(file_error("open", path))?;
            let length = file.metadata().map(|meta| meta.len()).ok();
            Ok((Box::new(io::BufReader::new(file)), length))
        }
    }
}
