//! The one way to stand in front of a Python callable or slot, and to leave again.
//!
//! What is put in a place calls what was there with exactly what it was given, hands on its value or its exception,
//! looks like it (`__wrapped__`, `__name__`, every other attribute), binds like it, and falls silent when it cannot
//! be taken out because somebody has chained onto it since.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference};

use super::guard::guard;

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

// Stands in front of a callable, or in a slot that may have been empty.
// Not a doc comment: Python would take it for the `__doc__` of what we stand in front of.
#[pyclass(frozen, module = "jitspan", name = "Interceptor", weakref)]
pub struct Interceptor {
    /// None: the slot was empty, and a call of it gives None.
    original: Option<Py<PyAny>>,
    /// A function binds to its instance; a slot's hook, or a callable object, does not.
    binds: bool,
    watch: Box<dyn Watch>,
    place: &'static str,
    active: AtomicBool,
}

#[pymethods]
impl Interceptor {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let call = || match &self.original {
            Some(original) => original.bind(py).call(args, kwargs),
            None => Ok(py.None().into_bound(py)),
        };
        if !self.active.load(Ordering::Relaxed) {
            return call().map(Bound::unbind);
        }
        let after = guard(py, self.place, || self.watch.before(py, &Call { args, kwargs })).flatten();
        let result = call();
        let Some(after) = after else { return result.map(Bound::unbind) };
        let raise = guard(py, self.place, || after(py, result.as_ref())).flatten();
        match (result, raise) {
            (Ok(_), Some(raise)) => Err(raise),
            (result, _) => result.map(Bound::unbind),
        }
    }

    fn __get__(
        slf: Bound<'_, Self>,
        instance: Option<Bound<'_, PyAny>>,
        owner: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _ = owner;
        match instance {
            Some(instance) if slf.get().binds => {
                let method = slf.py().import("types")?.getattr("MethodType")?;
                Ok(method.call1((slf, instance))?.unbind())
            }
            _ => Ok(slf.into_any().unbind()),
        }
    }

    fn __getattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        match &self.original {
            Some(original) => original.bind(py).getattr(name).map(Bound::unbind),
            None => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }

    fn __setattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        match &self.original {
            Some(original) => original.bind(py).setattr(name, value),
            None => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }

    fn __delattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<()> {
        match &self.original {
            Some(original) => original.bind(py).delattr(name),
            None => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        match &self.original {
            Some(original) => Ok(original.bind(py).repr()?.to_string_lossy().into_owned()),
            None => Ok(format!("<jitspan hook {}>", self.place)),
        }
    }

    /// Pickled and copied as a call of what we stand in front of: we belong to this process alone.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Py<PyAny>)> {
        let partial = py.import("functools")?.getattr("partial")?;
        Ok((partial, (self.__wrapped__(py)?,).into_pyobject(py)?.into_any().unbind()))
    }

    #[getter]
    fn __wrapped__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let original = self.original.as_ref().map(|original| original.clone_ref(py));
        original.ok_or_else(|| PyAttributeError::new_err("__wrapped__"))
    }

    #[getter]
    fn __doc__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.of_original(py, "__doc__")
    }

    #[getter]
    fn __module__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.of_original(py, "__module__")
    }
}

impl Interceptor {
    /// Stands in front of a callable that the caller puts somewhere, and takes away, itself.
    pub fn around(
        callable: &Bound<'_, PyAny>,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<Py<Interceptor>> {
        let interceptor = Interceptor {
            original: Some(callable.clone().unbind()),
            binds: false,
            watch: Box::new(watch),
            place,
            active: AtomicBool::new(true),
        };
        Py::new(callable.py(), interceptor)
    }

    /// Whether it is the one of this place, and has not left.
    pub fn stands(&self, place: &str) -> bool {
        self.place == place && self.active.load(Ordering::Relaxed)
    }

    /// Type attributes, which Python would find on our class before it asks `__getattr__`.
    fn of_original(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let value = self.original.as_ref().and_then(|original| original.bind(py).getattr(name).ok());
        Ok(value.map_or_else(|| py.None(), Bound::unbind))
    }
}

/// Something of ours that stands somewhere, and what was there.
struct Standing {
    owner: Owner,
    name: String,
    access: Access,
    /// What was put there: the interceptor, or the `staticmethod`/`classmethod` that holds it.
    ours: Py<PyAny>,
    interceptor: Option<Py<Interceptor>>,
    /// None: the owner had none of its own; it was inherited, or came from its class.
    found: Option<Py<PyAny>>,
}

/// How a place is reached.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    Attribute,
    Item,
}

enum Owner {
    Kept(Py<PyAny>),
    /// Comes and goes without us: a kernel.
    Weak(Py<PyWeakrefReference>),
}

impl Owner {
    fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Owner::Kept(owner) => Some(owner.bind(py).clone()),
            Owner::Weak(owner) => owner.bind(py).upgrade(),
        }
    }
}

/// All that one hook has put somewhere. Leaves in any order.
pub struct Standings(Mutex<Vec<Standing>>);

impl Standings {
    /// Nothing stands yet.
    pub const fn new() -> Self {
        Standings(Mutex::new(Vec::new()))
    }

    /// Stands in front of the callable `owner.name`: a function of a class (its descriptor is kept), of a module, or
    /// an attribute of an instance. False: there is none.
    ///
    /// # Errors
    /// The owner does not let itself be changed.
    pub fn wrap(
        &self,
        owner: &Bound<'_, PyAny>,
        name: &str,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        self.wrap_for(Owner::Kept(owner.clone().unbind()), owner, name, place, watch)
    }

    /// As [`Standings::wrap`], once, and without keeping the owner alive.
    ///
    /// # Errors
    /// The owner does not let itself be changed, or be referred to weakly.
    pub fn wrap_weakly(
        &self,
        owner: &Bound<'_, PyAny>,
        name: &str,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        let stands = own(owner, name).and_then(|own| own.cast_into::<Interceptor>().ok());
        if stands.is_some_and(|stands| stands.get().stands(place)) {
            return Ok(true);
        }
        self.forget_gone(owner.py());
        let weak = Owner::Weak(PyWeakrefReference::new(owner)?.unbind());
        self.wrap_for(weak, owner, name, place, watch)
    }

    fn wrap_for(
        &self,
        keep: Owner,
        owner: &Bound<'_, PyAny>,
        name: &str,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        let py = owner.py();
        let found = own(owner, name);
        let Some(callable) = found.clone().or_else(|| owner.getattr(name).ok()) else { return Ok(false) };
        let class = callable.get_type();
        let descriptor = class.name()?.to_string_lossy().into_owned();
        let method =
            matches!(descriptor.as_str(), "staticmethod" | "classmethod").then(|| callable.getattr("__func__"));
        let inner = method.transpose()?.unwrap_or_else(|| callable.clone());
        let interceptor = Interceptor {
            binds: inner.get_type().hasattr("__get__")?,
            original: Some(inner.unbind()),
            watch: Box::new(watch),
            place,
            active: AtomicBool::new(true),
        };
        let interceptor = Py::new(py, interceptor)?;
        let ours = match descriptor.as_str() {
            "staticmethod" | "classmethod" => class.call1((&interceptor,))?.unbind(),
            _ => interceptor.clone_ref(py).into_any(),
        };
        self.stand(keep, owner, name, ours, Some(interceptor), found)?;
        Ok(true)
    }

    /// Takes the slot `owner.name`, which holds a hook or None. A hook that is there is called after ours with what
    /// ours was given, and its value is returned. False: there is no such slot.
    ///
    /// # Errors
    /// The owner does not let itself be changed.
    pub fn chain(
        &self,
        owner: &Bound<'_, PyAny>,
        name: &str,
        place: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        let Ok(current) = owner.getattr(name) else { return Ok(false) };
        let interceptor = Interceptor {
            original: (!current.is_none()).then(|| current.unbind()),
            binds: false,
            watch: Box::new(watch),
            place,
            active: AtomicBool::new(true),
        };
        let interceptor = Py::new(owner.py(), interceptor)?;
        let ours = interceptor.clone_ref(owner.py()).into_any();
        let keep = Owner::Kept(owner.clone().unbind());
        self.stand(keep, owner, name, ours, Some(interceptor), own(owner, name))?;
        Ok(true)
    }

    /// Sets `owner.name` to a plain value. False: there is no such attribute.
    ///
    /// # Errors
    /// The owner does not let itself be changed.
    pub fn set(&self, owner: &Bound<'_, PyAny>, name: &str, value: Bound<'_, PyAny>) -> PyResult<bool> {
        if !owner.hasattr(name)? {
            return Ok(false);
        }
        let found = own(owner, name);
        self.stand(Owner::Kept(owner.clone().unbind()), owner, name, value.unbind(), None, found)?;
        Ok(true)
    }

    /// Sets `mapping[key]` to a plain value.
    ///
    /// # Errors
    /// The mapping does not let itself be changed.
    pub fn set_item(&self, mapping: &Bound<'_, PyAny>, key: &str, value: Bound<'_, PyAny>) -> PyResult<()> {
        let found = mapping.get_item(key).ok().map(Bound::unbind);
        mapping.set_item(key, &value)?;
        let (owner, name) = (Owner::Kept(mapping.clone().unbind()), key.to_owned());
        let ours = value.unbind();
        self.0.lock().push(Standing { owner, name, access: Access::Item, ours, interceptor: None, found });
        Ok(())
    }

    fn stand(
        &self,
        keep: Owner,
        owner: &Bound<'_, PyAny>,
        name: &str,
        ours: Py<PyAny>,
        interceptor: Option<Py<Interceptor>>,
        found: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        owner.setattr(name, &ours)?;
        let found = found.map(Bound::unbind);
        self.0.lock().push(Standing {
            owner: keep,
            name: name.to_owned(),
            access: Access::Attribute,
            ours,
            interceptor,
            found,
        });
        Ok(())
    }

    /// Forgets owners that are gone, now and then.
    fn forget_gone(&self, py: Python<'_>) {
        let standings = {
            let mut standings = self.0.lock();
            if standings.len() < 64 || !standings.len().is_power_of_two() {
                return;
            }
            std::mem::take(&mut *standings)
        };
        let (kept, gone): (Vec<_>, Vec<_>) =
            standings.into_iter().partition(|standing| standing.owner.get(py).is_some());
        self.0.lock().extend(kept);
        // Dropped outside the lock: that may run Python.
        drop(gone);
    }

    /// Leaves: puts back what was found where ours still stands, and falls silent everywhere else.
    pub fn leave(&self, py: Python<'_>) {
        // Taken out first: putting back runs Python, and no lock of ours is held over that.
        let standings = std::mem::take(&mut *self.0.lock());
        for standing in standings.iter().rev() {
            if let Some(interceptor) = &standing.interceptor {
                interceptor.get().active.store(false, Ordering::Relaxed);
            }
            guard(py, "intercept.leave", || standing.leave(py));
        }
    }

    /// Whether nothing stands anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Standing {
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let Some(owner) = self.owner.get(py) else { return Ok(()) };
        if self.access == Access::Item {
            return match &self.found {
                _ if !owner.get_item(&*self.name).is_ok_and(|now| now.eq(&self.ours).unwrap_or(false)) => Ok(()),
                Some(found) => owner.set_item(&*self.name, found),
                None => owner.del_item(&*self.name),
            };
        }
        let still = match own(&owner, &self.name) {
            Some(now) => now.is(&self.ours),
            // Set through a property (Triton's knobs): compare what reading gives.
            None => {
                owner.getattr(&*self.name).is_ok_and(|now| now.is(&self.ours) || now.eq(&self.ours).unwrap_or(false))
            }
        };
        if !still {
            return Ok(());
        }
        match &self.found {
            Some(found) => owner.setattr(&*self.name, found),
            None => owner.delattr(&*self.name),
        }
    }
}

/// The attribute as its owner's own dictionary has it: no descriptor bound, nothing inherited.
fn own<'py>(owner: &Bound<'py, PyAny>, name: &str) -> Option<Bound<'py, PyAny>> {
    owner.getattr("__dict__").ok()?.get_item(name).ok()
}
