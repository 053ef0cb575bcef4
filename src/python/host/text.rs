//! Python text of ours: what must not run above a Rust frame is written in Python, compiled once when the module is
//! imported, and gets its natives as globals.

use std::ffi::CString;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use crate::python::host::prepared::Prepared;

/// What stands in the place of a file's name in tracebacks.
pub const FILE: &str = "<jitspan>";

/// A compiled text.
pub struct Text {
    source: &'static str,
    globals: Prepared<Py<PyDict>>,
}

impl Text {
    /// Not compiled yet.
    pub const fn new(source: &'static str) -> Self {
        Text { source, globals: Prepared::new() }
    }

    /// Compiles it, with these globals.
    ///
    /// # Errors
    /// Python's, for a text that is wrong.
    pub fn compile(&self, py: Python<'_>, globals: &Bound<'_, PyDict>) -> PyResult<()> {
        let builtins = py.import("builtins")?;
        globals.set_item("__name__", "jitspan")?;
        globals.set_item("__builtins__", &builtins)?;
        builtins.call_method1("exec", (code(py, self.source)?, globals))?;
        self.globals.set(py, globals.clone().unbind());
        Ok(())
    }

    /// Whether that has been done.
    pub fn is_compiled(&self, py: Python<'_>) -> bool {
        self.globals.get(py).is_ok()
    }

    /// One of its functions or classes.
    ///
    /// # Errors
    /// It has not been compiled, or has no such name.
    pub fn get<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.globals.get(py)?.bind(py).as_any().get_item(name)
    }
}

/// A text of ours, compiled. Not by `builtins.compile`, which first makes all classes of `ast` (CPython 3.11: a quarter of
/// what importing us took), and PyO3's `Python::run` takes no name of a file.
///
/// # Errors
/// Python's, for a text that is wrong.
#[expect(unsafe_code, reason = "PyO3 has no word for it")]
pub fn code<'py>(py: Python<'py>, source: &str) -> PyResult<Bound<'py, PyAny>> {
    let (source, file) = (CString::new(source)?, CString::new(FILE)?);
    // SAFETY: the interpreter is held, both are texts that live until it returns, and what it returns is ours.
    unsafe {
        let code = ffi::Py_CompileString(source.as_ptr(), file.as_ptr(), ffi::Py_file_input);
        Bound::from_owned_ptr_or_err(py, code)
    }
}

/// Natives by their names.
///
/// # Errors
/// Python's, when there is no memory.
pub fn natives<'py, const N: usize>(
    py: Python<'py>,
    functions: [Bound<'py, PyCFunction>; N],
) -> PyResult<Bound<'py, PyDict>> {
    let natives = PyDict::new(py);
    for function in functions {
        natives.set_item(function.getattr("__name__")?, function)?;
    }
    Ok(natives)
}
