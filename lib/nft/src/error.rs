//! What nf_tables refused, said of the step that was refused.

use rustix::io::Errno;

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed transaction or query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a step of a transaction; none of its steps was kept.
    #[error("{op}: {text}")]
    Refused {
        /// The step, as in `add element exact4 10.0.0.1 . tcp . 80 in table inet cleat`.
        op: String,
        /// The error number.
        errno: Errno,
        /// The kernel's own text, or the errno's.
        text: String,
        /// Which element of the step's list, where that is known: always for exclusive adding.
        element: Option<usize>,
    },
    /// The exchange with the kernel failed.
    #[error(transparent)]
    Kernel(#[from] cleat_kernel::Error),
}

impl Error {
    /// The error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Kernel(error) => error.errno(),
        }
    }

    /// Which element of the refused step's list, where that is known.
    pub fn element(&self) -> Option<usize> {
        match self {
            Self::Refused { element, .. } => *element,
            Self::Kernel(_) => None,
        }
    }

    /// The object is there already, or an element with the same key and other data.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }

    /// The table, chain, set, rule or element is not there.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// The chain or set is still referred to.
    pub fn is_busy(&self) -> bool {
        self.errno() == Some(Errno::BUSY)
    }

    /// The caller lacks `CAP_NET_ADMIN` in the namespace, or the table has another owner.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::PERM | Errno::ACCESS))
    }

    /// This kernel lacks nf_tables, the family, or an expression.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT))
    }
}
