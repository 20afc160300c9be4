//! Which files of a folder are network configurations, in the order in which runtimes take them.

use std::io;
use std::path::{Path, PathBuf};

use super::RuntimeError;

/// The `.conf`, `.conflist` and `.json` files of a folder, sorted by name. A folder that does
/// not exist has none.
///
/// # Errors
/// [`RuntimeError::File`].
pub fn conf_files(folder: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    with_extensions(folder, &["conf", "conflist", "json"])
}

pub(super) fn with_extensions(
    folder: &Path,
    extensions: &[&str],
) -> Result<Vec<PathBuf>, RuntimeError> {
    let error = |source| RuntimeError::File { doing: "list", path: folder.to_owned(), source };
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let listed = extension.is_some_and(|extension| extensions.contains(&extension));
        if listed && !entry.file_type().map_err(error)?.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
