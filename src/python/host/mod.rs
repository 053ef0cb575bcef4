//! How we behave in somebody else's process: what we read of its objects, and what we keep from it.

pub mod boundary;
pub mod bounded;
pub mod convert;
pub mod gate;
pub mod guard;
pub mod here;
pub mod imports;
pub mod leaving;
mod once;
pub mod prepared;
pub mod report;
pub mod resource;
pub mod text;
pub mod unreadable;

use pyo3::prelude::*;

use crate::process;

/// What must be there before anything else of ours runs. Called when the module is imported.
///
/// # Errors
/// Python's own.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    // Asks for `pthread_atfork`.
    process::generation();
    prepared::prepare(py);
    once::prepare(py)?;
    imports::keep_sys(py)?;
    gate::prepare(py)?;
    boundary::prepare(py)
}
