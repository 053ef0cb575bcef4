//! `Middleware`: a scope for each HTTP request of an ASGI application. Its `async def __call__` is Python text
//! (`surface.py`), so that the application runs above no Rust frame; here is what it asks.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};

use crate::config::Settings;
use crate::python::arming;
use crate::python::host::boundary::{self, OrNone};
use crate::python::host::convert::item;
use crate::python::host::report;
use crate::python::scope::Scope;

/// ASGI middleware: what compiles while an HTTP request is served is shown on that request's trace.
///
/// `app` is the application inside; `name` names the span. With `arm_on`, a path such as "/health", the first
/// successful answer on that path means that warm-up is over: `activate()` is called then, in the mode of
/// `JITSPAN_MODE`. Lifespan and websockets pass through.
///
///     app.add_middleware(jitspan.Middleware, arm_on="/health")
#[pyclass(frozen, module = "jitspan")]
pub struct Middleware {
    app: Py<PyAny>,
    name: String,
    arm_on: Option<String>,
}

#[pymethods]
impl Middleware {
    #[new]
    #[pyo3(signature = (app, *, name = "inference", arm_on: "str | None" = None))]
    fn new(app: Py<PyAny>, name: &str, arm_on: Option<String>) -> Self {
        Middleware { app, name: name.to_owned(), arm_on }
    }

    // For the stub: what is called is `surface.py`'s.
    #[cfg(feature = "stub")]
    fn __call__(&self, scope: Py<PyAny>, receive: Py<PyAny>, send: Py<PyAny>) -> Py<PyAny> {
        drop((scope, receive));
        send
    }

    #[getter]
    fn app(&self, py: Python<'_>) -> Py<PyAny> {
        self.app.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.app)
    }
}

/// For the text: the scope of an HTTP request, and whether a good answer to it arms. None for anything else.
#[pyfunction]
pub fn serve<'py>(
    middleware: &Bound<'py, Middleware>,
    scope: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let (py, own) = (middleware.py(), middleware.get());
    boundary::native(
        py,
        "asgi.serve",
        || None,
        || {
            let text = |key: &str| item(scope, key).and_then(|value| value.extract::<String>().or_none());
            if text("type").as_deref() != Some("http") {
                return Ok(None);
            }
            let arms = own.arm_on.is_some() && !arming::is_armed() && text("path") == own.arm_on;
            let carrier = item(scope, "headers").map(Bound::unbind);
            (Scope::one(carrier, &own.name, None), arms).into_pyobject(py).map(Some)
        },
    )
}

/// For the text: arms if this is the start of a good answer.
#[pyfunction]
pub fn arm_when_ready(message: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = message.py();
    boundary::native(
        py,
        "asgi.arm",
        || (),
        || {
            let starts =
                item(message, "type").is_some_and(|kind| kind.eq("http.response.start").or_none().unwrap_or(false));
            let status = item(message, "status").and_then(|status| status.extract::<u16>().or_none());
            if starts
                && status.is_some_and(|status| (200..300).contains(&status))
                && let Err(error) = arming::arm(py, &Settings::default())
            {
                report::log(py, "error", &format!("not armed: {error}"));
            }
            Ok(())
        },
    )
}
