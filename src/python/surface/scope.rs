//! `request()`, `batch()`, `bind()`: who is being served, in a context variable, so that it follows asyncio tasks.
//! On entry it keeps what it was given and reads two clocks; carriers are parsed when something compiles.

use std::time::Instant;

use crate::process::lock::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::clock::{Anchor, System};
use crate::model::attribute::Attributes;
use crate::process;
use crate::python::host::convert;
use crate::scope::{Request, Scope as Core, ScopeOptions};
use crate::stats::Counter;

static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// `contextvars.ContextVar("jitspan_scope", default=None)`.
fn variable<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
    let made = VARIABLE.get_or_try_init(py, || {
        let default = PyDict::new(py);
        default.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        PyResult::Ok(class.call(("jitspan_scope",), Some(&default))?.unbind())
    })?;
    Ok(made.bind(py))
}

/// Makes the variable, when the module is imported: see `imports`.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    variable(py).map(drop)
}

/// The scope that the running code is in.
pub fn current(py: Python<'_>) -> PyResult<Option<Py<Scope>>> {
    let scope = variable(py)?.call_method0("get")?;
    Ok(scope.cast_into::<Scope>().ok().map(Bound::unbind))
}

/// The requests being served; made by `request()` and `batch()`. A context manager.
#[pyclass(frozen, module = "jitspan")]
pub struct Scope {
    carriers: Carriers,
    name: String,
    attributes: Option<Py<PyAny>>,
    entered: Mutex<Option<Entered>>,
}

enum Carriers {
    One(Option<Py<PyAny>>),
    Many {
        carriers: Py<PyAny>,
        attributes: Option<Py<PyAny>>,
    },
    /// An engine's step.
    Step(Box<dyn Step>),
}

/// One step of an engine, which knows who waits when it is asked: when something compiles.
pub trait Step: Send + Sync {
    /// Attributes of every span, and the requests.
    fn waiting(&self, py: Python<'_>) -> (Attributes, Vec<Request>);
    /// For the garbage collector.
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
}

struct Entered {
    started: Instant,
    token: Option<Py<PyAny>>,
    core: Option<Made>,
}

/// Made by the first stall. A forked child makes its own: the parent's has spans that the parent will send.
#[derive(Clone)]
struct Made {
    generation: u64,
    core: Core,
}

impl Scope {
    /// The core's scope, which is made here when the first stall asks for it.
    pub fn core(&self, py: Python<'_>) -> Core {
        let generation = process::generation();
        let (started, made) = match &*self.entered.lock() {
            Some(entered) => (entered.started, entered.core.clone()),
            None => (Instant::now(), None),
        };
        if let Some(made) = made.filter(|made| made.generation == generation) {
            return made.core;
        }
        // Reading the carriers runs Python, which may switch threads: no lock of ours is held here.
        let made = Made { generation, core: self.build(py, started) };
        match &mut *self.entered.lock() {
            // What `bind` carried into another thread runs after its request: nobody will end this one.
            None => {
                if let Some(monitor) = crate::monitor() {
                    monitor.close(&made.core);
                }
                made.core
            }
            Some(entered) => match &entered.core {
                Some(other) if other.generation == generation => other.core.clone(),
                _ => entered.core.insert(made).core.clone(),
            },
        }
    }

    fn build(&self, py: Python<'_>, started: Instant) -> Core {
        let anchor = Anchor::new(started, &System);
        let (attributes, requests) = match &self.carriers {
            Carriers::Step(step) => step.waiting(py),
            _ => (convert::attributes(self.attributes.as_ref().map(|own| own.bind(py))), self.requests(py)),
        };
        let options = ScopeOptions { name: self.name.clone().into(), attributes, requests, started: anchor.unix() };
        Core::timed(options, crate::monitor().map_or(128, |monitor| monitor.config().max_requests), anchor)
    }

    fn requests(&self, py: Python<'_>) -> Vec<Request> {
        match &self.carriers {
            Carriers::One(carrier) => {
                vec![request_of(carrier.as_ref().map(|carrier| carrier.bind(py)), Attributes::new())]
            }
            Carriers::Many { carriers, attributes } => {
                let each = |any: &Py<PyAny>| -> Vec<Bound<'_, PyAny>> {
                    any.bind(py).try_iter().map(|items| items.flatten().collect()).unwrap_or_default()
                };
                let own = attributes.as_ref().map(&each).unwrap_or_default();
                let mut own = own.iter().map(|own| convert::attributes(Some(own)));
                let carriers = each(carriers);
                carriers.iter().map(|carrier| request_of(Some(carrier), own.next().unwrap_or_default())).collect()
            }
            Carriers::Step(_) => Vec::new(),
        }
    }

    /// A scope for an engine's step, entered.
    pub fn step(py: Python<'_>, name: &str, step: impl Step + 'static) -> PyResult<Py<Scope>> {
        let carriers = Carriers::Step(Box::new(step));
        let scope = Scope { carriers, name: name.to_owned(), attributes: None, entered: Mutex::new(None) };
        let scope = Bound::new(py, scope)?;
        Ok(Scope::__enter__(scope)?.unbind())
    }

    /// One request's scope that is entered by Rust.
    pub fn one(carrier: Option<Py<PyAny>>, name: &str, attributes: Option<Py<PyAny>>) -> Scope {
        Scope { carriers: Carriers::One(carrier), name: name.to_owned(), attributes, entered: Mutex::new(None) }
    }

    /// Enters, if it is not entered.
    pub fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        Scope::__enter__(slf.clone()).map(drop)
    }

    /// The running code is in it no more, but what it serves goes on: [`Scope::resume`], or [`Scope::exit`].
    pub fn suspend(&self, py: Python<'_>) {
        let token = self.entered.lock().as_mut().and_then(|entered| entered.token.take());
        reset(py, token);
    }

    /// The running code is in it again.
    pub fn resume(slf: &Bound<'_, Self>) -> PyResult<()> {
        let token = variable(slf.py())?.call_method1("set", (slf,))?.unbind();
        if let Some(entered) = slf.get().entered.lock().as_mut() {
            entered.token = Some(token);
        }
        Ok(())
    }

    /// Ends it: its spans leave.
    pub fn exit(&self, py: Python<'_>) {
        let entered = self.entered.lock().take();
        let Some(entered) = entered else { return };
        reset(py, entered.token);
        let made = entered.core.filter(|made| made.generation == process::generation());
        if let (Some(made), Some(monitor)) = (made, crate::monitor()) {
            monitor.close(&made.core);
        }
    }

    /// The core's scope, if something has compiled in it.
    pub fn made(&self) -> Option<Core> {
        let made = self.entered.lock().as_ref()?.core.clone()?;
        (made.generation == process::generation()).then_some(made.core)
    }

    /// The same, if it has not failed since.
    pub fn stalled(&self) -> Option<Core> {
        self.made().filter(Core::has_stalled)
    }
}

/// A generator may be closed in another context than it was entered in; then the variable is not ours to put back, and
/// that context ends with the generator.
fn reset(py: Python<'_>, token: Option<Py<PyAny>>) {
    if let Some(token) = token {
        let _ = variable(py).and_then(|variable| variable.call_method1("reset", (token,)));
    }
}

/// A carrier that cannot be read is counted, and gives a request without a parent.
pub fn request_of(carrier: Option<&Bound<'_, PyAny>>, attributes: Attributes) -> Request {
    let parent = carrier.and_then(|carrier| {
        convert::carrier(carrier).unwrap_or_else(|_| {
            if let Some(monitor) = crate::monitor() {
                monitor.stats().add(Counter::CarriersMalformed, 1);
            }
            None
        })
    });
    Request { parent, attributes }
}

#[pymethods]
impl Scope {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        if slf.get().entered.lock().is_some() {
            return Err(PyRuntimeError::new_err("this scope has been entered already; make one for each request"));
        }
        let started = Instant::now();
        let token = variable(slf.py())?.call_method1("set", (&slf,))?.unbind();
        let entered = Entered { started, token: Some(token), core: None };
        *slf.get().entered.lock() = Some(entered);
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
        self.exit(py);
        Ok(false)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.carriers {
            Carriers::One(carrier) => visit.call(carrier)?,
            Carriers::Many { carriers, attributes } => {
                visit.call(carriers)?;
                visit.call(attributes)?;
            }
            Carriers::Step(step) => step.traverse(&visit)?,
        }
        visit.call(&self.attributes)
    }

    fn __repr__(&self) -> String {
        let entered = self.entered.lock().is_some();
        let what = match &self.carriers {
            Carriers::One(_) => "request",
            Carriers::Many { .. } => "batch",
            Carriers::Step(_) => "step",
        };
        format!("<jitspan.Scope {what} name={:?} entered={entered}>", self.name)
    }
}

/// Serves one request: what compiles inside `with request(carrier): ...` is shown on its trace.
///
/// `carrier` is a mapping of HTTP headers (names in any case; ASGI's list of pairs will do as well), a `traceparent`
/// text, or None for a request that came without. It is read when something compiles, not before, and never raises:
/// a context that cannot be read is counted, and the span becomes a root span.
///
/// `name` names the span, `attributes` (text, number, bool, or lists of these) go on it.
#[pyfunction]
#[pyo3(signature = (carrier: "_Carrier | None" = None, *, name = "inference", attributes: "Mapping[str, _Attribute] | None" = None) -> "Scope")]
pub fn request(carrier: Option<Py<PyAny>>, name: &str, attributes: Option<Py<PyAny>>) -> Scope {
    Scope::one(carrier, name, attributes)
}

/// Serves several requests in one step: each one's trace gets a span for what compiles inside.
///
/// `carriers` is an iterable of what `request()` takes. `attributes` go on every span, the mappings in
/// `request_attributes`, in the order of `carriers`, on the span of one request each.
/// Of more than `JITSPAN_MAX_REQUESTS` (128) requests the rest is counted in `jit.batch.omitted`.
#[pyfunction]
#[pyo3(signature = (carriers: "Iterable[_Carrier | None]", *, name = "inference", attributes: "Mapping[str, _Attribute] | None" = None, request_attributes: "Iterable[Mapping[str, _Attribute]] | None" = None) -> "Scope")]
pub fn batch(
    carriers: Py<PyAny>,
    name: &str,
    attributes: Option<Py<PyAny>>,
    request_attributes: Option<Py<PyAny>>,
) -> Scope {
    let carriers = Carriers::Many { carriers, attributes: request_attributes };
    Scope { carriers, name: name.to_owned(), attributes, entered: Mutex::new(None) }
}

/// Carries the scope of the running code into another thread: `executor.submit(bind(function), ...)`.
///
/// Context variables follow asyncio tasks and `asyncio.to_thread`, but not `run_in_executor`, `Thread` or `submit`.
/// Returns a callable that runs `function` with the same arguments in the scope in which `bind` was called.
#[pyfunction]
#[pyo3(signature = (function: "Callable[_P, _R]") -> "Callable[_P, _R]")]
pub fn bind(py: Python<'_>, function: Py<PyAny>) -> PyResult<BoundFunction> {
    Ok(BoundFunction { scope: current(py)?, function })
}

/// A callable that runs in the scope it was bound to; made by `bind()`.
#[pyclass(frozen, module = "jitspan")]
pub struct BoundFunction {
    scope: Option<Py<Scope>>,
    function: Py<PyAny>,
}

#[pymethods]
impl BoundFunction {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let token = variable(py)?.call_method1("set", (self.scope.as_ref(),))?;
        let result = self.function.call(py, args, kwargs);
        let _ = variable(py)?.call_method1("reset", (token,));
        result
    }

    #[getter]
    fn __wrapped__(&self, py: Python<'_>) -> Py<PyAny> {
        self.function.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.scope)?;
        visit.call(&self.function)
    }
}
