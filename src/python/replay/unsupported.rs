//! Why a line cannot be replayed, in words.

use pyo3::prelude::*;

/// Why it cannot be replayed here.
pub type Unsupported = String;

/// An error of Python's in words.
pub fn said(error: PyErr) -> Unsupported {
    crate::model::attribute::bounded(&error.to_string(), 300).into_owned()
}
