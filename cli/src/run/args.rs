//! What a user can type after `cleat run`, `ps`, `exec`, `stop` and `rm`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::mount_request::{Long, Short};
use super::publish::PublishRequest;
use super::request::NetworkRequest;

const RUN: &str = "\
Examples:
  cleat run --network web --rm ip addr
  cleat run -d --name site --network web -p 8080:80 httpd -f -p 80
  cleat run --network web:ip=10.89.0.9,alias=db --network lan:gw-priority=1 sh
  cleat run --volume data:/srv:ro --mount type=tmpfs,target=/tmp,tmpfs-size=64m sh
  cleat run -p 80 ...                        any free host port to port 80
  cleat run -p 127.0.0.1:8000-8010:8000-8010/udp ...
  cleat run -p 8000-8999:80 ...              the first free one of these

Without --network there is the loopback only. Exits with the program's code, 128 and the number of
the signal that ended it, 125 if cleat failed, 126 if the program cannot be run, 127 if there is
none.";

#[derive(Debug, Args)]
#[command(after_long_help = RUN)]
pub(crate) struct RunArgs {
    /// A network: NAME, host or none, with `ip`, `alias`, `mac`, `gw-priority`, `ifname`
    #[arg(long, value_name = "NETWORK[:OPTION=VALUE,...]")]
    pub(crate) network: Vec<NetworkRequest>,
    /// Publish a port, or as many as a range has
    #[arg(short, long, value_name = "[ADDRESS:][PORT:]PORT[/PROTOCOL]")]
    pub(crate) publish: Vec<PublishRequest>,
    /// A volume, made on first use, or a directory of the host: NAME or /DIR
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:ro]")]
    pub(crate) volume: Vec<Short>,
    /// The same in words: type=volume|bind|tmpfs, source, target, readonly, ...
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) mount: Vec<Long>,
    /// A name [default: the start of its id]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// In the background; prints the id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Forget it when it has ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Its host name [default: its name]
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// A name server, in place of those of its networks
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<IpAddr>,
    /// A domain to search
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// An option of the resolver
    #[arg(long, value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// A line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// Set a variable, or take it out with no `=`
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Its working directory [default: this one]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,
    /// Where the output of a detached one goes [default: nowhere]
    #[arg(long, value_name = "FILE", requires = "detach")]
    pub(crate) log: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  cleat ps\n  cleat ps --all\n  cleat --format json ps")]
pub(crate) struct PsArgs {
    /// Those that have ended, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  cleat exec site ip addr\n  cleat exec -e A=b site sh")]
pub(crate) struct ExecArgs {
    /// Set a variable beside those of the container, or take it out with no `=`
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Its working directory [default: the container's]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,
    /// The container's name or id
    pub(crate) container: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  cleat stop site\n  cleat stop --time 0 one two")]
pub(crate) struct StopArgs {
    /// Seconds to wait before it is killed
    #[arg(short, long, default_value_t = 10)]
    pub(crate) time: u64,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  cleat rm site\n  cleat rm --force one two")]
pub(crate) struct RmArgs {
    /// Also running ones; absence is success
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}
