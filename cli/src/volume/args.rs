//! What a user can type after `cleat volume`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::filter::Filter;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a volume
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show all there is to know of volumes
    Inspect(NamesArgs),
    /// Remove volumes that nobody uses
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Remove all volumes that nobody uses and nobody named
    #[command(after_long_help = PRUNE)]
    Prune(PruneArgs),
    /// Measure volumes
    Usage(SomeArgs),
    /// Use a volume, and print where it is seen
    #[command(after_long_help = MOUNT)]
    Mount(MountArgs),
    /// End a use
    #[command(visible_alias = "umount")]
    Unmount(UnmountArgs),
    /// Write a volume's content as tar.zst
    #[command(after_long_help = BACKUP)]
    Backup(BackupArgs),
    /// Make a volume out of what `backup` wrote
    Restore(RestoreArgs),
    /// Make a volume with the content of another one
    Clone(CloneArgs),
    /// Forget all uses of volumes and unmount them, whatever is written down
    #[command(after_long_help = RESET)]
    Reset(NamesArgs),
    /// Say what is wrong with volumes
    #[command(after_long_help = "Exits with 1 if something is wrong.")]
    Health(SomeArgs),
}

const CREATE: &str = "\
Examples:
  cleat volume create data
  cleat volume create data --opt size=10g --opt backing=image --opt uid=1000
  cleat volume create src --opt type=none --opt o=bind --opt device=/srv/src
  cleat volume create tmp --opt type=tmpfs --opt size=64m
  cleat volume create files --opt type=nfs --opt device=server:/export --opt o=vers=4.2,soft

Options are those of Docker's `local` driver, and more: see docs/volumes.md.";
const PRUNE: &str = "\
Examples:
  cleat volume prune
  cleat volume prune --all --filter label=tier=test

Volumes that an engine made through the driver are left to the engine: its stopped containers
may need them. Those in use are never taken.";
const MOUNT: &str = "\
Examples:
  cleat volume mount data
  cleat volume mount data /mnt/data --read-only --id job-7
  cleat volume unmount data --id job-7";
const BACKUP: &str = "\
Examples:
  cleat volume backup data data.tar.zst
  cleat volume backup data | ssh other cleat volume restore data

Stop what writes to it, or the files are those of different moments.";
const RESET: &str = "\
After a crash of an engine its uses may stay counted. What still runs keeps what it has open; a
tmpfs volume starts empty the next time.";

#[derive(Debug, Args)]
#[command(after_long_help = CREATE)]
pub(crate) struct CreateArgs {
    /// Its name [default: 64 hex digits, an anonymous volume]
    pub(crate) name: Option<String>,
    /// An option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
    /// A label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only those: name=PART, driver=NAME, label=KEY[=VALUE], dangling=true|false
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<Filter>,
    /// Names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// Volumes
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SomeArgs {
    /// Volumes [default: all]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Absence is success
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Volumes
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Those with a name of their own, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only those: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<Filter>,
    /// Say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// The volume
    pub(crate) name: String,
    /// Where to attach it [default: nowhere but at its own place]
    pub(crate) target: Option<PathBuf>,
    /// Nothing can be written at the target
    #[arg(long, alias = "ro", requires = "target")]
    pub(crate) read_only: bool,
    /// A directory of the volume
    #[arg(long, value_name = "PATH", requires = "target")]
    pub(crate) subpath: Option<PathBuf>,
    /// Who uses it
    #[arg(long, default_value = "cleat")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// The volume
    pub(crate) name: String,
    /// Who used it
    #[arg(long, default_value = "cleat")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The volume
    pub(crate) name: String,
    /// The file [default: standard output]
    pub(crate) file: Option<PathBuf>,
    /// How hard to compress
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) level: i32,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The volume; made if there is none, else it must be empty
    pub(crate) name: String,
    /// The file [default: standard input]
    pub(crate) file: Option<PathBuf>,
    /// An option of the driver, if the volume is to be made [default: a plain named volume]
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// The volume to copy
    pub(crate) from: String,
    /// The new one
    pub(crate) to: String,
    /// An option of the new one [default: those of a named volume that is copied, else none]
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
}
