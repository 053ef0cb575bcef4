//! What replaces and restores somebody else's attribute, and what waits for somebody else's import.

pub mod late;
mod patches;
mod wrapper;

pub use patches::Patches;
pub use wrapper::{After, Call, Hook, Outcome, Watch, Wrapper};

/// Compiles the texts. Called when the module is imported.
///
/// # Errors
/// Python's own.
pub fn prepare(py: pyo3::Python<'_>) -> pyo3::PyResult<()> {
    wrapper::prepare(py)?;
    late::prepare(py)
}
