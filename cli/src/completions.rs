//! `cleat completions`: a script for a shell, on standard output.

use clap::CommandFactory;

use crate::args::Cli;
use crate::error::Result;

pub(crate) fn run(shell: clap_complete::Shell) -> Result<()> {
    clap_complete::generate(shell, &mut Cli::command(), "cleat", &mut std::io::stdout());
    Ok(())
}
