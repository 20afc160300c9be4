//! The `ptp` CNI plugin: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cleat_cni::run(&cleat_ptp::PLUGIN)
}
