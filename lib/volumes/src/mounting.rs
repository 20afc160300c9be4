//! Mounting and unmounting: a volume is staged by its first user, and unstaged by its last. What
//! is about to be done is written down before it is done, and counts before anybody is told.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cleat_kernel::Errno;
use cleat_kernel::mount_table::{MountTable, Mounted};
use cleat_records::time;

use crate::child::{self, Job};
use crate::drivers;
use crate::error::{Error, Result};
use crate::folders::{self, Home, needs_mount};
use crate::name::VolumeName;
use crate::record::{Failure, Phase, Uses, VolumeRecord};
use crate::volumes::Volumes;

/// A call is given up then.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
}

/// How long a server may take to let go of a mount before it is taken out of sight.
const UNMOUNT: Duration = Duration::from_secs(5);
/// Longest mount id: Docker's have 64 bytes.
const LONGEST_ID: usize = 1024;

impl Deadline {
    /// From now on.
    pub fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }

    /// What is left of it.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// What is left of it, or less.
    pub fn at_most(&self, limit: Duration) -> Duration {
        self.left().min(limit)
    }

    pub(crate) fn check(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.left().is_zero() { Err(self.passed(what())) } else { Ok(()) }
    }

    pub(crate) fn passed(&self, what: String) -> Error {
        Error::Timeout { what, seconds: self.allowed.as_secs() }
    }
}

impl Volumes {
    /// One more use; where the volume is seen.
    pub fn mount(&self, name: &str, id: &str, deadline: Deadline) -> Result<PathBuf> {
        let name: VolumeName = name.parse()?;
        check_id(id)?;
        let _lock = self.lock(&name, deadline)?;
        let record = self.record(&name)?;
        let mut uses = self.uses(&name)?;
        let path = self.stage(&record, &mut uses, deadline)?;
        let was_unused = uses.is_unused();
        uses.add(id);
        let saved = self.save_uses(&name, &uses);
        if saved.is_err() && was_unused && needs_mount(&record.spec) {
            self.take_off(&name, &path, deadline);
        }
        saved.map(|()| path)
    }

    /// Unmounts what must not stay after a failure, whose error is what matters.
    fn take_off(&self, name: &VolumeName, path: &Path, deadline: Deadline) {
        if let Ok(Some(mount)) = mounted(path)
            && let Err(error) = self.unmount_path(name, &mount, deadline)
        {
            self.warn(&format!("volume {name}: {error}"));
        }
    }

    /// One use less. An id that is not known is a success: it may have been counted down before a
    /// connection broke.
    pub fn unmount(&self, name: &str, id: &str, deadline: Deadline) -> Result<()> {
        let name: VolumeName = name.parse()?;
        let _lock = self.lock(&name, deadline)?;
        let record = self.record(&name)?;
        let mut uses = self.uses(&name)?;
        if !uses.take(id) {
            self.warn(&format!("volume {name}: unmounted by {id:.12}, who had not mounted it"));
        } else if !uses.is_unused() {
            return self.save_uses(&name, &uses);
        }
        if uses.is_unused() { self.unstage(&record, &mut uses, deadline) } else { Ok(()) }
    }

    /// Makes the volume seen at its place, if it is not; saves only what a crash must not lose.
    pub(crate) fn stage(
        &self,
        record: &VolumeRecord,
        uses: &mut Uses,
        deadline: Deadline,
    ) -> Result<PathBuf> {
        let home = self.folders.home(&record.name);
        let path = home.staged(&record.spec);
        if !needs_mount(&record.spec) {
            return if path.is_dir() {
                uses.phase = Phase::Staged;
                Ok(path)
            } else {
                let source = std::io::ErrorKind::NotFound.into();
                Err(Error::File { op: "open", path, source })
            };
        }
        if is_mounted(&path)? {
            uses.phase = Phase::Staged;
            return Ok(path);
        }
        self.assert_visible(&home)?;
        uses.phase = Phase::Staging;
        self.save_uses(&record.name, uses)?;
        folders::make(&path)?;
        match drivers::stage(self, &home, record, deadline) {
            Ok(warnings) => {
                for warning in &warnings {
                    self.warn(&format!("volume {}: {warning}", record.name));
                }
                uses.warnings = warnings;
                uses.failure = None;
                uses.phase = Phase::Staged;
                Ok(path)
            }
            Err(error) => {
                // Of a child that had attached it when its time was over.
                self.take_off(&record.name, &path, deadline);
                uses.phase = Phase::Idle;
                uses.failure = Some(Failure { text: error.to_string(), at: time::now() });
                // The error itself is what the caller needs to know.
                let _ = self.save_uses(&record.name, uses);
                Err(error)
            }
        }
    }

    /// Ends the mount that nobody uses any more.
    pub(crate) fn unstage(
        &self,
        record: &VolumeRecord,
        uses: &mut Uses,
        deadline: Deadline,
    ) -> Result<()> {
        let path = self.folders.home(&record.name).staged(&record.spec);
        if needs_mount(&record.spec) {
            uses.phase = Phase::Unstaging;
            self.save_uses(&record.name, uses)?;
            while let Some(mount) = mounted(&path)? {
                self.unmount_path(&record.name, &mount, deadline)?;
            }
        }
        uses.phase = Phase::Idle;
        uses.warnings.clear();
        self.save_uses(&record.name, uses)
    }

    /// A local file system is busy or goes at once. A server may be dead.
    pub(crate) fn unmount_path(
        &self,
        name: &VolumeName,
        mount: &Mounted,
        deadline: Deadline,
    ) -> Result<()> {
        let path = &mount.target;
        if !mount.is_remote() {
            return Ok(cleat_kernel::mount::unmount(path, false)?);
        }
        let gone = |id: u64| -> Result<bool> { Ok(mounted(path)?.is_none_or(|m| m.id != id)) };
        let job = |lazily| Job::Unmount { target: path.clone(), lazily };
        let tried = child::run(&self.settings, &job(false), deadline.at_most(UNMOUNT));
        if gone(mount.id)? {
            if let Err(error @ Error::Timeout { .. }) = tried {
                self.warn(&format!("volume {name}: the server does not answer: {error}"));
            }
            return Ok(());
        }
        self.warn(&format!(
            "volume {name}: {} did not let go of {}; it is taken out of sight, and ends when the \
             server answers or its last user is gone",
            mount.source,
            path.display()
        ));
        let tried = child::run(&self.settings, &job(true), UNMOUNT);
        if gone(mount.id)? { Ok(()) } else { tried.map(drop) }
    }

    /// Refuses to mount what the host would not see.
    pub(crate) fn assert_visible(&self, home: &Home) -> Result<()> {
        if self.settings.own_namespace {
            return Ok(());
        }
        // Where the host's first process is hidden, there is nothing to compare with.
        let Ok(hosts) = MountTable::of_process(1) else { return Ok(()) };
        let ours = MountTable::read()?;
        if ours.is_of_namespace(&hosts) {
            return Ok(());
        }
        let group = ours.holding(&home.path).and_then(|mount| mount.shared);
        if group.is_some_and(|group| hosts.iter().any(|mount| mount.shared == Some(group))) {
            return Ok(());
        }
        Err(Error::Invisible {
            reason: format!(
                "this process has a mount namespace of its own, and {} is not shared with the \
                 host's; start it without one (in a unit: no PrivateMounts, PrivateTmp, \
                 ProtectSystem and the like), or set CLEAT_MOUNT_NAMESPACE=own",
                home.path.display()
            ),
        })
    }
}

pub(crate) fn check_id(id: &str) -> Result<()> {
    if (1..=LONGEST_ID).contains(&id.len()) {
        return Ok(());
    }
    let expected = "a mount id of 1 to 1024 bytes";
    Err(Error::OptionValue { key: "ID".into(), value: id.chars().take(16).collect(), expected })
}

/// Whether something is mounted at a path. One that is no directory is not; for all others the
/// kernel's list tells, which no dead server can hang.
fn is_mounted(path: &Path) -> Result<bool> {
    Ok(mounted(path)?.is_some())
}

/// What is mounted at a path, on top.
pub(crate) fn mounted(path: &Path) -> Result<Option<Mounted>> {
    // The kernel's list has no symbolic links; the state directory may be behind one.
    let real = match (path.parent().map(std::fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    };
    Ok(MountTable::read()?.at(&real).cloned())
}

/// Unmounts what is there, if anything is.
pub(crate) fn absent(outcome: cleat_kernel::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if matches!(error.errno(), Some(Errno::INVAL | Errno::NOENT)) => Ok(()),
        other => Ok(other?),
    }
}
