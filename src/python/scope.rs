//! `request()`, `batch()`, `bind()`: who is being served, in a context variable, so that it follows asyncio tasks.
//! On entry it keeps what it was given and reads two clocks; carriers are parsed when something compiles.

use std::borrow::Cow;
use std::time::Instant;

use crate::process::lock::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;
#[cfg(feature = "stub")]
use pyo3::types::PyTuple;

use crate::clock::{Anchor, System};
use crate::model::attribute::Attributes;
use crate::process;
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert;
use crate::python::host::gate;
use crate::python::host::prepared::Prepared;
use crate::scope::{Request, Scope as Core, ScopeOptions};
use crate::stats::Counter;

/// `contextvars.ContextVar("jitspan_scope", default=None)`. Holds the scope that was entered last, or, in what `bind()`
/// made, that callable. By its methods, bound once: each is called for every scope, and with the limited API to look one
/// up takes as long as to call it.
struct Variable {
    get: Py<PyAny>,
    set: Py<PyAny>,
    reset: Py<PyAny>,
}

static VARIABLE: Prepared<Variable> = Prepared::new();

/// What `request()` calls a span that it is told no name for.
const NAME: &str = "inference";

/// What `request()` gives when the interpreter ends.
static IDLE: Prepared<Py<Scope>> = Prepared::new();

/// Makes the variable. Called when the module is imported.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    let default = PyDict::new(py);
    default.set_item("default", py.None())?;
    let class = py.import("contextvars")?.getattr("ContextVar")?;
    let variable = class.call(("jitspan_scope",), Some(&default))?;
    let method = |name| PyResult::Ok(variable.getattr(name)?.unbind());
    VARIABLE.set(py, Variable { get: method("get")?, set: method("set")?, reset: method("reset")? });
    IDLE.set(py, Py::new(py, Scope::one(None, "", None))?);
    Ok(())
}

fn set<'py>(py: Python<'py>, value: impl IntoPyObject<'py>) -> PyResult<Py<PyAny>> {
    VARIABLE.get(py)?.set.call1(py, (value,))
}

/// The scope that the running code is in. One that has ended is none: its variable may not have been ours to put back
/// (generators that take turns, an exit in another thread), and a task may have outlived it. Only what `bind()` has made
/// says so itself.
pub fn current(py: Python<'_>) -> PyResult<Option<Py<Scope>>> {
    let Some(around) = live(py)? else { return Ok(None) };
    Ok(match around.cast::<BoundFunction>() {
        Ok(bound) => bound.get().scope.as_ref().map(|scope| scope.clone_ref(py)),
        Err(_) => around.cast_into::<Scope>().ok().map(Bound::unbind),
    })
}

/// The scope, or the bound function, that the running code is in.
fn live(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let mut value = VARIABLE.get(py)?.get.bind(py).call0()?;
    loop {
        if value.is_none() {
            return Ok(None);
        }
        let outer = match value.cast::<Scope>() {
            Err(_) => return Ok(Some(value)),
            Ok(scope) if scope.get().entered.lock().is_some() => return Ok(Some(value)),
            Ok(scope) => scope.get().outer.lock().as_ref().map(|outer| outer.bind(py).clone()),
        };
        match outer {
            Some(outer) => value = outer,
            None => return Ok(None),
        }
    }
}

/// The requests being served; made by `request()` and `batch()`. A context manager.
#[pyclass(frozen, module = "jitspan")]
pub struct Scope {
    carriers: Carriers,
    name: Cow<'static, str>,
    attributes: Option<Py<PyAny>>,
    entered: Mutex<Option<Entered>>,
    /// What the running code was in when this was entered.
    outer: Mutex<Option<Py<PyAny>>>,
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
        let limit = crate::monitor().map_or(128, |monitor| monitor.config().max_requests);
        let (attributes, (requests, more)) = match &self.carriers {
            Carriers::Step(step) => {
                let (attributes, requests) = step.waiting(py);
                (attributes, (requests, 0))
            }
            _ => (attributes(self.attributes.as_ref().map(|own| own.bind(py))), self.requests(py, limit)),
        };
        let options = ScopeOptions { name: self.name.clone(), attributes, requests, started: anchor.unix() };
        Core::timed(options, limit, more, anchor)
    }

    /// The requests, at most `limit`, and how many there are beyond that.
    fn requests(&self, py: Python<'_>, limit: usize) -> (Vec<Request>, usize) {
        match &self.carriers {
            Carriers::One(carrier) => {
                (vec![request_of(carrier.as_ref().map(|carrier| carrier.bind(py)), Attributes::new())], 0)
            }
            Carriers::Many { carriers, attributes: own } => {
                let carriers = carriers.bind(py);
                let mut own = own.as_ref().map(|own| each(own.bind(py), limit));
                let mut own = || own.as_mut().and_then(Iterator::next).map(|own| attributes(Some(&own)));
                let mut items = each(carriers, limit);
                let requests: Vec<Request> =
                    items.by_ref().map(|carrier| request_of(Some(&carrier), own().unwrap_or_default())).collect();
                let more = items.rest(carriers, requests.len());
                (requests, more)
            }
            Carriers::Step(_) => (Vec::new(), 0),
        }
    }

    /// A scope for an engine's step, entered.
    pub fn step(py: Python<'_>, name: &str, step: impl Step + 'static) -> PyResult<Py<Scope>> {
        let carriers = Carriers::Step(Box::new(step));
        let scope = Bound::new(py, Scope::new(carriers, name, None))?;
        Ok(Scope::__enter__(scope)?.unbind())
    }

    /// When it was entered, which tells it from every other that was or is in the same place.
    pub fn entered_at(&self) -> Option<Instant> {
        self.entered.lock().as_ref().map(|entered| entered.started)
    }

    /// One request's scope.
    pub fn one(carrier: Option<Py<PyAny>>, name: &str, attributes: Option<Py<PyAny>>) -> Scope {
        Scope::new(Carriers::One(carrier), name, attributes)
    }

    fn new(carriers: Carriers, name: &str, attributes: Option<Py<PyAny>>) -> Scope {
        let name = if name == NAME { Cow::Borrowed(NAME) } else { Cow::Owned(name.to_owned()) };
        Scope { carriers, name, attributes, entered: Mutex::new(None), outer: Mutex::new(None) }
    }

    /// The running code is in it no more, but what it serves goes on: [`Scope::resume`], or [`Scope::exit`].
    pub fn suspend(slf: &Bound<'_, Self>) {
        let token = slf.get().entered.lock().as_mut().and_then(|entered| entered.token.take());
        reset(slf, token);
    }

    /// The running code is in it again.
    pub fn resume(slf: &Bound<'_, Self>) -> PyResult<()> {
        let token = set(slf.py(), slf)?;
        let older = slf.get().entered.lock().as_mut().and_then(|entered| entered.token.replace(token));
        // Not under our lock.
        drop(older);
        Ok(())
    }

    /// Ends it: its spans leave.
    pub fn exit(slf: &Bound<'_, Self>) {
        let entered = slf.get().entered.lock().take();
        let Some(entered) = entered else { return };
        reset(slf, entered.token);
        close(entered.core);
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

/// As many attributes as a span may have.
fn attributes(mapping: Option<&Bound<'_, PyAny>>) -> Attributes {
    let count = crate::monitor().map_or(128, |monitor| monitor.config().limits.attributes);
    convert::attributes(mapping, count)
}

fn close(made: Option<Made>) {
    let made = made.filter(|made| made.generation == process::generation());
    if let (Some(made), Some(monitor)) = (made, crate::monitor()) {
        monitor.close(&made.core);
    }
}

/// Dropped without an end, with the generator or the context that it was entered in: its spans leave now.
impl Drop for Scope {
    fn drop(&mut self) {
        let entered = self.entered.try_lock().and_then(|mut entered| entered.take());
        close(entered.and_then(|mut entered| entered.core.take()));
    }
}

/// Puts the variable back, if it is this scope's. A generator may be closed in another context than it was entered in, and
/// after another one that was entered later; then it is not ours to put back, and who reads it sees that we have ended.
fn reset(scope: &Bound<'_, Scope>, token: Option<Py<PyAny>>) {
    let py = scope.py();
    let Some(token) = token else { return };
    let put_back = || {
        let variable = VARIABLE.get(py)?;
        if variable.get.bind(py).call0()?.is(scope) {
            variable.reset.call1(py, (token,))?;
        }
        PyResult::Ok(())
    };
    put_back().or_none();
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
        let Some(_inside) = gate::enter(slf.py()) else { return Ok(slf) };
        if slf.get().entered.lock().is_some() {
            return Err(PyRuntimeError::new_err("this scope has been entered already; make one for each request"));
        }
        let started = Instant::now();
        let outer = live(slf.py())?.map(Bound::unbind);
        let token = set(slf.py(), &slf)?;
        let older = std::mem::replace(&mut *slf.get().outer.lock(), outer);
        *slf.get().entered.lock() = Some(Entered { started, token: Some(token), core: None });
        drop(older);
        Ok(slf)
    }

    #[pyo3(signature = (exception_type = None, exception = None, traceback = None))]
    fn __exit__(
        slf: &Bound<'_, Self>,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) {
        let _ = (exception_type, exception, traceback);
        if let Some(_inside) = gate::enter(slf.py()) {
            Scope::exit(slf);
        }
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
        visit.call(&self.attributes)?;
        if let Some(outer) = self.outer.try_lock() {
            visit.call(&*outer)?;
        }
        // The token has the context, which has us: never left, that is a circle.
        match self.entered.try_lock().as_deref() {
            Some(Some(entered)) => visit.call(&entered.token),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        let outer = self.outer.try_lock().and_then(|mut outer| outer.take());
        let token = self.entered.try_lock().and_then(|mut entered| entered.as_mut()?.token.take());
        drop((outer, token));
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
pub fn request(
    py: Python<'_>,
    carrier: Option<Py<PyAny>>,
    name: &str,
    attributes: Option<Py<PyAny>>,
) -> PyResult<Py<Scope>> {
    made(py, Carriers::One(carrier), name, attributes)
}

/// When the interpreter ends there is one for all, for not even an object may be made then: that runs the garbage
/// collector.
fn made(py: Python<'_>, carriers: Carriers, name: &str, attributes: Option<Py<PyAny>>) -> PyResult<Py<Scope>> {
    match gate::enter(py) {
        Some(_inside) => Py::new(py, Scope::new(carriers, name, attributes)),
        None => Ok(IDLE.get(py)?.clone_ref(py)),
    }
}

/// Serves several requests in one step: each one's trace gets a span for what compiles inside.
///
/// `carriers` is an iterable of what `request()` takes. `attributes` go on every span, the mappings in
/// `request_attributes`, in the order of `carriers`, on the span of one request each.
/// Of more than `JITSPAN_MAX_REQUESTS` (128) requests the rest is counted in `jit.batch.omitted`: by the iterable's
/// `len()`, or, where it has none, by reading at most 10,000 more.
#[pyfunction]
#[pyo3(signature = (carriers: "Iterable[_Carrier | None]", *, name = "inference", attributes: "Mapping[str, _Attribute] | None" = None, request_attributes: "Iterable[Mapping[str, _Attribute]] | None" = None) -> "Scope")]
pub fn batch(
    py: Python<'_>,
    carriers: Py<PyAny>,
    name: &str,
    attributes: Option<Py<PyAny>>,
    request_attributes: Option<Py<PyAny>>,
) -> PyResult<Py<Scope>> {
    made(py, Carriers::Many { carriers, attributes: request_attributes }, name, attributes)
}

/// Carries the scope of the running code into another thread: `executor.submit(bind(function), ...)`.
///
/// Context variables follow asyncio tasks and `asyncio.to_thread`, but not `run_in_executor`, `Thread` or `submit`.
/// Returns a callable that runs `function` with the same arguments in the scope in which `bind` was called.
#[pyfunction]
#[pyo3(signature = (function: "Callable[_P, _R]") -> "Callable[_P, _R]")]
pub fn bind(py: Python<'_>, function: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let Some(_inside) = gate::enter(py) else { return Ok(function) };
    Ok(Py::new(py, BoundFunction { scope: current(py)?, function })?.into_any())
}

/// A callable that runs in the scope it was bound to; made by `bind()`.
#[pyclass(frozen, module = "jitspan")]
pub struct BoundFunction {
    scope: Option<Py<Scope>>,
    function: Py<PyAny>,
}

#[pymethods]
impl BoundFunction {
    // For the stub: what is called is `surface.py`'s.
    #[cfg(feature = "stub")]
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Py<PyAny> {
        let _ = kwargs;
        args.clone().into_any().unbind()
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

/// For the text: what is called from here on is in the scope of `bound`.
#[pyfunction]
pub fn enter_bound(bound: &Bound<'_, BoundFunction>) -> PyResult<Option<Py<PyAny>>> {
    let py = bound.py();
    let Some(_inside) = gate::enter(py) else { return Ok(None) };
    match &bound.get().scope {
        Some(_) => set(py, bound),
        None => set(py, py.None()),
    }
    .map(Some)
}

/// For the text: it has returned.
#[pyfunction]
pub fn leave_bound(py: Python<'_>, token: Option<Py<PyAny>>) {
    if let (Some(_inside), Some(token)) = (gate::enter(py), token) {
        let put_back = || VARIABLE.get(py)?.reset.call1(py, (token,)).map(drop);
        put_back().or_none();
    }
}
