//! Everything that can go wrong in the command, in words for whoever typed it.

use std::io;
use std::path::PathBuf;

/// The command's result.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failure of the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Engine(#[from] cleat_engine::Error),
    #[error(transparent)]
    Kernel(#[from] cleat_engine::kernel::Error),
    #[error(transparent)]
    Nft(#[from] cleat_engine::nft::Error),
    #[error(transparent)]
    Records(#[from] cleat_engine::records::Error),
    #[error(transparent)]
    Ipam(#[from] cleat_engine::ipam::Error),
    #[error(transparent)]
    Volumes(#[from] cleat_volumes::Error),
    #[error("volume {name} exists already")]
    VolumeExists { name: String },
    #[error("volume {name} is not empty; restore into a new one")]
    VolumeNotEmpty { name: String },
    #[error("{what}: {problem}")]
    Archive { what: String, problem: String },
    #[error(transparent)]
    Runtime(#[from] cleat_cni::RuntimeError),
    #[error("{doing} {}: {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{argument} {value:?}: {problem}")]
    Argument { argument: &'static str, value: String, problem: String },
    #[error("--opt {key}: not possible with driver {driver}: {reason}")]
    RefusedOption { driver: &'static str, key: String, reason: &'static str },
    #[error("--opt {key}: no such option of driver {driver}; the nearest is {nearest}")]
    UnknownOption { driver: &'static str, key: String, nearest: &'static str },
    #[error("--opt {key}={value}: expected {expected}")]
    OptionValue { key: String, value: String, expected: &'static str },
    #[error("--opt {one} and {other} contradict each other: {reason}")]
    Contradiction { one: &'static str, other: &'static str, reason: &'static str },
    #[error("network {name}: no such network in {}", folder.display())]
    NoNetwork { name: String, folder: PathBuf },
    #[error("network {name} exists already: {}", path.display())]
    NetworkExists { name: String, path: PathBuf },
    #[error("network {name} is predefined and {what}")]
    Predefined { name: String, what: &'static str },
    #[error("network {name} is in use by {users}; {instead}")]
    InUse { name: String, users: String, instead: &'static str },
    #[error(
        "network {name} was not made by `cleat network create`; remove {} yourself, or use --force",
        path.display()
    )]
    NotOurs { name: String, path: PathBuf },
    #[error("subnet {subnet} overlaps {with}")]
    Overlap { subnet: String, with: String },
    #[error(
        "no subnet is left of {pool}: all overlap networks or routes of this host; choose one by --subnet"
    )]
    NoSubnet { pool: String },
    #[error(
        "kubelet is installed, and {} holds no other network: Kubernetes would take this one for \
         its pods; set up the cluster's network first, or use --force",
        folder.display()
    )]
    Kubernetes { folder: PathBuf },
    #[error("network {name} has no addresses of its own to hold (ipam {ipam})")]
    NoPool { name: String, ipam: String },
    #[error("network {network}: {address} is not held")]
    NotHeld { network: String, address: std::net::IpAddr },
    #[error("network {network}: {address} is leased to {owner}; it is freed when that ends")]
    Leased { network: String, address: std::net::IpAddr, owner: String },
    #[error("{name}: no such container")]
    NoContainer { name: String },
    #[error("{name} means several containers: {all}")]
    Ambiguous { name: String, all: String },
    #[error("container name {name} is taken by {id}; remove it by `cleat rm {name}`")]
    NameTaken { name: String, id: String },
    #[error("container {name} is not running")]
    NotRunning { name: String },
    #[error("container {name} is running; stop it first, or use --force")]
    Running { name: String },
    #[error("container {name} {what}")]
    Connection { name: String, what: String },
    #[error("host port {port} is taken: {source}")]
    PortTaken { port: String, source: io::Error },
    #[error("host ports {ports}: none is free")]
    NoFreePort { ports: String },
    #[error("ports cannot be published: {reason}")]
    CannotPublish { reason: String },
    #[error("{program}: command not found")]
    NoProgram { program: String },
    #[error("{program}: permission denied")]
    NotExecutable { program: String },
    #[error("{what} (the supervisor said nothing more)")]
    Supervisor { what: &'static str },
    /// What another process of ours said on its way out; said already.
    #[error("{text}")]
    Relayed { text: String, code: u8 },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
    #[error(
        "netd does not run: nothing answers at {}; start it by `systemctl start cleat-netd`, or in \
         the foreground by `netd run`",
        socket.display()
    )]
    NoNetd { socket: PathBuf },
    #[error("netd: {message}")]
    Netd { message: String },
    #[error("top needs a terminal; for one table use --once")]
    NoTerminal,
    #[error("{what} kept running; stop it first, or use --force")]
    StillRunning { what: String },
}

impl Error {
    /// What the process exits with. As Docker has it, where the code is otherwise the
    /// program's: 125 if we failed, 126 if the program cannot be run, 127 if there is none.
    pub(crate) fn exit_code(&self, runs_a_program: bool) -> u8 {
        match self {
            Self::Relayed { code, .. } => *code,
            Self::NoProgram { .. } if runs_a_program => 127,
            Self::NotExecutable { .. } if runs_a_program => 126,
            _ if runs_a_program => 125,
            _ => 1,
        }
    }

    /// Success if there are none; a single one is itself.
    pub(crate) fn join(mut errors: Vec<Self>) -> Result<()> {
        match errors.pop() {
            None => Ok(()),
            Some(only) if errors.is_empty() => Err(only),
            Some(last) => {
                errors.push(last);
                Err(Self::Several(errors))
            }
        }
    }
}
