//! A file as a block device. The device frees itself when its last user goes, so that nothing is
//! left of one whose maker was killed.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys_mount;

/// More than makers of loop devices will ever meet.
const TRIES: u32 = 64;

/// A loop device in use: open until what is mounted from it holds it.
#[derive(Debug)]
pub struct LoopDevice {
    _device: File,
    path: PathBuf,
}

impl LoopDevice {
    /// Puts a file behind a free device.
    pub fn over(image: &Path) -> Result<Self> {
        let open = |path: &Path| {
            File::options().read(true).write(true).open(path).map_err(|e| Error::File {
                op: "open",
                path: path.to_owned(),
                errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
            })
        };
        let file = open(image)?;
        let control = open(Path::new("/dev/loop-control"))?;
        let fail =
            |errno| Error::kernel("make a loop device of", image.display().to_string(), errno);
        for _ in 0..TRIES {
            let number = sys_mount::free_loop(control.as_fd()).map_err(fail)?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path)?;
            let name = image.as_os_str().as_bytes();
            match sys_mount::configure_loop(device.as_fd(), file.as_fd(), name) {
                Ok(()) => return Ok(Self { _device: device, path }),
                // Another was faster.
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        Err(fail(Errno::BUSY))
    }

    /// The device's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
