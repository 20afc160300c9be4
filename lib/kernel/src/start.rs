//! The start of a short-lived program, without that of the standard library: no look at the stack's
//! bounds, no handler of its overflow, no second stack for it. That is some twenty
//! system calls and, with what it brings along of the C library, a tenth of a plugin's size.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `main` returns after a panic, as the standard library has it.
const PANICKED: u8 = 101;

/// Defines `main` of a program that is `#![no_main]`. The closure's value is the exit status.
#[macro_export]
macro_rules! main {
    ($run:expr) => {
        // SAFETY: the program's one definition of the symbol that the C library calls, with the
        // type that it has in C.
        #[cfg(not(test))]
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::start::run($run)
        }
    };
}

/// Runs a program's closure, its standard streams open and a closed pipe an error, not its end.
pub fn run(program: impl FnOnce() -> u8) -> i32 {
    open_standard_streams();
    // SAFETY: no handler is installed; no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // Nothing of the closure is used after a panic, which must not leave a function of C's type.
    i32::from(catch_unwind(AssertUnwindSafe(program)).unwrap_or(PANICKED))
}

/// A socket under the number of a closed stream would be written to as if it were that.
fn open_standard_streams() {
    let stream = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut streams = [stream(0), stream(1), stream(2)];
    // SAFETY: the kernel writes three pollfds, which live on the stack; open takes a constant
    // text that ends in zero, and gives the lowest free number, which is the closed stream's.
    unsafe {
        libc::poll(streams.as_mut_ptr(), 3, 0);
        for closed in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
            if libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) != closed.fd {
                libc::abort();
            }
        }
    }
}
