//! What comes from outside, met with anything: each target takes bytes, and panics where a
//! promise about them is broken. `targets.rs` runs them, for seconds under `cargo test` and for
//! as long as one likes under `cargo bolero`.

mod control;
mod dns;
mod near;
mod records;
mod volumes;

pub use control::Control;
pub use dns::Dns;
pub use near::Near;
pub use records::Records;
pub use volumes::volumes;
