//! The program: what was typed, handed to its part of the library.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cleat_voldriver::args::{Cli, Command};
use cleat_voldriver::{Calls, flex, once, serve};
use cleat_volumes::{HELPER, Settings, Volumes, run_helper};

/// What a call by hand may take.
const DEADLINE: Duration = Duration::from_secs(110);

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == HELPER) {
        run_helper();
        return ExitCode::SUCCESS;
    }
    let parsed = Cli::parse();
    let mut settings = Settings::from_env(|name| std::env::var_os(name));
    let mut deadline = DEADLINE;
    if let Command::Run(asked) = &parsed.command {
        settings.roots.extend(asked.allowed_roots.iter().cloned());
        deadline = Duration::from_secs(asked.deadline);
    }
    let calls = Calls::new(Volumes::new(settings, say), deadline);
    match &parsed.command {
        Command::Call { method } => once(&calls, method),
        Command::Init | Command::Mount { .. } | Command::Unmount { .. } => {
            flex(&calls, &parsed.command)
        }
        Command::Run(asked) => match serve(calls, asked) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&error.to_string());
                ExitCode::FAILURE
            }
        },
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "voldriver: {text}");
}
