//! What is made once for the process, and all of it before the first event: when the module is imported, or at
//! `activate()`.
//!
//! A thread in the middle of a `Once` holds it, and PyO3's let go of the interpreter there; a child that another thread
//! forks meanwhile has the `Once` without the thread, and waits for ever (41 of 1,000 children, CPython 3.10 to 3.13).
//! So nothing else here uses one, which `tests/layers` holds, and those inside PyO3 are gone through early: `once`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// A value that is set once, early. Reading it never waits.
pub struct Prepared<T>(PyOnceLock<T>);

impl<T> Prepared<T> {
    /// Not set yet.
    pub const fn new() -> Self {
        Prepared(PyOnceLock::new())
    }

    /// Sets it. A second time changes nothing.
    pub fn set(&self, py: Python<'_>, value: T) {
        let _ = self.0.set(py, value);
    }

    /// The value.
    ///
    /// # Errors
    /// It has not been set.
    pub fn get(&self, py: Python<'_>) -> PyResult<&T> {
        self.0.get(py).ok_or_else(|| PyRuntimeError::new_err("not prepared"))
    }
}

/// Names that are looked up on the path of an event or a scope, as Python's own interned text.
macro_rules! names {
    ($($name:ident),*) => {
        /// Interned names.
        pub struct Names { $(#[doc = stringify!($name)] pub $name: Py<PyString>),* }

        impl Names {
            fn new(py: Python<'_>) -> Self {
                Names { $($name: PyString::intern(py, stringify!($name)).unbind()),* }
            }
        }
    };
}

names!(modules, get_native_id, current_thread, _getframe, f_locals, f_back, f_code, co_name, co_flags);

static NAMES: Prepared<Names> = Prepared::new();

/// The names.
///
/// # Errors
/// The module has not been imported.
pub fn names(py: Python<'_>) -> PyResult<&Names> {
    NAMES.get(py)
}

/// Makes the names. Called when the module is imported.
pub fn prepare(py: Python<'_>) {
    NAMES.set(py, Names::new(py));
}
