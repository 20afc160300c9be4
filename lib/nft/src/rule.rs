//! A rule: expressions in order, and a comment.

use std::fmt;

use crate::expr::Expr;

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Evaluated in order until one does not hold.
    pub exprs: Vec<Expr>,
    /// Shown by `nft list`; at most 127 bytes are kept.
    pub comment: Option<String>,
}

impl Rule {
    /// From the runs that the builders of [`crate::expr`] give.
    pub fn new(parts: impl Into<Vec<Vec<Expr>>>) -> Self {
        Self { exprs: parts.into().into_iter().flatten().collect(), comment: None }
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// The chains that it leads to by itself, not by a verdict map.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.exprs.iter().filter_map(|e| match e {
            Expr::Verdict(verdict) => verdict.target(),
            _ => None,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, expr) in self.exprs.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "; " })?;
            expr.fmt(f)?;
        }
        self.comment.iter().try_for_each(|c| write!(f, " comment {c:?}"))
    }
}
