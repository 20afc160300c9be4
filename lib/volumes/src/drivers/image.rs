//! Named volumes in a sparse file with an ext4 file system of their own: a limit anywhere. The
//! file system is made by mkfs.ext4, in a child that is killed when it takes too long.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cleat_kernel::loop_device::LoopDevice;
use cleat_kernel::mount::Detached;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::{LABEL, has_selinux};
use crate::child::wait;
use crate::error::{Error, Result, file};
use crate::folders::Home;
use crate::mounting::Deadline;
use crate::spec::{Access, Named};
use crate::volumes::MKFS;

const PROGRAM: &str = "mkfs.ext4";

/// Makes the file and what is in it.
pub(super) fn prepare(new: &Home, named: &Named, deadline: Deadline) -> Result<()> {
    let image = new.image();
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&image);
    let opened = opened.map_err(file("create", &image))?;
    opened.set_len(named.size.unwrap_or_default()).map_err(file("size", &image))?;
    format(&image, named, deadline)?;
    opened.sync_all().map_err(file("sync", &image))?;
    own(new, named)
}

fn format(image: &std::path::Path, named: &Named, deadline: Deadline) -> Result<()> {
    let program = find().ok_or_else(|| Error::Program {
        program: PROGRAM,
        problem: "not found in PATH, /usr/sbin or /sbin; install e2fsprogs".into(),
    })?;
    let log = image.with_file_name("_mkfs.log");
    let output = File::create(&log).map_err(file("create", &log))?;
    let errors = output.try_clone().map_err(file("open", &log))?;
    #[allow(clippy::disallowed_methods, reason = "a file system is made by its own program")]
    let mut command = Command::new(program);
    command.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1"]);
    if let Some(inodes) = named.inodes {
        command.args(["-N", &inodes.to_string()]);
    }
    command.arg(image).current_dir("/").stdin(Stdio::null()).stdout(output).stderr(errors);
    let fail = |problem: String| Error::Program { program: PROGRAM, problem };
    let child = command.spawn().map_err(|e| fail(e.to_string()))?;
    let exit = wait(child, deadline.at_most(MKFS))
        .map_err(|e| fail(e.to_string()))?
        .ok_or_else(|| deadline.passed(PROGRAM.to_owned()))?;
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    if exit.success() { Ok(()) } else { Err(fail(format!("{exit}: {}", said.trim()))) }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(PROGRAM)).find(|path| path.is_file())
}

/// A new file system has a directory of its own, which would make the volume look used; and it
/// belongs to root.
fn own(new: &Home, named: &Named) -> Result<()> {
    let image = new.image();
    let root = mount(new, &Access::default())?;
    let fail = |op| {
        let image = image.clone();
        move |errno: rustix::io::Errno| file(op, &image)(errno.into())
    };
    rustix::fs::unlinkat(root.as_fd(), "lost+found", AtFlags::REMOVEDIR)
        .map_err(fail("clear the file system in"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::openat(root.as_fd(), ".", flags, Mode::empty()).map_err(fail("open"))?;
    if named.uid.is_some() || named.gid.is_some() {
        let (user, group) = (named.uid.map(Uid::from_raw), named.gid.map(Gid::from_raw));
        rustix::fs::fchown(&directory, user, group).map_err(fail("set the owner in"))?;
    }
    if let Some(mode) = named.mode {
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))
            .map_err(fail("set the mode in"))?;
    }
    Ok(())
}

pub(super) fn mount(home: &Home, access: &Access) -> Result<Detached> {
    let device = LoopDevice::over(&home.image())?;
    let source = device.path().to_string_lossy().into_owned();
    let mut parameters = vec![("source", Some(source.as_str()))];
    if has_selinux() {
        parameters.push(("context", Some(LABEL)));
    }
    Ok(Detached::new("ext4", &parameters, access.attributes())?)
}
