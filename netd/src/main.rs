//! The `netd` program: see the library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cleat_engine::Dirs;
use cleat_netd::{DEFAULT_PATH, Given, Options, run};

/// The node daemon: answers names for containers and repairs the node.
#[derive(Debug, Parser)]
#[command(name = "netd", version, max_term_width = 100, after_long_help = ENVIRONMENT)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const ENVIRONMENT: &str = "\
Environment:
  CLEAT_CONFIG      the node's settings (/etc/cleat/config.json)
  CLEAT_NET_DIR     folder of networks (/etc/cni/net.d)
  CLEAT_RUN_DIR     folder of runtime state (/run/cleat)
  CLEAT_STATE_DIR   folder of durable state (/var/lib/cleat)
  RUST_LOG          what to log, such as `info` (the default), `debug`, `cleat_netd=trace`

Signals:
  SIGHUP            reads the configuration again
  SIGTERM, SIGINT   stops; containers stay connected";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve this node, in the foreground
    #[command(after_long_help = "Examples:\n  netd run\n  netd run --config /etc/cleat/netd.json")]
    Run {
        /// The configuration; it need not exist
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// The file that names the host's own name servers
        #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
        resolv_conf: PathBuf,
    },
}

fn main() -> ExitCode {
    let Verb::Run { config, resolv_conf } = Cli::parse().verb;
    let level = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hickory_net=error"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    let given = match Given::take() {
        Ok(given) => given,
        Err(error) => return fail(&format!("the sockets that were handed over: {error}")),
    };
    let dirs = Dirs::from_env(|name| std::env::var_os(name));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(Options { dirs, config, resolv_conf }, given));
            // Threads that wait for the kernel end with the process.
            runtime.shutdown_background();
            outcome.map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("start: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "netd: {error}");
    ExitCode::FAILURE
}
