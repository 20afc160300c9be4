//! All volumes of a node: making, looking, listing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use cleat_kernel::Errno;
use cleat_records::{OwnLock, time};
use rustix::fs::{CWD, RenameFlags};

use crate::drivers;
use crate::error::{Error, Result, file};
use crate::figures::{self, Figures};
use crate::folders::{self, Folders, Home};
use crate::mounting::Deadline;
use crate::name::VolumeName;
use crate::options;
use crate::record::{self, Phase, Uses, VolumeRecord};

/// How a program works on volumes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Durable state: `/var/lib/cleat`.
    pub state: PathBuf,
    /// Runtime state: `/run/cleat`.
    pub run: PathBuf,
    /// Bind volumes must be below one of these; empty: anywhere.
    pub roots: Vec<PathBuf>,
    /// This program as a child that does one job: see [`crate::run_helper`].
    pub helper: Vec<OsString>,
    /// This boot's id.
    pub boot: String,
    /// Mounts need to be seen by nobody but who shares this process's mount namespace.
    pub own_namespace: bool,
}

impl Settings {
    /// As the environment says: `CLEAT_STATE_DIR`, `CLEAT_RUN_DIR`, `CLEAT_VOLUME_ROOTS` (separated
    /// by colons), `CLEAT_MOUNT_NAMESPACE=own`. Jobs are done by this program with the word
    /// [`crate::HELPER`].
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| var(name).filter(|value| !value.is_empty());
        let folder =
            |name: &str, default: &str| get(name).map_or_else(|| default.into(), PathBuf::from);
        let boot = get("CLEAT_BOOT_ID").and_then(|id| id.into_string().ok());
        Self {
            state: folder("CLEAT_STATE_DIR", "/var/lib/cleat"),
            run: folder("CLEAT_RUN_DIR", "/run/cleat"),
            roots: get("CLEAT_VOLUME_ROOTS")
                .map(|roots| std::env::split_paths(&roots).collect())
                .unwrap_or_default(),
            helper: vec!["/proc/self/exe".into(), crate::HELPER.into()],
            boot: boot.or_else(|| cleat_kernel::process::boot_id().ok()).unwrap_or_default(),
            own_namespace: get("CLEAT_MOUNT_NAMESPACE").is_some_and(|v| v == "own"),
        }
    }
}

/// The volumes of a node.
pub struct Volumes {
    pub(crate) settings: Settings,
    pub(crate) folders: Folders,
    warn: Box<dyn Fn(&str) + Send + Sync>,
}

/// A volume to be made.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Its name.
    pub name: String,
    /// As Docker has them.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Who keeps books of it beside us, such as `docker`.
    pub made_for: Option<String>,
}

/// A volume as it is now.
#[derive(Debug, Clone)]
pub struct Volume {
    /// What it is.
    pub record: VolumeRecord,
    /// Who uses it.
    pub uses: Uses,
    /// Where it is seen once it is mounted.
    pub mountpoint: PathBuf,
    /// What was last measured.
    pub figures: Option<Figures>,
}

impl Volume {
    /// Its content is seen at its mountpoint.
    pub fn is_mounted(&self) -> bool {
        !folders::needs_mount(&self.record.spec) || self.uses.phase == Phase::Staged
    }
}

impl Volumes {
    /// Touches nothing; `warn` hears of what is wrong but not fatal.
    pub fn new(settings: Settings, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let folders = Folders::new(&settings.state, &settings.run);
        Self { settings, folders, warn: Box::new(warn) }
    }

    pub(crate) fn warn(&self, text: &str) {
        (self.warn)(text);
    }

    /// Makes a volume. One that is there and was made alike is a success too.
    pub fn create(&self, order: &Order, deadline: Deadline) -> Result<Volume> {
        let name: VolumeName = order.name.parse()?;
        let spec = options::parse(&order.options)?;
        drivers::check(&spec, &self.settings)?;
        let lock = self.lock(&name, deadline)?;
        let home = self.folders.home(&name);
        if let Some(record) = record::read(&home)? {
            return if record.spec == spec {
                self.seen(record)
            } else {
                Err(Error::Exists { name: name.to_string() })
            };
        }
        let new = self.folders.new_home(&name);
        let record = VolumeRecord {
            name,
            spec,
            options: order.options.clone(),
            labels: order.labels.clone(),
            made_for: order.made_for.clone(),
            created: time::now(),
            project: None,
        };
        let made = self.build(&new, record, deadline);
        if made.is_err() {
            let _ = crate::remove::tree(&new.path);
            lock.forget();
        }
        self.seen(made?)
    }

    /// Under another name first, so that it is there as a whole or not at all.
    fn build(
        &self,
        new: &Home,
        mut record: VolumeRecord,
        deadline: Deadline,
    ) -> Result<VolumeRecord> {
        crate::remove::tree(&new.path)?;
        drivers::reach(self, &record.spec, deadline)?;
        folders::make(&new.path)?;
        drivers::prepare(self, new, &mut record, deadline)?;
        if folders::needs_mount(&record.spec) {
            folders::make(&new.mount())?;
        }
        record::write(new, &record)?;
        folders::sync(&new.path)?;
        let home = self.folders.home(&record.name);
        match rustix::fs::renameat_with(CWD, &new.path, CWD, &home.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // What is there has no record, or it would have been found.
            Err(Errno::EXIST) => {
                return Err(Error::NoRecord { name: record.name.to_string(), path: home.path });
            }
            Err(errno) => return Err(file("make", &home.path)(errno.into())),
        }
        folders::sync(&self.folders.state)?;
        Ok(record)
    }

    /// One volume. Touches no file system but that of the state.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let name: VolumeName = name.parse()?;
        self.seen(self.record(&name)?)
    }

    /// All volumes by name; those that cannot be read are warned of.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut found = Vec::new();
        self.each(|volume| found.push(volume))?;
        Ok(found)
    }

    /// The same one after the other, for whom so many at once are too many.
    pub fn each(&self, mut visit: impl FnMut(Volume)) -> Result<()> {
        // Most of many volumes have neither: two directories say which, so that no file is looked
        // for in vain.
        let used = record::uses(&self.folders).names()?;
        let measured = figures::store(&self.folders).names()?;
        for name in self.names()? {
            let is_in = |names: &[String]| {
                names.binary_search_by(|known| known.as_str().cmp(name.as_str())).is_ok()
            };
            let looked = self.record(&name).and_then(|record| {
                let uses = if is_in(&used) { self.uses(&name)? } else { self.no_uses() };
                let figures =
                    is_in(&measured).then(|| figures::last(&self.folders, &name)).flatten();
                Ok(self.seen_with(record, uses, figures))
            });
            match looked {
                Ok(volume) => visit(volume),
                // Removed since the directory was read.
                Err(error) if error.is_no_volume() => {}
                Err(error) => self.warn(&format!("volume {name}: {error}")),
            }
        }
        Ok(())
    }

    /// The names of volumes that are used, or were in this boot.
    pub fn touched(&self) -> Result<Vec<String>> {
        Ok(record::uses(&self.folders).names()?)
    }

    /// The names of all directories that may be volumes, sorted.
    pub(crate) fn names(&self) -> Result<Vec<VolumeName>> {
        let mut names: Vec<VolumeName> =
            self.entries()?.iter().filter_map(|entry| entry.parse().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// All entries of the state directory.
    pub(crate) fn entries(&self) -> Result<Vec<String>> {
        let folder = &self.folders.state;
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(file("list", folder)(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(file("list", folder))?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// What the volume is.
    pub(crate) fn record(&self, name: &VolumeName) -> Result<VolumeRecord> {
        record::read(&self.folders.home(name))?
            .ok_or_else(|| Error::NoVolume { name: name.to_string() })
    }

    /// What is known of its uses in this boot.
    pub(crate) fn uses(&self, name: &VolumeName) -> Result<Uses> {
        let known = record::uses(&self.folders).read(name.as_str())?;
        let current = known.filter(|uses| uses.boot == self.settings.boot);
        Ok(current.unwrap_or_else(|| self.no_uses()))
    }

    fn no_uses(&self) -> Uses {
        Uses { boot: self.settings.boot.clone(), ..Uses::default() }
    }

    pub(crate) fn save_uses(&self, name: &VolumeName, uses: &Uses) -> Result<()> {
        Ok(record::uses(&self.folders).replace(name.as_str(), uses)?)
    }

    fn seen(&self, record: VolumeRecord) -> Result<Volume> {
        let uses = self.uses(&record.name)?;
        let figures = figures::last(&self.folders, &record.name);
        Ok(self.seen_with(record, uses, figures))
    }

    fn seen_with(&self, record: VolumeRecord, uses: Uses, figures: Option<Figures>) -> Volume {
        let mountpoint = self.folders.home(&record.name).staged(&record.spec);
        Volume { record, uses, mountpoint, figures }
    }

    /// Everything done with one volume is done one after the other, by whichever process.
    pub(crate) fn lock(&self, name: &VolumeName, deadline: Deadline) -> Result<OwnLock> {
        let lock = OwnLock::acquire(&self.folders.lock(name))?;
        // Whoever asked has been told by now that it failed.
        deadline.check(|| format!("volume {name}: waiting for another call"))?;
        Ok(lock)
    }
}

/// How long a program that makes file systems may run.
pub(crate) const MKFS: Duration = Duration::from_secs(100);
