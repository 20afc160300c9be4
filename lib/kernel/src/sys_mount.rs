//! System calls for mounts and block devices that rustix has no safe form for. Unsafe code of
//! that kind stands here.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::sys::last_errno;

fn check(rc: libc::c_long) -> Result<libc::c_long, Errno> {
    if rc < 0 { Err(last_errno()) } else { Ok(rc) }
}

/// mount_setattr(2) on a mount: the four words of struct mount_attr.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    words: &[u64; 4],
) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, and the kernel reads the 32 bytes of `words`, which are
    // laid out as struct mount_attr (four u64 without padding) and live through the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            words.as_ptr(),
            size_of_val(words),
        )
    };
    check(rc).map(drop)
}

/// Starts a child in a user namespace of its own that does nothing until it is killed.
pub(crate) fn child_in_user_namespace() -> Result<u32, Errno> {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: clone without CLONE_VM is a fork. The child makes system calls only, on no memory
    // of Rust's, and never returns from here.
    unsafe {
        match libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) {
            -1 => Err(last_errno()),
            0 => {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    libc::pause();
                }
            }
            pid => Ok(u32::try_from(pid).unwrap_or_default()),
        }
    }
}

/// struct if_dqblk of linux/quota.h.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct QuotaBlock {
    pub(crate) block_hard: u64,
    pub(crate) block_soft: u64,
    pub(crate) space: u64,
    pub(crate) inode_hard: u64,
    pub(crate) inode_soft: u64,
    pub(crate) inodes: u64,
    pub(crate) block_time: u64,
    pub(crate) inode_time: u64,
    pub(crate) valid: u32,
    pub(crate) padding: u32,
}

/// quotactl_fd(2): a command about one id, on the file system that a directory is on.
pub(crate) fn quotactl(
    directory: BorrowedFd<'_>,
    command: i32,
    id: u32,
    block: &mut QuotaBlock,
) -> Result<(), Errno> {
    // SAFETY: the commands used here read or write one struct if_dqblk, as `block` is.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            directory.as_raw_fd(),
            command,
            id,
            std::ptr::from_mut(block),
        )
    };
    check(rc).map(drop)
}

/// quotactl_fd(2), Q_XGETQSTAT: the flags of struct fs_quota_stat (linux/dqblk_xfs.h).
pub(crate) fn quota_flags(directory: BorrowedFd<'_>, command: i32) -> Result<u16, Errno> {
    // The struct has 80 bytes; its flags are the second and third.
    let mut stat = [0_u64; 16];
    // SAFETY: the kernel writes one struct fs_quota_stat, which is smaller than `stat`.
    let rc = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, directory.as_raw_fd(), command, 0, stat.as_mut_ptr())
    };
    check(rc)?;
    // qs_version: u8 at 0, qs_flags: u16 at 2.
    let [first, ..] = stat;
    let [_, _, low, high, ..] = first.to_ne_bytes();
    Ok(u16::from_ne_bytes([low, high]))
}

/// struct fsxattr of linux/fs.h.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FileAttributes {
    pub(crate) flags: u32,
    pub(crate) extent_size: u32,
    pub(crate) extents: u32,
    pub(crate) project: u32,
    pub(crate) cow_extent_size: u32,
    pub(crate) padding: [u8; 8],
}

/// FS_IOC_FSGETXATTR.
pub(crate) fn file_attributes(file: BorrowedFd<'_>) -> Result<FileAttributes, Errno> {
    const GET: libc::c_ulong = 0x801c_581f;
    let mut attributes = FileAttributes::default();
    // SAFETY: the kernel writes one struct fsxattr of 28 bytes, as `attributes` is.
    let rc = unsafe { libc::ioctl(file.as_raw_fd(), GET as _, &raw mut attributes) };
    check(rc.into()).map(|_| attributes)
}

/// FS_IOC_FSSETXATTR.
pub(crate) fn set_file_attributes(
    file: BorrowedFd<'_>,
    attributes: &FileAttributes,
) -> Result<(), Errno> {
    const SET: libc::c_ulong = 0x401c_5820;
    // SAFETY: the kernel reads one struct fsxattr of 28 bytes, as `attributes` is.
    let rc = unsafe { libc::ioctl(file.as_raw_fd(), SET as _, std::ptr::from_ref(attributes)) };
    check(rc.into()).map(drop)
}

/// struct loop_config of linux/loop.h, as 8-byte words: fd and block size, struct loop_info64
/// (232 bytes), eight reserved words.
const LOOP_CONFIG_WORDS: usize = 1 + 29 + 8;

/// LOOP_CTL_GET_FREE: the number of a loop device that is free now.
pub(crate) fn free_loop(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    const GET_FREE: libc::c_ulong = 0x4c82;
    // SAFETY: the call takes no memory.
    let rc = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as _) };
    check(rc.into()).map(|number| u32::try_from(number).unwrap_or_default())
}

/// LOOP_CONFIGURE: puts a file behind a loop device, which frees itself when its last user goes.
pub(crate) fn configure_loop(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), Errno> {
    const CONFIGURE: libc::c_ulong = 0x4c0a;
    const AUTOCLEAR: u32 = 4;
    /// Of lo_flags in struct loop_info64, behind five u64 and three u32.
    const FLAGS_AT: usize = 8 + 52;
    /// Of lo_file_name, 64 bytes with its end.
    const NAME_AT: usize = 8 + 56;
    let mut bytes = [0_u8; LOOP_CONFIG_WORDS * 8];
    let mut put = |at: usize, value: &[u8]| {
        for (place, byte) in bytes.iter_mut().skip(at).zip(value) {
            *place = *byte;
        }
    };
    put(0, &file.as_raw_fd().to_ne_bytes());
    put(FLAGS_AT, &AUTOCLEAR.to_ne_bytes());
    put(NAME_AT, name.get(..name.len().min(63)).unwrap_or_default());
    let mut words = [0_u64; LOOP_CONFIG_WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
    }
    // SAFETY: the kernel reads one struct loop_config of 304 bytes, which `words` has, aligned.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as _, words.as_ptr()) };
    check(rc.into()).map(drop)
}
