//! The `netd` program: see the library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};
use cleat_engine::Dirs;
use cleat_front::dhcp::SOCKET_OF_DAEMON;
use cleat_netd::dhcp::{AloneOptions, Settings, run_alone};
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
    /// Hold the leases of DHCP servers and nothing else, in the foreground
    #[command(after_long_help = "Examples:\n  netd dhcp --socketpath /run/cni/dhcp.sock")]
    Dhcp(Dhcp),
}

/// The flags of the reference's `dhcp daemon`.
#[derive(Debug, Args)]
struct Dhcp {
    /// A file for the process's id
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Goes before the paths of namespaces, where the host's files are mounted elsewhere
    #[arg(long, value_name = "FOLDER", default_value = "")]
    hostprefix: String,
    /// Where plugins ask
    #[arg(long, value_name = "FILE", default_value = SOCKET_OF_DAEMON)]
    socketpath: PathBuf,
    /// Servers are to answer by broadcast
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false", action = ArgAction::Set, value_name = "true|false")]
    broadcast: bool,
    /// How long an answer is waited for before it is asked again, at most
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = go_time)]
    timeout: u64,
    /// The longest wait between two tries
    #[arg(long, value_name = "TIME", default_value = "62s", value_parser = go_time)]
    resendmax: u64,
    /// An attach fails after so long without a lease
    #[arg(long, value_name = "TIME", default_value = "208s", value_parser = go_time)]
    resendtimeout: u64,
}

impl Dhcp {
    fn options(self, dirs: Dirs) -> AloneOptions {
        let settings = Settings {
            host_prefix: self.hostprefix,
            broadcast: self.broadcast,
            timeout: self.timeout,
            resend_max: self.resendmax,
            resend_timeout: self.resendtimeout,
            ..Settings::default()
        };
        AloneOptions { dirs, settings, socket: self.socketpath, pidfile: self.pidfile }
    }
}

/// Seconds out of a time as Go writes it: `10s`, `1m30s`, `1500ms`.
fn go_time(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time such as 10s or 1m30s");
    let (mut rest, mut millis) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let each = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        millis = number.checked_mul(each).and_then(|m| m.checked_add(millis)).ok_or_else(wrong)?;
        rest = after;
    }
    if millis == 0 { Err(wrong()) } else { Ok(millis.div_ceil(1000)) }
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
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
            let outcome = runtime.block_on(async {
                match verb {
                    Verb::Run { config, resolv_conf } => {
                        run(Options { dirs, config, resolv_conf }, given).await
                    }
                    Verb::Dhcp(dhcp) => run_alone(dhcp.options(dirs), given.into_control()).await,
                }
            });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_writes_them() {
        for (text, seconds) in [("10s", 10), ("1m30s", 90), ("1h", 3600), ("1500ms", 2)] {
            assert_eq!(go_time(text), Ok(seconds), "{text}");
        }
        for text in ["", "10", "s", "10x", "0s", "99999999999999999999s"] {
            assert!(go_time(text).is_err(), "{text}");
        }
    }
}
