//! Why an exchange with a server came to nothing.

/// Why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody answered.
    #[error("no DHCP{family} server answered within {seconds} s")]
    NoAnswer {
        /// `v4` or `v6`.
        family: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The server says no.
    #[error("the DHCP{family} server refuses: {text}")]
    Refused {
        /// `v4` or `v6`.
        family: &'static str,
        /// Its words.
        text: String,
    },
    /// The interface cannot be used.
    #[error("{0}")]
    Link(String),
}
