//! Settings under /proc/sys/net. Written only where they differ; of the calling thread's network
//! namespace.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, Result};

const ROOT: &str = "/proc/sys/net";

/// Reads `net/<path>`, as in `ipv4/ip_forward`, without its line end.
pub fn read(path: &str) -> Result<String> {
    let path = Path::new(ROOT).join(path);
    read_line(&path)
}

/// Reads a file of the kernel's that is a short line, in one go.
pub(crate) fn read_line(path: &Path) -> Result<String> {
    let mut bytes = [0; 128];
    let size = open(path, OpenOptions::new().read(true))?
        .read(&mut bytes)
        .map_err(|e| failed("read", path, &e))?;
    let text = String::from_utf8_lossy(bytes.get(..size).unwrap_or_default());
    Ok(text.trim_end().to_owned())
}

/// Writes `net/<path>`. Whether it was changed.
pub fn set(path: &str, value: &str) -> Result<bool> {
    if read(path).is_ok_and(|now| now == value) {
        return Ok(false);
    }
    write(path, value)?;
    Ok(true)
}

/// Writes `net/<path>` without looking: for a link that was just made.
pub fn write(path: &str, value: &str) -> Result<()> {
    let path = Path::new(ROOT).join(path);
    open(&path, OpenOptions::new().write(true))?
        .write_all(value.as_bytes())
        .map_err(|e| failed("write", &path, &e))
}

/// Switches IPv4 forwarding on. Whether it was off.
pub fn enable_forwarding_v4() -> Result<bool> {
    set("ipv4/ip_forward", "1")
}

/// Switches IPv6 forwarding on. Whether it was off. Every interface that accepts router
/// advertisements is told before to go on with it: forwarding would end that, and the host
/// would lose its advertised default route.
pub fn enable_forwarding_v6() -> Result<bool> {
    if read("ipv6/conf/all/forwarding")? == "1" {
        return Ok(false);
    }
    let conf = Path::new(ROOT).join("ipv6/conf");
    for entry in std::fs::read_dir(&conf).map_err(|e| failed("list", &conf, &e))?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("ipv6/conf/{name}/accept_ra");
        // An interface may go away meanwhile.
        if name != "all" && read(&path).is_ok_and(|value| value == "1") {
            let _ = write(&path, "2");
        }
    }
    write("ipv6/conf/all/forwarding", "1")?;
    Ok(true)
}

fn open(path: &Path, options: &OpenOptions) -> Result<std::fs::File> {
    options.open(path).map_err(|e| failed("open", path, &e))
}

fn failed(op: &'static str, path: &Path, error: &std::io::Error) -> Error {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    Error::File { op, path: PathBuf::from(path), errno }
}
