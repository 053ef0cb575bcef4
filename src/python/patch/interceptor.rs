//! What is put in the place of a Python callable. It calls what was there with exactly what it was given, hands on its
//! value or its exception, looks like it, binds like it, and is silent once it has left.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFunction, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::python::host::guard::attempt;

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
        self.args.get_item(index).ok()
    }

    /// A keyword argument.
    pub fn keyword(&self, name: &str) -> Option<Bound<'py, PyAny>> {
        self.kwargs?.get_item(name).ok().flatten()
    }
}

/// What came of the call: its value, or its exception.
pub type Outcome<'a, 'py> = Result<&'a Bound<'py, PyAny>, &'a PyErr>;

/// Runs when the call has ended. Some: to be raised in the place of its value (error mode); never given for a call
/// that raised itself.
pub type After = Box<dyn for<'a, 'py> FnOnce(Python<'py>, Outcome<'a, 'py>) -> PyResult<Option<PyErr>>>;

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

/// How an attribute of a class becomes a method.
enum Binding {
    /// Not at all: a hook in a slot, a built-in function, a callable object.
    None,
    /// As a Python function does.
    Function,
    /// As its own `__get__` says. wrapt's wrappers tell whom they call the instance, and know it from there only.
    Own,
}

// Stands in front of a callable, or in a slot that may have been empty.
// Not a doc comment: Python would take it for the `__doc__` of what we stand in front of.
#[pyclass(frozen, module = "jitspan", name = "Interceptor", weakref)]
pub struct Interceptor {
    /// None: the slot was empty, and a call of it gives None.
    original: Option<Py<PyAny>>,
    binding: Binding,
    watch: Box<dyn Watch>,
    place: &'static str,
    active: AtomicBool,
}

impl Interceptor {
    /// Stands in front of a callable that the caller puts somewhere, and takes away, itself.
    pub fn around(
        callable: &Bound<'_, PyAny>,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Py<Interceptor>> {
        Self::make(callable.py(), Some(callable), Binding::None, place, watch)
    }

    /// Stands in a slot, in front of what was in it.
    pub fn slot(
        py: Python<'_>,
        hook: Option<&Bound<'_, PyAny>>,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Py<Interceptor>> {
        Self::make(py, hook, Binding::None, place, watch)
    }

    /// Stands in front of an attribute, and becomes a method where that would.
    pub fn attribute(
        callable: &Bound<'_, PyAny>,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Py<Interceptor>> {
        let binding = if callable.is_exact_instance_of::<PyFunction>() {
            Binding::Function
        } else if callable.get_type().hasattr("__get__")? {
            Binding::Own
        } else {
            Binding::None
        };
        Self::make(callable.py(), Some(callable), binding, place, watch)
    }

    fn make(
        py: Python<'_>,
        original: Option<&Bound<'_, PyAny>>,
        binding: Binding,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Py<Interceptor>> {
        let original = original.map(|original| original.clone().unbind());
        Py::new(py, Interceptor { original, binding, watch: Box::new(watch), place, active: AtomicBool::new(true) })
    }

    /// Falls silent: from now on it only hands on.
    pub fn retire(&self) {
        self.active.store(false, Ordering::Relaxed);
    }

    /// Whether it watches.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether it is the one of this place, and has not left.
    pub fn stands(&self, place: &str) -> bool {
        self.place == place && self.is_active()
    }

    /// Where it was put.
    pub fn place(&self) -> &'static str {
        self.place
    }

    /// What it stands in front of.
    pub fn original<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.original.as_ref().map(|original| original.bind(py).clone())
    }

    /// Calls, and watches it. An error of ours is none of the host's; but what is no `Exception` (Ctrl-C, a signal
    /// handler's SystemExit) only reached the host while we ran, and goes on to it.
    fn watched<'py>(
        &self,
        py: Python<'py>,
        call: &Call<'_, 'py>,
        run: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        if !self.is_active() {
            return run().map(Bound::unbind);
        }
        let after = attempt(py, self.place, || self.watch.before(py, call))?.flatten();
        let result = run();
        let Some(after) = after else { return result.map(Bound::unbind) };
        let raise = attempt(py, self.place, || after(py, result.as_ref()));
        let value = result?;
        match raise?.flatten() {
            Some(raise) => Err(raise),
            None => Ok(value.unbind()),
        }
    }

    /// Type attributes, which Python would find on our class before it asks `__getattr__`.
    fn of_original(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let value = self.original(py).and_then(|original| original.getattr(name).ok());
        Ok(value.map_or_else(|| py.None(), Bound::unbind))
    }

    fn original_or_error<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.original(py).ok_or_else(|| PyAttributeError::new_err(name.to_owned()))
    }
}

#[pymethods]
impl Interceptor {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.watched(py, &Call { args, kwargs }, || match &self.original {
            Some(original) => original.bind(py).call(args, kwargs),
            None => Ok(py.None().into_bound(py)),
        })
    }

    fn __get__(
        slf: Bound<'_, Self>,
        instance: Option<Bound<'_, PyAny>>,
        owner: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        static METHOD: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        let (binding, original) = (&slf.get().binding, slf.get().original(py));
        match (binding, instance, original) {
            (Binding::Function, Some(instance), _) => {
                Ok(METHOD.import(py, "types", "MethodType")?.call1((slf, instance))?.unbind())
            }
            (Binding::Own, instance, Some(original)) => {
                let get = original.get_type().getattr("__get__")?;
                let bound = get.call1((&original, &instance, owner))?;
                if bound.is(&original) {
                    return Ok(slf.into_any().unbind());
                }
                let instance = instance.map(Bound::unbind);
                let bound = BoundInterceptor { interceptor: slf.unbind(), bound: bound.unbind(), instance };
                Ok(Py::new(py, bound)?.into_any())
            }
            _ => Ok(slf.into_any().unbind()),
        }
    }

    fn __getattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        let original = self.original_or_error(py, &name.to_string_lossy())?;
        original.getattr(name).map(Bound::unbind)
    }

    fn __setattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.original_or_error(py, &name.to_string_lossy())?.setattr(name, value)
    }

    fn __delattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<()> {
        self.original_or_error(py, &name.to_string_lossy())?.delattr(name)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        match self.original(py) {
            Some(original) => Ok(original.repr()?.to_string_lossy().into_owned()),
            None => Ok(format!("<jitspan hook {}>", self.place)),
        }
    }

    /// Pickled by name where it can be found by name, as a function is; else as a call of what it stands in front of.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let original = slf.get().original_or_error(py, "__reduce__")?;
        if let Ok(name) = original.getattr("__qualname__")
            && let Some(found) = by_name(&original, &name)
            && found.is(slf)
        {
            return Ok(name);
        }
        let partial = py.import("functools")?.getattr("partial")?;
        Ok((partial, (original,)).into_pyobject(py)?.into_any())
    }

    /// `isinstance(_, FunctionType)`, and with it `inspect.iscoroutinefunction`, must answer as before.
    #[getter]
    fn __class__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        match slf.get().original(slf.py()) {
            Some(original) => original.getattr("__class__").map(Bound::unbind),
            None => Ok(slf.get_type().into_any().unbind()),
        }
    }

    #[getter]
    fn __wrapped__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.original_or_error(py, "__wrapped__").map(Bound::unbind)
    }

    #[getter]
    fn __doc__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.of_original(py, "__doc__")
    }

    #[getter]
    fn __module__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.of_original(py, "__module__")
    }

    /// There is no `__clear__`: `original` is there before we are, so a cycle through us has another link to cut.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.original)
    }
}

fn by_name<'py>(original: &Bound<'py, PyAny>, qualified: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let modules = original.py().import("sys").ok()?.getattr("modules").ok()?;
    let module = modules.get_item(original.getattr("__module__").ok()?).ok()?;
    let qualified = qualified.extract::<String>().ok()?;
    qualified.split('.').try_fold(module, |owner, name| owner.getattr(name).ok())
}

// What `Interceptor` gives for an instance whose method binds in a way of its own.
#[pyclass(frozen, module = "jitspan", weakref)]
struct BoundInterceptor {
    interceptor: Py<Interceptor>,
    bound: Py<PyAny>,
    instance: Option<Py<PyAny>>,
}

#[pymethods]
impl BoundInterceptor {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let run = || self.bound.bind(py).call(args, kwargs);
        match &self.instance {
            None => self.interceptor.get().watched(py, &Call { args, kwargs }, run),
            Some(instance) => {
                let own = std::iter::once(instance.bind(py).clone()).chain(args.iter());
                let all = PyTuple::new(py, own.collect::<Vec<_>>())?;
                self.interceptor.get().watched(py, &Call { args: &all, kwargs }, run)
            }
        }
    }

    fn __getattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        self.bound.bind(py).getattr(name).map(Bound::unbind)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.bound.bind(py).repr()?.to_string_lossy().into_owned())
    }

    #[getter]
    fn __class__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.bound.bind(py).getattr("__class__").map(Bound::unbind)
    }

    #[getter]
    fn __doc__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.bound.bind(py).getattr("__doc__").map(Bound::unbind)
    }

    #[getter]
    fn __module__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.bound.bind(py).getattr("__module__").map(Bound::unbind)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.interceptor)?;
        visit.call(&self.bound)?;
        visit.call(&self.instance)
    }
}
