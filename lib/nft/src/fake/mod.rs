//! A stand-in.
/// A stand-in.
#[derive(Debug, Default)]
pub struct Fake;
