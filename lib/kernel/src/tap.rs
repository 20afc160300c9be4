//! Persistent tap devices: interfaces whose other end a program opens, as a virtual machine does.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys;

/// The kernel's name for the kind of its links.
pub const KIND: &str = "tun";
/// The kernel's build option for it.
pub const OPTION: &str = "CONFIG_TUN";
const DEVICE: &str = "/dev/net/tun";
/// Read by the kernel when the thread's next socket is made (SELinux).
const SOCKET_LABEL: &str = "/proc/thread-self/attr/sockcreate";

// include/uapi/linux/if_tun.h
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;
const TUNSETOWNER: libc::Ioctl = 0x4004_54cc;
const TUNSETGROUP: libc::Ioctl = 0x4004_54ce;
const IFF_TAP: i32 = 0x0002;
const IFF_MULTI_QUEUE: i32 = 0x0100;
const IFF_NO_PI: i32 = 0x1000;
/// One of that name is none of ours.
const IFF_TUN_EXCL: i32 = 0x8000;

/// A tap device.
#[derive(Debug, Clone, Copy)]
pub struct Tap<'a> {
    /// Its name.
    pub name: &'a str,
    /// It can be opened several times at once, a queue each.
    pub multi_queue: bool,
    /// Who may open it, besides root.
    pub owner: Option<u32>,
    /// Which group may.
    pub group: Option<u32>,
    /// Its SELinux context.
    pub selinux: Option<&'a str>,
}

/// Makes one in the calling thread's namespace, that stays when this returns.
pub fn create(tap: &Tap<'_>) -> Result<()> {
    let path = Path::new(DEVICE);
    let device = File::options().read(true).write(true).open(path).map_err(file("open", path))?;
    let labelled = tap.selinux.map(label).transpose()?;
    let made = configure(&device, tap);
    drop(labelled);
    made.map_err(|(what, errno)| Error::kernel(what, format!("tap {}", tap.name), errno))
}

fn configure(device: &File, tap: &Tap<'_>) -> std::result::Result<(), (&'static str, Errno)> {
    let queues = if tap.multi_queue { IFF_MULTI_QUEUE } else { 0 };
    let flags = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | queues;
    // SAFETY: an ifreq of zeros names nothing and asks for nothing.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = CString::new(tap.name).map_err(|_| ("create", Errno::INVAL))?;
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the kernel reads and writes an ifreq, which lives through the call.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if rc != 0 {
        return Err(("create", sys::last_errno()));
    }
    let numbers = [
        ("set owner of", TUNSETOWNER, tap.owner),
        ("set group of", TUNSETGROUP, tap.group),
        ("keep", TUNSETPERSIST, Some(1)),
    ];
    for (what, request, number) in numbers {
        let Some(number) = number else { continue };
        // SAFETY: these take a number, and no memory.
        let rc = unsafe { libc::ioctl(device.as_raw_fd(), request, libc::c_ulong::from(number)) };
        if rc != 0 {
            return Err((what, sys::last_errno()));
        }
    }
    Ok(())
}

/// For what the thread makes until the value is dropped.
struct Label;

fn label(context: &str) -> Result<Label> {
    let path = Path::new(SOCKET_LABEL);
    write(path, context).map_err(file("write SELinux context to", path))?;
    Ok(Label)
}

impl Drop for Label {
    fn drop(&mut self) {
        // Refused only where it was not set.
        let _ = write(Path::new(SOCKET_LABEL), "\0");
    }
}

/// To a file of the kernel's, in one call.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    File::options().write(true).open(path)?.write_all(text.as_bytes())
}

fn file(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |e| Error::File { op, path, errno: Errno::from_io_error(&e).unwrap_or(Errno::IO) }
}
