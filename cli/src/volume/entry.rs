//! Entries of an archive: a tar of the GNU kind, in which `volume.json` says what the volume was
//! and everything below `data/` is its content. Extended attributes and the parts of seconds are
//! pax records, as GNU tar and bsdtar have them.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use cleat_volumes::copy::Attributes;
use tar::{Builder, EntryType, Header};

/// The record's entry.
pub(super) const RECORD: &str = "volume.json";
/// The folder of the content.
pub(super) const DATA: &str = "data";
/// What GNU tar and bsdtar call an extended attribute.
pub(super) const ATTRIBUTE: &str = "SCHILY.xattr.";

/// The record, as the first entry.
pub(super) fn record<W: Write>(builder: &mut Builder<W>, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(u64::try_from(bytes.len()).unwrap_or_default());
    header.set_mode(0o600);
    header.set_mtime(at);
    builder.append_data(&mut header, RECORD, bytes)
}

/// Anything but another name of a file. Whether it was written: a socket means nothing later.
pub(super) fn file<W: Write>(
    builder: &mut Builder<W>,
    (name, path): (&Path, &Path),
    meta: &Metadata,
    attributes: &Attributes,
) -> io::Result<bool> {
    let kind = meta.file_type();
    if kind.is_socket() {
        return Ok(false);
    }
    pax(builder, meta, attributes)?;
    if kind.is_file() {
        let mut file = File::open(path)?;
        return builder.append_file(name, &mut file).map(|()| true);
    }
    let mut header = Header::new_gnu();
    header.set_metadata(meta);
    header.set_size(0);
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, name, std::fs::read_link(path)?)?;
        return Ok(true);
    }
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
    } else if kind.is_fifo() {
        header.set_entry_type(EntryType::Fifo);
    } else {
        let is_block = kind.is_block_device();
        header.set_entry_type(if is_block { EntryType::Block } else { EntryType::Char });
        header.set_device_major(rustix::fs::major(meta.rdev()))?;
        header.set_device_minor(rustix::fs::minor(meta.rdev()))?;
    }
    builder.append_data(&mut header, name, io::empty())?;
    Ok(true)
}

/// Another name of a file that is in the archive.
pub(super) fn link<W: Write>(
    builder: &mut Builder<W>,
    name: &Path,
    first: &Path,
    meta: &Metadata,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(meta);
    header.set_size(0);
    header.set_entry_type(EntryType::Link);
    builder.append_link(&mut header, name, first)
}

/// What the next entry's own header has no room for.
fn pax<W: Write>(
    builder: &mut Builder<W>,
    meta: &Metadata,
    attributes: &Attributes,
) -> io::Result<()> {
    let mut body = Vec::new();
    let time = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
    push(&mut body, b"mtime", time.as_bytes());
    for (name, value) in attributes {
        let key = [ATTRIBUTE.as_bytes(), name.as_bytes()].concat();
        push(&mut body, &key, value);
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_path("pax")?;
    header.set_mode(0o600);
    header.set_size(u64::try_from(body.len()).unwrap_or_default());
    header.set_cksum();
    builder.append(&header, body.as_slice())
}

/// `LENGTH KEY=VALUE\n`, whose length counts itself.
fn push(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    body.extend_from_slice(length.to_string().as_bytes());
    body.push(b' ');
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::push;

    #[test]
    fn records_count_their_own_length() {
        for size in [0, 1, 89, 90, 91, 92, 990, 991, 992] {
            let mut body = Vec::new();
            push(&mut body, b"k", &vec![b'v'; size]);
            let digits = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let said: usize = String::from_utf8(body[..digits].to_vec()).unwrap().parse().unwrap();
            assert_eq!(said, body.len(), "{size}");
        }
    }
}
