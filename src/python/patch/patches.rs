//! The one way to patch a Python callable, slot or value, and to restore it: what was patched, what was found there, and
//! how that comes back. What a callable is patched with is in `wrapper`.

use pyo3::prelude::*;
use pyo3::types::{PyType, PyWeakrefMethods, PyWeakrefReference};

use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::guard::guard;
use crate::python::patch::wrapper::{Hook, Watch, Wrapper};

/// One patched attribute or item, and what was found there.
struct Patch {
    owner: Owner,
    name: String,
    access: Access,
    /// What was put there: a value, the wrapper, or the `staticmethod`/`classmethod` that holds it.
    ours: Py<PyAny>,
    hook: Option<Py<Hook>>,
    /// None: the owner had none of its own; it was inherited, or came from its class.
    found: Option<Py<PyAny>>,
}

/// How it is reached.
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

/// All that one hook has patched. Restored in any order.
pub struct Patches {
    patched: Mutex<Vec<Patch>>,
    points: Mutex<Vec<(&'static str, bool)>>,
}

impl Patches {
    /// Nothing is patched yet.
    pub const fn new() -> Self {
        Patches { patched: Mutex::new(Vec::new()), points: Mutex::new(Vec::new()) }
    }

    /// Wraps the callable `owner.name`: a function of a class (its descriptor is kept), of a module, or
    /// an attribute of an instance. False: there is none. A class, and what computes its value at each access
    /// (a property), is none.
    ///
    /// # Errors
    /// The owner does not let itself be changed.
    pub fn wrap(
        &self,
        owner: &Bound<'_, PyAny>,
        name: &str,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        let patched = self.wrap_for(Owner::Kept(owner.clone().unbind()), owner, name, hook_point, watch);
        self.asked(hook_point, matches!(patched, Ok(true)));
        patched
    }

    /// As [`Patches::wrap`], once, and without keeping the owner alive.
    ///
    /// # Errors
    /// The owner does not let itself be changed, or be referred to weakly.
    pub fn wrap_weakly(
        &self,
        owner: &Bound<'_, PyAny>,
        name: &str,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        if own(owner, name).is_some_and(|own| Wrapper::is_of(&own, hook_point)) {
            return Ok(true);
        }
        self.forget_gone(owner.py());
        let weak = Owner::Weak(PyWeakrefReference::new(owner)?.unbind());
        self.wrap_for(weak, owner, name, hook_point, watch)
    }

    fn wrap_for(
        &self,
        keep: Owner,
        owner: &Bound<'_, PyAny>,
        name: &str,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        let py = owner.py();
        let found = own(owner, name).and_then(watching);
        let Some(current) = found.clone().or_else(|| inherited(owner, name)) else { return Ok(false) };
        let builtins = py.import("builtins")?;
        let mut holder = None;
        for class in ["staticmethod", "classmethod"] {
            if current.is_instance(&builtins.getattr(class)?)? {
                holder = Some(current.get_type());
            }
        }
        let callable = if holder.is_some() { current.getattr("__func__")? } else { current };
        if !callable.is_callable() || callable.is_instance_of::<PyType>() {
            return Ok(false);
        }
        let (wrapper, hook) = Wrapper::attribute(&callable, hook_point, watch)?;
        let ours = match holder {
            Some(holder) => holder.call1((&wrapper,))?.unbind(),
            None => wrapper.unbind(),
        };
        self.put(keep, owner, name, ours, Some(hook), found)?;
        Ok(true)
    }

    /// Chains onto the slot `owner.name`, which holds a hook or None. A hook that is there is called after ours with
    /// what ours was given, and its value is returned. False: there is no such slot.
    ///
    /// # Errors
    /// The owner does not let itself be changed.
    pub fn chain(
        &self,
        owner: &Bound<'_, PyAny>,
        name: &str,
        hook_point: &'static str,
        watch: impl Watch + 'static,
    ) -> PyResult<bool> {
        let Some(current) = owner.getattr(name).or_none() else {
            self.asked(hook_point, false);
            return Ok(false);
        };
        let hook = watching(current).filter(|hook| !hook.is_none());
        let (wrapper, hook) = Wrapper::slot(owner.py(), hook.as_ref(), hook_point, watch)?;
        let keep = Owner::Kept(owner.clone().unbind());
        self.put(keep, owner, name, wrapper.unbind(), Some(hook), own(owner, name))?;
        self.asked(hook_point, true);
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
        self.put(Owner::Kept(owner.clone().unbind()), owner, name, value.unbind(), None, found)?;
        Ok(true)
    }

    /// Sets `mapping[key]` to a plain value.
    ///
    /// # Errors
    /// The mapping does not let itself be changed.
    pub fn set_item(&self, mapping: &Bound<'_, PyAny>, key: &str, value: Bound<'_, PyAny>) -> PyResult<()> {
        let found = mapping.get_item(key).or_none().map(Bound::unbind);
        mapping.set_item(key, &value)?;
        let (owner, name) = (Owner::Kept(mapping.clone().unbind()), key.to_owned());
        let ours = value.unbind();
        let patch = Patch { owner, name, access: Access::Item, ours, hook: None, found };
        self.patched.lock().push(patch);
        Ok(())
    }

    fn put(
        &self,
        keep: Owner,
        owner: &Bound<'_, PyAny>,
        name: &str,
        ours: Py<PyAny>,
        hook: Option<Py<Hook>>,
        found: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        owner.setattr(name, &ours)?;
        let found = found.map(Bound::unbind);
        let (name, access) = (name.to_owned(), Access::Attribute);
        self.patched.lock().push(Patch { owner: keep, name, access, ours, hook, found });
        Ok(())
    }

    fn asked(&self, hook_point: &'static str, patched: bool) {
        self.points.lock().push((hook_point, patched));
    }

    /// The places that were asked for, and whether each was there.
    pub fn hook_points(&self) -> Vec<(&'static str, bool)> {
        self.points.lock().clone()
    }

    /// Forgets owners that are gone, now and then.
    fn forget_gone(&self, py: Python<'_>) {
        let patches = {
            let mut patches = self.patched.lock();
            if patches.len() < 64 || !patches.len().is_power_of_two() {
                return;
            }
            std::mem::take(&mut *patches)
        };
        let (kept, gone): (Vec<_>, Vec<_>) = patches.into_iter().partition(|patch| patch.owner.get(py).is_some());
        self.patched.lock().extend(kept);
        // Dropped outside the lock: that may run Python.
        drop(gone);
    }

    /// Puts back what was found wherever ours is still there, and falls silent everywhere else.
    pub fn restore(&self, py: Python<'_>) {
        // Taken out first: putting back runs Python, and no lock of ours is held over that.
        let patches = std::mem::take(&mut *self.patched.lock());
        self.points.lock().clear();
        for patch in patches.iter().rev() {
            if let Some(hook) = &patch.hook {
                hook.get().retire();
            }
            guard(py, "patch.restore", || patch.restore(py));
        }
    }

    /// Whether nothing is patched.
    pub fn is_empty(&self) -> bool {
        self.patched.lock().is_empty()
    }
}

impl Patch {
    fn restore(&self, py: Python<'_>) -> PyResult<()> {
        let Some(owner) = self.owner.get(py) else { return Ok(()) };
        if self.access == Access::Item {
            return match &self.found {
                _ if !owner
                    .get_item(&*self.name)
                    .or_none()
                    .is_some_and(|now| now.eq(&self.ours).or_none().unwrap_or(false)) =>
                {
                    Ok(())
                }
                Some(found) => owner.set_item(&*self.name, found),
                None => owner.del_item(&*self.name),
            };
        }
        let still = match own(&owner, &self.name) {
            Some(now) => now.is(&self.ours),
            // Set through a property (Triton's knobs): compare what reading gives.
            None => owner
                .getattr(&*self.name)
                .or_none()
                .is_some_and(|now| now.is(&self.ours) || now.eq(&self.ours).or_none().unwrap_or(false)),
        };
        if !still {
            return Ok(());
        }
        match &self.found {
            None => owner.delattr(&*self.name),
            Some(found) => {
                let found = found.bind(py).clone();
                owner.setattr(&*self.name, watching(found).unwrap_or_else(|| py.None().into_bound(py)))
            }
        }
    }
}

/// `found`, or what is behind it if it is one of ours that has been restored: nobody needs that one any more.
fn watching(found: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    let mut found = found;
    while let Some(hook) = Wrapper::hook(&found) {
        if hook.get().is_active() {
            break;
        }
        found = hook.get().original(found.py())?;
    }
    Some(found)
}

/// The attribute as its owner's own dictionary has it: no descriptor bound, nothing inherited.
fn own<'py>(owner: &Bound<'py, PyAny>, name: &str) -> Option<Bound<'py, PyAny>> {
    owner.getattr("__dict__").or_none()?.get_item(name).or_none()
}

/// The attribute as the owner gets it from its bases, no descriptor bound; for an instance, as reading gives it.
fn inherited<'py>(owner: &Bound<'py, PyAny>, name: &str) -> Option<Bound<'py, PyAny>> {
    match owner.cast::<PyType>() {
        Ok(class) => class.mro().iter().find_map(|class| own(&class, name)),
        Err(_) => owner.getattr(name).or_none(),
    }
}
