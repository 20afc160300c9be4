//! A directory of documents of one kind.

use std::fs;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::atomic::{read_file, sync_dir, temp_path, write_atomic};
use crate::name::{TEMP_PREFIX, document_name, file_name};
use crate::{Durability, Error, Result};

/// Age from which a temporary file belongs to a writer that died.
const LEFTOVER: Duration = Duration::from_secs(24 * 60 * 60);

/// A value that is kept as one JSON object.
///
/// The schema number is put in front on writing; the type must not have a field `schema` nor
/// refuse unknown fields. Documents of older schemas are read as they are: give new fields a
/// serde default.
pub trait Document: Serialize + DeserializeOwned {
    /// Raised when an older program would misunderstand what is written now.
    const SCHEMA: u32;
}

/// A directory with one file `<name>.json` per document, mode 0600.
#[derive(Debug, Clone)]
pub struct Store<T> {
    dir: PathBuf,
    durability: Durability,
    kind: PhantomData<fn() -> T>,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

impl<T: Document> Store<T> {
    /// A store in `dir`. Touches nothing; the directory is made by the first write.
    pub fn open(dir: impl Into<PathBuf>, durability: Durability) -> Self {
        Self { dir: dir.into(), durability, kind: PhantomData }
    }

    /// Where the documents are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The document `name`, or `None` if there is none.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] and [`Error::Malformed`] for a text this program cannot use,
    /// [`Error::File`] if it cannot be read, [`Error::Name`] for a name that is a path.
    pub fn read(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name)?;
        match read_file(&path) {
            Ok(bytes) => parse(path, &bytes).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::file("read", path, e)),
        }
    }

    /// Whether there is a document `name`, readable or not.
    pub fn exists(&self, name: &str) -> bool {
        self.path(name).is_ok_and(|path| path.exists())
    }

    /// Writes the document `name`, whether or not there was one.
    ///
    /// It does not look at what it replaces: whoever must not overwrite a newer schema reads
    /// first.
    ///
    /// # Errors
    /// [`Error::File`]; the old document is then as it was. [`Error::NotAnObject`],
    /// [`Error::Name`].
    pub fn replace(&self, name: &str, doc: &T) -> Result<()> {
        let path = self.path(name)?;
        let bytes = render(&path, doc)?;
        write_atomic(&path, &bytes, 0o600, self.durability)
    }

    /// Removes the document `name`; false if there was none.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Name`].
    pub fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path(name)?;
        // Of a process that was killed while it wrote.
        let _ = fs::remove_file(temp_path(&path));
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::file("remove", path, e)),
        }
        if self.durability == Durability::Disk {
            sync_dir(&self.dir)?;
        }
        Ok(true)
    }

    /// The names of all documents, sorted. None if the directory is missing.
    ///
    /// # Errors
    /// [`Error::File`] if the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> =
            self.files()?.iter().filter_map(|f| document_name(f)).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// All documents, sorted by name. One that cannot be read does not hide the others.
    ///
    /// # Errors
    /// [`Error::File`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Result<T>)>> {
        let mut documents = Vec::new();
        for name in self.names()? {
            // One removed since the directory was read is simply no longer there.
            if let Some(document) = self.read(&name).transpose() {
                documents.push((name, document));
            }
        }
        Ok(documents)
    }

    /// Moves an unreadable document out of the way, to `<name>.unreadable-N`, and says where.
    /// Needs no free disk space. `None` if there is no such document.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Name`].
    pub fn set_aside(&self, name: &str) -> Result<Option<PathBuf>> {
        let path = self.path(name)?;
        let mut n = 1_u32;
        loop {
            let target = self.dir.join(format!("{name}.unreadable-{n}"));
            match rename_to_free(&path, &target) {
                Ok(()) => return Ok(Some(target)),
                Err(Errno::EXIST) if n < u32::MAX => n += 1,
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(Error::file("set aside", path, e)),
            }
        }
    }

    /// Removes temporary files whose writer died more than a day ago; returns how many.
    ///
    /// # Errors
    /// [`Error::File`] if the directory cannot be read.
    pub fn sweep(&self) -> Result<usize> {
        let mut swept = 0;
        for file in self.files()?.iter().filter(|f| f.starts_with(TEMP_PREFIX)) {
            let path = self.dir.join(file);
            let modified = fs::symlink_metadata(&path).and_then(|m| m.modified());
            let age = modified.ok().and_then(|m| SystemTime::now().duration_since(m).ok());
            if age.is_some_and(|age| age > LEFTOVER) && fs::remove_file(&path).is_ok() {
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// The document that a file of this directory holds, such as one that a
    /// [`Watch`](crate::Watch) named; none for a temporary or foreign file.
    pub fn document_of(file: &str) -> Option<&str> {
        document_name(file)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.dir.join(file_name(name)?))
    }

    fn files(&self) -> Result<Vec<String>> {
        let failed = |e| Error::file("list", &self.dir, e);
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut files = Vec::new();
        for entry in entries {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                files.push(name);
            }
        }
        Ok(files)
    }
}

fn parse<T: Document>(path: PathBuf, bytes: &[u8]) -> Result<T> {
    // The number alone first: a newer document may not have our fields at all.
    match serde_json::from_slice::<Schema>(bytes) {
        Ok(Schema { schema }) if schema > T::SCHEMA => {
            Err(Error::NewerSchema { path, found: schema, known: T::SCHEMA })
        }
        Ok(_) => serde_json::from_slice(bytes).map_err(|source| Error::Malformed { path, source }),
        Err(source) => Err(Error::Malformed { path, source }),
    }
}

fn render<T: Document>(path: &Path, doc: &T) -> Result<Vec<u8>> {
    let body = serde_json::to_string_pretty(doc)
        .map_err(|source| Error::Malformed { path: path.to_owned(), source })?;
    let Some(fields) = body.strip_prefix('{') else {
        return Err(Error::NotAnObject { path: path.to_owned() });
    };
    let comma = if fields == "}" { "\n" } else { "," };
    Ok(format!("{{\n  \"schema\": {}{comma}{fields}\n", T::SCHEMA).into_bytes())
}

/// Rename that fails with EXIST instead of replacing.
fn rename_to_free(from: &Path, to: &Path) -> std::result::Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without the flag: look first. Losing that race loses an older aside.
        Err(Errno::INVAL | Errno::NOSYS) => match rustix::fs::lstat(to) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rustix::fs::rename(from, to),
            Err(e) => Err(e),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests;
