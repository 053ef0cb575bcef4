//! Why a line cannot be replayed, in words.

pub use crate::python::host::unreadable::said;

/// Why it cannot be replayed here.
pub type Unsupported = String;
