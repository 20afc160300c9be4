//! The `cleat` command: networks, addresses, published ports, and processes on them, with no
//! runtime and no daemon. Networks are CNI conflists, and what is done on them is done by the
//! plugin programs: this one never links them.

mod args;
mod completions;
mod context;
mod doctor;
mod error;
mod gc;
mod ip;
mod netd;
mod network;
mod node;
mod output;
mod port;
mod run;
mod uninstall;
mod volume;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == cleat_volumes::HELPER) {
        cleat_volumes::run_helper();
        return ExitCode::SUCCESS;
    }
    let parsed = match args::Cli::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    let is_run = parsed.command.runs_a_program();
    match dispatch(parsed) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cleat: {error}");
            ExitCode::from(error.exit_code(is_run))
        }
    }
}

fn dispatch(parsed: args::Cli) -> error::Result<ExitCode> {
    use args::Command;
    let context = context::Context::new(&parsed.global);
    let context = &context;
    let done = |()| ExitCode::SUCCESS;
    match parsed.command {
        Command::Network { verb } => network::run(context, verb).map(done),
        Command::Ip { verb } => ip::run(context, verb).map(done),
        Command::Node { verb } => node::run(context, verb).map(done),
        Command::Port { verb } => port::run(context, verb).map(done),
        Command::Volume { verb } => volume::run(context, verb),
        Command::Run(asked) => run::start::run(context, asked),
        Command::Supervise { name } => run::supervise::detached(context, &name),
        Command::Ps(asked) => run::list::run(context, &asked).map(done),
        Command::Exec(asked) => run::exec::run(context, asked),
        Command::Stop(asked) => run::stop::run(context, &asked).map(done),
        Command::Rm(asked) => run::remove::run(context, &asked).map(done),
        Command::Status => netd::status::run(context).map(done),
        Command::Events(asked) => netd::events::run(context, &asked).map(done),
        Command::Dns { verb } => netd::dns::run(context, verb).map(done),
        Command::Top(asked) => netd::top::run(context, &asked).map(done),
        Command::Gc(asked) => gc::run(context, &asked).map(done),
        Command::Doctor => doctor::run(context),
        Command::Uninstall(asked) => uninstall::run(context, &asked).map(done),
        Command::Completions { shell } => completions::run(shell).map(done),
    }
}

/// Help and version are successes; wrong usage is 2, and 125 for `run`, as Docker has it.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let verb = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    ExitCode::from(if verb.as_deref() == Some("run") { 125 } else { 2 })
}
