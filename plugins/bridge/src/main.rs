//! The bridge CNI plugin.
fn main() {}
