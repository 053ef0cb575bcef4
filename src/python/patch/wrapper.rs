//! What a Python callable is patched with. It calls what was there with exactly what it was given, hands on its value or
//! its exception, looks like it, binds like it, and is silent once it has been retired.
//!
//! The class is Python text (`wrapper.py`), so that what was there never runs above a Rust frame of ours; here is what it
//! calls before and after.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::boundary::{self, Native};
use crate::python::host::convert::get;
use crate::python::host::text::Text;

/// A call that is being watched.
pub struct Call<'a, 'py> {
    /// Positional arguments, `self` included.
    pub args: &'a Bound<'py, PyTuple>,
    /// Keyword arguments.
    pub kwargs: Option<&'a Bound<'py, PyDict>>,
}

impl<'py> Call<'_, 'py> {
    /// A positional argument.
    pub fn arg(&self, index: usize) -> Option<Bound<'py, PyAny>> {
        self.args.get_item(index).or_none()
    }

    /// A keyword argument.
    pub fn keyword(&self, name: &str) -> Option<Bound<'py, PyAny>> {
        self.kwargs?.get_item(name).or_none().flatten()
    }
}

/// What came of the call: its value, or its exception.
pub type Outcome<'a, 'py> = Result<&'a Bound<'py, PyAny>, &'a PyErr>;

/// Runs when the call has ended. Some: to be raised in the place of its value (error mode); never given for a call
/// that raised itself.
pub type After = Box<dyn for<'a, 'py> FnOnce(Python<'py>, Outcome<'a, 'py>) -> PyResult<Option<PyErr>> + Send>;

/// Watches calls of one callable. An error from it is a fault of ours: it is counted, and the call goes on.
pub trait Watch: Send + Sync {
    /// Runs before the call. None: nothing more to do for this one.
    fn before(&self, py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>>;
}

impl<F> Watch for F
where
    F: Fn(Python<'_>, &Call<'_, '_>) -> PyResult<Option<After>> + Send + Sync,
{
    fn before(&self, py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
        self(py, call)
    }
}

/// How an attribute of a class becomes a method; the numbers stand in `wrapper.py` too.
#[derive(Clone, Copy)]
enum Binding {
    /// Not at all: a hook in a slot, a built-in function, a callable object.
    None = 0,
    /// As a Python function does.
    Function = 1,
    /// As its own `__get__` says. wrapt's wrappers tell whom they call the instance, and know it from there only.
    Own = 2,
}

static TEXT: Text = Text::new(include_str!("wrapper.py"));

/// Compiles the text. Called when the module is imported.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    let globals = PyDict::new(py);
    globals.set_item("perform", boundary::TEXT.get(py, "perform")?)?;
    // Made here, and not with the first event.
    let _ = (py.get_type::<Hook>(), py.get_type::<Watched>());
    TEXT.compile(py, &globals)
}

/// Makes wrappers, and knows them again.
pub struct Wrapper;

impl Wrapper {
    /// Wraps a callable for a caller who patches, and restores, himself.
    pub fn around<'py>(
        callable: &Bound<'py, PyAny>,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(Self::make(callable.py(), Some(callable), Binding::None, hook_point, watch)?.0)
    }

    /// Wraps what is in a slot, which may be nothing: a call of that gives None.
    pub fn slot<'py>(
        py: Python<'py>,
        hook: Option<&Bound<'py, PyAny>>,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<(Bound<'py, PyAny>, Py<Hook>)> {
        Self::make(py, hook, Binding::None, hook_point, watch)
    }

    /// Wraps an attribute. It becomes a method where that would.
    pub(super) fn attribute<'py>(
        callable: &Bound<'py, PyAny>,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<(Bound<'py, PyAny>, Py<Hook>)> {
        let binding = if callable.is_exact_instance_of::<PyFunction>() {
            Binding::Function
        } else if callable.get_type().hasattr("__get__")? {
            Binding::Own
        } else {
            Binding::None
        };
        Self::make(callable.py(), Some(callable), binding, hook_point, watch)
    }

    /// What is called in the place of a function by somebody who gives the function too: `hook(original, ...)`. It has
    /// the hook point's name.
    pub fn around_given<'py>(
        py: Python<'py>,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        TEXT.get(py, "around_given")?.call1((Hook::new(py, None, hook_point, watch)?, hook_point))
    }

    fn make<'py>(
        py: Python<'py>,
        original: Option<&Bound<'py, PyAny>>,
        binding: Binding,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<(Bound<'py, PyAny>, Py<Hook>)> {
        let hook = Hook::new(py, original, hook_point, watch)?;
        let wrapper = TEXT.get(py, "Wrapper")?.call1((&hook, binding as u8))?;
        Ok((wrapper, hook.unbind()))
    }

    /// Whether it is our wrapper of this hook point, and watches.
    pub fn is_of(any: &Bound<'_, PyAny>, hook_point: &str) -> bool {
        Self::hook(any).is_some_and(|hook| hook.get().hook_point == hook_point && hook.get().is_active())
    }

    /// The hook of a wrapper of ours. By its type: it says itself that it is something else.
    pub fn hook<'py>(any: &Bound<'py, PyAny>) -> Option<Bound<'py, Hook>> {
        let class = TEXT.get(any.py(), "Wrapper").ok()?;
        if !any.get_type().is(&class) {
            return None;
        }
        get(any, "_jitspan_hook")?.cast_into::<Hook>().ok()
    }
}

/// What a wrapper does before and after.
#[pyclass(frozen, module = "jitspan")]
pub struct Hook {
    /// None: the slot was empty.
    #[pyo3(get)]
    original: Option<Py<PyAny>>,
    /// The wrapper's name where what it wraps has none.
    #[pyo3(get)]
    hook_point: &'static str,
    watch: Box<dyn Watch>,
    active: AtomicBool,
}

impl Hook {
    fn new<'py>(
        py: Python<'py>,
        original: Option<&Bound<'py, PyAny>>,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Bound<'py, Hook>> {
        let original = original.map(|original| original.clone().unbind());
        Bound::new(py, Hook { original, hook_point, watch: Box::new(watch), active: AtomicBool::new(true) })
    }

    /// Falls silent: from now on the wrapper only hands on.
    pub fn retire(&self) {
        self.active.store(false, Ordering::Relaxed);
    }

    /// Whether it watches.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Where it was put.
    pub fn hook_point(&self) -> &'static str {
        self.hook_point
    }

    /// What is wrapped.
    pub fn original<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.original.as_ref().map(|original| original.bind(py).clone())
    }
}

#[pymethods]
impl Hook {
    /// The call begins. None: there is nothing to do when it has ended.
    fn before(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<Option<Py<Watched>>> {
        if !self.is_active() {
            return Ok(None);
        }
        let Some(native) = boundary::enter(py) else { return Ok(None) };
        let call = Call { args, kwargs: (!kwargs.is_empty()).then_some(kwargs) };
        let after = native.guard(self.hook_point, || self.watch.before(py, &call)).flatten();
        let watched = match after.is_some() || native.leaves() {
            true => {
                let watched = Watched { hook_point: self.hook_point, after: Mutex::new(after) };
                native.guard(self.hook_point, || Py::new(py, watched))
            }
            false => None,
        };
        native.finish(watched)
    }

    /// There is no `__clear__`: `original` is there before we are, so a cycle through us has another link to cut.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.original)
    }
}

/// A call that has begun.
#[pyclass(frozen, module = "jitspan")]
pub struct Watched {
    hook_point: &'static str,
    after: Mutex<Option<After>>,
}

#[pymethods]
impl Watched {
    /// The call has given a value. Not None: to be raised.
    fn returned(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let Some(native) = boundary::enter(py) else { return Ok(None) };
        let raise = self.end(py, &native, Ok(value));
        native.finish(raise.map(|raise| raise.into_value(py).into_any()))
    }

    /// The call has raised.
    fn failed(&self, py: Python<'_>, error: Bound<'_, PyAny>) -> PyResult<()> {
        let Some(native) = boundary::enter(py) else { return Ok(()) };
        self.end(py, &native, Err(&PyErr::from_value(error)));
        native.finish(())
    }
}

impl Watched {
    fn end(&self, py: Python<'_>, native: &Native<'_>, outcome: Outcome<'_, '_>) -> Option<PyErr> {
        let after = self.after.lock().take()?;
        native.guard(self.hook_point, || after(py, outcome)).flatten()
    }
}

/// Ctrl-C came after we had begun and before the text could go on: the call is not made, and what was begun is ended.
impl Drop for Watched {
    fn drop(&mut self) {
        if self.after.lock().is_none() {
            return;
        }
        Python::try_attach(|py| {
            // The exception is on its way, and Python runs here: it would be lost.
            let raised = PyErr::take(py);
            if let Some(native) = boundary::enter(py) {
                self.end(py, &native, Err(&PyKeyboardInterrupt::new_err("before the call")));
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}
