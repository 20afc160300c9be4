//! What a user can type: the top of it. Each verb's own words stand with the verb.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;
use crate::{gc, ip, netd, network, node, port, run, uninstall, volume};

/// Container networks without a runtime.
#[derive(Debug, Parser)]
#[command(name = "cleat", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cleat network create web
  cleat run -d --name site --network web --publish 8080:80 httpd -f
  cleat port ls
  cleat exec site ip addr
  cleat stop site && cleat rm site
  cleat network rm web

Environment:
  CNI_PATH          folders of plugin programs, if --cni-path is not given
  CLEAT_CONFIG      the node's settings (/etc/cleat/config.json)
  CLEAT_MARK        the bit of the packet mark, over that of the settings
  CLEAT_NET_DIR     folder of networks (/etc/cni/net.d)
  CLEAT_RUN_DIR     folder of runtime state (/run/cleat)
  CLEAT_STATE_DIR   folder of durable state (/var/lib/cleat); if set, networks made with it keep
                    their leases there, in networks/, instead of /var/lib/cni/networks
  NO_COLOR          no colour, whatever its value";

/// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How to print: a table for people, or JSON for programs
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Folders of plugin programs, separated by colons [default: the folder of this program,
    /// /usr/lib/cleat, /opt/cni/bin]
    #[arg(long, global = true, value_name = "DIRS")]
    pub(crate) cni_path: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make, list, look into and remove networks
    #[command(visible_alias = "net")]
    Network {
        #[command(subcommand)]
        verb: network::Verb,
    },
    /// See which addresses are held, and reserve some
    Ip {
        #[command(subcommand)]
        verb: ip::Verb,
    },
    /// See the hosts that share overlay networks
    Node {
        #[command(subcommand)]
        verb: node::Verb,
    },
    /// See which ports are published
    Port {
        #[command(subcommand)]
        verb: port::Verb,
    },
    /// Make, list, use, copy and remove volumes
    #[command(visible_alias = "vol")]
    Volume {
        #[command(subcommand)]
        verb: volume::Verb,
    },
    /// Run a program on networks of its choice
    Run(run::args::RunArgs),
    /// List the programs that `run` started
    Ps(run::args::PsArgs),
    /// Run a program beside one that `run` started
    Exec(run::args::ExecArgs),
    /// End what `run` started
    Stop(run::args::StopArgs),
    /// Forget what has ended
    Rm(run::args::RmArgs),
    /// Say what netd, the node daemon, does
    #[command(after_long_help = "Exits with 1 if netd does not run.")]
    Status,
    /// See what netd saw and did
    Events(netd::events::EventsArgs),
    /// See names as netd answers them
    Dns {
        #[command(subcommand)]
        verb: netd::dns::Verb,
    },
    /// Watch traffic, questions and errors of all attachments
    Top(netd::top::TopArgs),
    /// Remove what belongs to nothing that still runs
    #[command(after_long_help = "Examples:\n  cleat gc --dry-run\n  cleat gc")]
    Gc(gc::GcArgs),
    /// Say what is wrong with this host, and what to do about it
    #[command(after_long_help = "Exits with 1 if something is wrong.")]
    Doctor,
    /// Remove everything that cleat made on this host
    #[command(after_long_help = "Examples:\n  cleat uninstall\n  cleat uninstall --force")]
    Uninstall(uninstall::UninstallArgs),
    /// Print shell completions
    #[command(
        after_long_help = "Examples:\n  source <(cleat completions bash)\n  cleat completions fish > ~/.config/fish/completions/cleat.fish"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    #[command(hide = true)]
    Supervise { name: String },
}

impl Command {
    /// Its exit code is the program's, so its own failures are told apart from it.
    pub(crate) fn runs_a_program(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Exec(_) | Self::Supervise { .. })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_words_are_consistent() {
        Cli::command().debug_assert();
    }
}
