//! Objects of the host's that raise where we read them.

use pyo3::exceptions::{PyAttributeError, PyLookupError, PyTypeError};
use pyo3::prelude::*;

use crate::model::attribute::bounded;
use crate::python::host::guard::fault;
use crate::python::host::leaving;

/// An object of the host's raised where we read it. Every such error comes here: what says that there is nothing to read
/// is none; the others are counted.
pub fn unreadable(py: Python<'_>, error: &PyErr) {
    let absent = error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyLookupError>(py)
        || error.is_instance_of::<PyTypeError>(py);
    if !absent && let Some(error) = leaving::keep(py, error.clone_ref(py)) {
        fault(py, "read", &error.to_string());
    }
}

/// Why something of the host's cannot be had, in words. What is no `Exception` is kept for the host.
pub fn said(error: PyErr) -> String {
    let text = bounded(&error.to_string(), 300).into_owned();
    Python::try_attach(|py| leaving::keep(py, error));
    text
}
