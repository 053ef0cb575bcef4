//! `Middleware`: a scope for each HTTP request of an ASGI application. It is Python's `async def __call__` in Rust: the
//! application's own coroutine, driven step by step, in the scope from its first step to its last.

use crate::process::lock::Mutex;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};

use crate::config::Settings;
use crate::python::arming;
use crate::python::host::convert::item;
use crate::python::host::guard::guard;
use crate::python::host::report;
use crate::python::surface::scope::Scope;

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

    fn __call__(&self, py: Python<'_>, scope: Py<PyAny>, receive: Py<PyAny>, send: Py<PyAny>) -> PyResult<Py<PyAny>> {
        let kind = item(scope.bind(py), "type").and_then(|kind| kind.extract::<String>().ok());
        if kind.as_deref() != Some("http") {
            return self.app.call1(py, (scope, receive, send));
        }
        let send = if self.arms(scope.bind(py)) { Py::new(py, ArmingSend { send })?.into_any() } else { send };
        let carrier = item(scope.bind(py), "headers").map(Bound::unbind);
        let served = Py::new(py, Scope::one(carrier, &self.name, None))?;
        let start = (self.app.clone_ref(py), (scope, receive, send));
        let steps = Steps { state: Mutex::new(State::New(start.0, start.1)), scope: served };
        Ok(Py::new(py, steps)?.into_any())
    }

    #[getter]
    fn app(&self, py: Python<'_>) -> Py<PyAny> {
        self.app.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.app)
    }
}

impl Middleware {
    fn arms(&self, scope: &Bound<'_, PyAny>) -> bool {
        let path = || item(scope, "path").and_then(|path| path.extract::<String>().ok());
        self.arm_on.is_some() && !arming::is_armed() && path() == self.arm_on
    }
}

/// `send` of a request on the readiness path.
#[pyclass(frozen, module = "jitspan")]
struct ArmingSend {
    send: Py<PyAny>,
}

#[pymethods]
impl ArmingSend {
    fn __call__(&self, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = message.py();
        let starts = item(message, "type").is_some_and(|kind| kind.eq("http.response.start").unwrap_or(false));
        let status = item(message, "status").and_then(|status| status.extract::<u16>().ok());
        if starts && status.is_some_and(|status| (200..300).contains(&status)) {
            guard(py, "asgi.arm", || {
                if let Err(error) = arming::arm(py, &Settings::default()) {
                    report::log(py, "error", &format!("not armed: {error}"));
                }
                Ok(())
            });
        }
        self.send.call1(py, (message,))
    }
}

/// The coroutine that `await` drives. A task runs it in one context, so what is set at the first step holds to the last.
#[pyclass(frozen, module = "jitspan", name = "RequestCoroutine")]
struct Steps {
    state: Mutex<State>,
    scope: Py<Scope>,
}

type Start = (Py<PyAny>, Py<PyAny>, Py<PyAny>);

enum State {
    /// Nothing has run, as in a coroutine that was made and not awaited.
    New(Py<PyAny>, Start),
    /// What the application's awaitable is driven by.
    Running(Py<PyAny>),
    /// It is being driven.
    Busy,
    Done,
}

#[pymethods]
impl Steps {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.send(py, py.None().bind(py))
    }

    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py, |inner| {
            if value.is_none() && !inner.hasattr("send")? {
                return inner.call_method0("__next__");
            }
            inner.call_method1("send", (value,))
        })
    }

    #[pyo3(signature = (*args))]
    fn throw(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        if let State::New(..) = &*self.state.lock() {
            let error = args.get_item(0)?;
            let error = if error.is_instance_of::<pyo3::types::PyType>() { error.call0()? } else { error };
            return Err(PyErr::from_value(error));
        }
        self.step(py, |inner| inner.call_method1("throw", args.clone()))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let state = std::mem::replace(&mut *self.state.lock(), State::Done);
        let closed = match state {
            State::Running(inner) if inner.bind(py).hasattr("close")? => inner.call_method0(py, "close").map(drop),
            _ => Ok(()),
        };
        self.scope.get().exit(py);
        closed
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.scope)?;
        match self.state.try_lock().as_deref() {
            Some(State::New(app, (scope, receive, send))) => {
                visit.call(app)?;
                visit.call(scope)?;
                visit.call(receive)?;
                visit.call(send)
            }
            Some(State::Running(inner)) => visit.call(inner),
            _ => Ok(()),
        }
    }
}

impl Steps {
    fn step<'py>(
        &self,
        py: Python<'py>,
        drive: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        // Taken out: driving runs Python, and no lock of ours is held over that.
        let state = std::mem::replace(&mut *self.state.lock(), State::Busy);
        let inner = match state {
            State::New(app, start) => {
                guard(py, "asgi.enter", || Scope::enter(self.scope.bind(py)));
                app.into_bound(py).call1(start).and_then(|awaitable| awaitable.call_method0("__await__"))
            }
            State::Running(inner) => Ok(inner.into_bound(py)),
            State::Busy => Err(pyo3::exceptions::PyRuntimeError::new_err("this request is being served already")),
            State::Done => Err(PyStopIteration::new_err(py.None())),
        };
        match inner.and_then(|inner| drive(&inner).map(|yielded| (inner, yielded))) {
            Ok((inner, yielded)) => {
                *self.state.lock() = State::Running(inner.unbind());
                Ok(yielded.unbind())
            }
            Err(ended) => {
                *self.state.lock() = State::Done;
                self.scope.get().exit(py);
                Err(ended)
            }
        }
    }
}

/// `Middleware.__call__` as servers look for it. uvicorn takes an application whose `__call__` is no coroutine function
/// for one of ASGI 2; a method of a native class is none, so what stands there answers the question itself.
#[pyclass(frozen, module = "jitspan")]
struct Call;

#[pymethods]
impl Call {
    fn __get__(
        slf: Py<Self>,
        py: Python<'_>,
        instance: Option<Bound<'_, PyAny>>,
        owner: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _ = owner;
        match instance.map(|instance| instance.cast_into::<Middleware>()) {
            Some(Ok(middleware)) => Ok(Py::new(py, BoundCall { middleware: middleware.unbind() })?.into_any()),
            _ => Ok(slf.into_any()),
        }
    }
}

#[pyclass(frozen, module = "jitspan", name = "coroutine_function")]
struct BoundCall {
    middleware: Py<Middleware>,
}

#[pymethods]
impl BoundCall {
    fn __call__(&self, py: Python<'_>, scope: Py<PyAny>, receive: Py<PyAny>, send: Py<PyAny>) -> PyResult<Py<PyAny>> {
        self.middleware.get().__call__(py, scope, receive, send)
    }

    /// `inspect.markcoroutinefunction`, from Python 3.12 on.
    #[getter]
    fn _is_coroutine_marker(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.import("inspect")?.getattr("_is_coroutine_mark")?.unbind())
    }

    /// `asyncio.iscoroutinefunction`, up to Python 3.13.
    #[getter]
    fn _is_coroutine(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.import("asyncio.coroutines")?.getattr("_is_coroutine")?.unbind())
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        "__call__"
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.middleware)
    }
}

/// Puts [`Call`] on the class.
pub fn finish(py: Python<'_>) -> PyResult<()> {
    py.get_type::<Middleware>().setattr("__call__", Py::new(py, Call)?)
}
