//! A context manager that does nothing, called as `jitspan.request()` is: what PyO3 and the `with` statement take.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Does nothing.
#[pyclass(frozen)]
struct Empty {
    _carrier: Option<Py<PyAny>>,
}

#[pymethods]
impl Empty {
    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (exception_type = None, exception = None, traceback = None))]
    fn __exit__(
        &self,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> bool {
        let _ = (exception_type, exception, traceback);
        false
    }

    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::gc::PyTraverseError> {
        visit.call(&self._carrier)
    }
}

/// Makes one.
#[pyfunction]
#[pyo3(signature = (carrier = None, *, name = "inference", attributes = None))]
fn request(carrier: Option<Py<PyAny>>, name: &str, attributes: Option<Py<PyAny>>) -> Empty {
    let _ = (name, attributes);
    Empty { _carrier: carrier }
}

/// One that puts itself into a context variable and takes itself out again, as a scope must that follows asyncio tasks.
#[pyclass(frozen)]
struct InVariable {
    token: Mutex<Option<Py<PyAny>>>,
}

#[pymethods]
impl InVariable {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let token = variable(slf.py())?.set.call1(slf.py(), (&slf,))?;
        *slf.get().token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(slf)
    }

    #[pyo3(signature = (exception_type = None, exception = None, traceback = None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let _ = (exception_type, exception, traceback);
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(token) = token {
            variable(py)?.reset.call1(py, (token,))?;
        }
        Ok(false)
    }
}

struct Variable {
    set: Py<PyAny>,
    reset: Py<PyAny>,
}

fn variable(py: Python<'_>) -> PyResult<&Variable> {
    static VARIABLE: PyOnceLock<Variable> = PyOnceLock::new();
    VARIABLE.get_or_try_init(py, || {
        let variable = py.import("contextvars")?.getattr("ContextVar")?.call1(("floor",))?;
        Ok(Variable { set: variable.getattr("set")?.unbind(), reset: variable.getattr("reset")?.unbind() })
    })
}

/// Makes one.
#[pyfunction]
#[pyo3(signature = (carrier = None, *, name = "inference", attributes = None))]
fn request_in_variable(carrier: Option<Py<PyAny>>, name: &str, attributes: Option<Py<PyAny>>) -> InVariable {
    let _ = (carrier, name, attributes);
    InVariable { token: Mutex::new(None) }
}

#[pymodule]
mod jitspan_floor {
    #[pymodule_export]
    use super::{Empty, InVariable, request, request_in_variable};
}
