//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Volumes for Docker, Podman and anyone
#[derive(Debug, Parser)]
#[command(name = "voldriver", version, max_term_width = 100, after_long_help = HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const HELP: &str = "\
Examples:
  voldriver run
  docker volume create -d cleat -o size=1g -o backing=image data
  echo '{\"Name\":\"data\"}' | voldriver call Get

Environment:
  CLEAT_STATE_DIR        folder of volumes (/var/lib/cleat)
  CLEAT_RUN_DIR          folder of runtime state (/run/cleat)
  CLEAT_VOLUME_ROOTS     folders that bind volumes must be below, separated by colons
  CLEAT_MOUNT_NAMESPACE  own: mount even where the host's processes would not see it";

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the volume plugin protocol, in the foreground
    Run(Run),
    /// Do one call: its request on standard input, its answer on standard output
    #[command(
        after_long_help = "Exits with 1 if the answer has an error. Safe beside a running driver."
    )]
    Call {
        /// Create, Remove, Mount, Unmount, Path, Get, List, Capabilities or Activate
        method: String,
    },
    /// Kubernetes' FlexVolume: say what this driver can do
    Init,
    /// Kubernetes' FlexVolume: mount a volume at a directory
    Mount {
        /// The directory
        directory: PathBuf,
        /// Options, a JSON object
        options: String,
    },
    /// Kubernetes' FlexVolume: take it away from there
    Unmount {
        /// The directory
        directory: PathBuf,
    },
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The socket; its name is that of the driver
    #[arg(long, default_value = "/run/docker/plugins/cleat.sock")]
    pub socket: PathBuf,
    /// Bind volumes must be below this folder; repeat for more
    #[arg(long = "allowed-root", value_name = "DIR")]
    pub allowed_roots: Vec<PathBuf>,
    /// Seconds that a call may take; dockerd waits for 60, a managed plugin's caller for 30
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=110))]
    pub deadline: u64,
    /// Seconds between measurements of volumes whose size is known for nothing; 0 for none
    #[arg(long, default_value_t = 60)]
    pub measure: u64,
}
